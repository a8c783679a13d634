"""The proxies under test: how each is started in front of the origin, pinned to its core.

A proxy is ready when it answers the benchmark's request with the origin's answer. One that is not installed is reported and
left out.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import procfs

PEERS = Path(__file__).resolve().parent.parent / "peers"
HOST = "webapp.istioinaction.io"
PATH = "/api/catalog/items/42?view=full"
START_TIMEOUT_S = 20.0


Probe = Callable[[int], bool]


class NotInstalled(Exception):
    """The program is not on this machine; ``make bench-peers`` installs it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str) -> str:
    """In PATH, in the system's sbin, or beside the running Python (a package of the virtual environment)."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise NotInstalled(name)
    return found


def compile_c(name: str, directory: Path, *libraries: str) -> str:
    """Build benchmarks/peers/NAME.c and answer the path of the program."""
    out = directory / name
    subprocess.run(["cc", "-std=c11", "-O2", "-o", str(out), str(PEERS / f"{name}.c"), *libraries], check=True)
    return str(out)


def fill_template(name: str, directory: Path, values: dict[str, object]) -> str:
    """Write the template with ``@DIR@`` and the keys of ``values`` filled in, and answer its path."""
    text = (PEERS / name).read_text()
    for key, value in {"DIR": directory, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    out = directory / name.removesuffix(".in")
    out.write_text(text)
    return str(out)


@dataclass
class Server:
    """A started program. ``port`` is where it serves; ``log`` is where its output goes."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    version: str = ""

    def pin(self, core: int) -> None:
        """Move every process of the tree, and all their threads, to one core."""
        for pid in procfs.process_tree(self.process.pid):
            pin_process(pid, core)

    def cpu_time(self) -> procfs.CpuTime:
        return procfs.tree_cpu_time(self.process.pid)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def pin_process(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def spawn(name: str, port: int, command: list[str], core: int, directory: Path) -> Server:
    log = directory / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    return Server(name, port, process, log)


def answers(port: int) -> bool:
    """True when the benchmark's request is answered with the origin's 128 bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", PATH, headers={"Host": HOST})
        response = connection.getresponse()
        return response.status == 200 and len(response.read()) == 128
    except OSError:
        return False
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


def await_answer(server: Server, probe: Probe) -> None:
    """Raises RuntimeError with the end of the program's output when it does not serve in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not probe(server.port):
        if server.process.poll() is not None or time.monotonic() > deadline:
            tail = server.log.read_text(errors="replace")[-2000:]
            server.stop()
            raise RuntimeError(f"{server.name} does not answer\n{tail}")
        time.sleep(0.05)


@dataclass
class Bench:
    """Where everything runs: one core for the proxy, the other for load and origin."""

    directory: Path
    proxy_core: int
    load_core: int
    fastgw: str = "fastgw"
    origin_port: int = 0
    servers: list[Server] = field(default_factory=list)

    def start(
        self,
        name: str,
        port: int,
        command: list[str],
        core: int,
        version: list[str] | None = None,
        *,
        probe: Probe = answers,
    ) -> Server:
        """Start a program and wait until ``probe`` of its port is true."""
        server = spawn(name, port, command, core, self.directory)
        self.servers.append(server)
        await_answer(server, probe)
        if version:
            server.version = version_of(version)
        return server

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


def version_of(command: list[str]) -> str:
    """The first version number that the program prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.search(r"\d+\.\d+\.\d+[^\s/]*", done.stdout)
    return found.group() if found else ""


def start_origin(bench: Bench, *bodies: str, more_ports: int = 0) -> list[int]:
    """``bodies``: PREFIX=BYTES, what targets that begin with the prefix are answered with. The origin's ports: the first is
    bench.origin_port, the others are endpoints of the same process."""
    ports = [free_port() for _ in range(1 + more_ports)]
    bench.origin_port = ports[0]
    program = compile_c("origin", bench.directory)
    bench.start("origin", ports[0], [program, ",".join(map(str, ports)), *bodies], bench.load_core)
    return ports


def start_relay(bench: Bench) -> Server:
    port = free_port()
    program = compile_c("relay", bench.directory)
    return bench.start("relay", port, [program, str(port), str(bench.origin_port)], bench.proxy_core)


def start_nginx(bench: Bench, name: str = "nginx", access_log: str = "off") -> Server:
    port, program = free_port(), find_program("nginx")
    directory = bench.directory / f"{name}-files"
    directory.mkdir(mode=0o755, exist_ok=True)
    config = fill_template("nginx.conf.in", directory, {"PORT": port, "ORIGIN": bench.origin_port, "ACCESS_LOG": access_log})
    return bench.start(name, port, [program, "-c", config], bench.proxy_core, [program, "-v"])


def start_haproxy(bench: Bench) -> Server:
    port, program = free_port(), find_program("haproxy")
    config = fill_template("haproxy.cfg.in", bench.directory, {"PORT": port, "ORIGIN": bench.origin_port})
    return bench.start("haproxy", port, [program, "-f", config], bench.proxy_core, [program, "-v"])


def start_envoy(bench: Bench) -> Server:
    port, program = free_port(), find_program("envoy")
    config = fill_template("envoy.yaml.in", bench.directory, {"PORT": port, "ORIGIN": bench.origin_port})
    command = [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return bench.start("envoy", port, command, bench.proxy_core, [program, "--version"])


HTTP_PORT = 80


def gateway_documents(origin_port: int, hosts: int = 32, rules: int = 8) -> list[dict[str, object]]:
    """One Gateway, ``hosts`` VirtualServices of ``rules`` rules each; the request matches the last but one of the middle host."""
    api = "networking.istio.io/v1"
    names = [f"app{i}.example.com" for i in range(hosts)]
    names[hosts // 2] = HOST
    gateway = {
        "apiVersion": api,
        "kind": "Gateway",
        "metadata": {"name": "edge"},
        "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": HTTP_PORT, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    }
    origin = service_entry("origin", "origin.bench", "HTTP", origin_port)
    return [gateway, origin, *(virtual_service(i, name, rules) for i, name in enumerate(names))]


def service_entry(name: str, host: str, protocol: str, port: int) -> dict[str, object]:
    """Port 8080 of ``host``, served on this machine."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name},
        "spec": {
            "hosts": [host],
            "ports": [{"number": 8080, "name": "main", "protocol": protocol}],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1", "ports": {"main": port}}],
        },
    }


def virtual_service(number: int, host: str, rules: int) -> dict[str, object]:
    to_origin = [{"destination": {"host": "origin.bench", "port": {"number": 8080}}}]
    conditions: list[dict[str, object]] = [
        {"uri": {"prefix": f"/v{i}/"}, "headers": {"x-tenant": {"exact": f"t{i}"}}} for i in range(rules - 2)
    ]
    conditions.append({"uri": {"prefix": "/api/catalog/"}, "method": {"exact": "GET"}})
    conditions.append({"uri": {"prefix": "/"}})
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": f"app-{number}"},
        "spec": {
            "hosts": [host],
            "gateways": ["edge"],
            "http": [{"match": [condition], "route": to_origin} for condition in conditions],
        },
    }


def start_fastgw(bench: Bench) -> Server:
    return run_fastgw(bench, gateway_documents(bench.origin_port), {HTTP_PORT: free_port()}, [], answers)


def run_fastgw(
    bench: Bench, documents: list[dict[str, object]], ports: dict[int, int], options: list[str], probe: Probe, name: str = "fastgw"
) -> Server:
    """One worker on the proxy's core; the supervisor, which sees no traffic, beside the load.

    ``ports`` are the Gateway's numbers and what is opened for them; the first is the server's own.
    """
    program = find_program(bench.fastgw)
    config = bench.directory / name
    config.mkdir(exist_ok=True)
    (config / "edge.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": documents}))
    command = [program, "run", str(config), "--workers", "1", "--namespace", "default", "--bind", "127.0.0.1"]
    for number, opened in ports.items():
        command += ["--listen-map", f"{number}={opened}"]
    command += ["--access-log", "off", "--admin", f"127.0.0.1:{free_port()}", "--status", f"127.0.0.1:{free_port()}", *options]
    first = next(iter(ports.values()))
    server = bench.start(name, first, command, bench.load_core, [program, "version"], probe=probe)
    for pid in procfs.process_tree(server.process.pid):
        if b"fastgw.dataplane.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            pin_process(pid, bench.proxy_core)
    return server


PROXIES = {
    "relay": start_relay,
    "fastgw": start_fastgw,
    "nginx": start_nginx,
    "haproxy": start_haproxy,
    "envoy": start_envoy,
}
