"""Proxies in front of the gateway that pass connections on and say whose they are: HAProxy and nginx, as people run them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .poll import eventually
from .ports import free_port, listening_inodes

HAPROXY = """
global
    maxconn 200
defaults
    mode {mode}
    timeout connect 10s
    timeout client 30s
    timeout server 30s
listen front
    bind 127.0.0.1:{port}
    {lines}
    server gateway 127.0.0.1:{gateway} {options}
"""

NGINX = """
load_module {module};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_processes 1;
events {{ worker_connections 200; }}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{gateway};
        proxy_protocol on;
    }}
}}
"""
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@contextmanager
def haproxy(directory: Path, gateway: int, options: str = "", mode: str = "tcp", lines: str = "") -> Iterator[int]:
    """The port of a HAProxy that relays bytes, or requests (mode http). ``options`` of its server line, such as send-proxy."""
    port = free_port()
    config = directory / f"haproxy-{port}.cfg"
    config.write_text(HAPROXY.format(port=port, gateway=gateway, options=options, mode=mode, lines=lines))
    with _running([_program("haproxy"), "-db", "-f", str(config)], port, directory):
        yield port


@contextmanager
def nginx(directory: Path, gateway: int) -> Iterator[int]:
    """The port of an nginx that does the same, with a header of version 1."""
    port = free_port()
    config = directory / f"nginx-{port}.conf"
    config.write_text(NGINX.format(port=port, gateway=gateway, directory=directory, module=STREAM_MODULE))
    command = [_program("nginx"), "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(config)]
    with _running(command, port, directory):
        yield port


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found, f"these tests need {name} (./bootstrap.sh test installs it)"
    return found


@contextmanager
def _running(command: list[str], port: int, directory: Path) -> Iterator[None]:
    output = directory / f"front-{port}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or listening_inodes(port), f"{command[0]} listens")
        assert process.poll() is None, output.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
