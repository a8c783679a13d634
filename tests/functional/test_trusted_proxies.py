"""--trusted-proxies: whose x-forwarded-* and PROXY headers are believed, with HAProxy in front."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import Document, simple
from .support.fronts import haproxy
from .support.gateway import Gateway, run_cli
from .support.layer4 import connect
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "webapp.test"
CLIENT = "127.0.0.77"
PROXY_PROTOCOL = {"gateway.fastgw.io/proxy-protocol": "true"}


def annotated(documents: list[Document]) -> list[Document]:
    documents[0]["metadata"]["annotations"] = PROXY_PROTOCOL
    return documents


def ask(port: int, *fields: str, source: str = CLIENT) -> dict[str, str]:
    """What the echoing upstream sees of one request."""
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as sock:
        sock.sendall(request_bytes("GET", "/", HOST, ["connection: close", *fields]))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer[:300]
    return {name.lower(): value for name, value in json.loads(body)["headers"]}


def start(start_gateway: StartGateway, documents: list[Document], log: Path, *trusted: str) -> Gateway:
    settings = {"access-log": str(log), "access-log-format": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n"}
    words = [word for networks in trusted for word in ("--trusted-proxies", networks)]
    return start_gateway(documents, settings=settings, options=words)


def test_requests_of_a_trusted_proxy_and_of_others(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    log = tmp_path / "log"
    gateway = start(start_gateway, simple(HOST, origin.port), log, "127.0.0.1,192.0.2.0/24", "2001:db8::/32")
    with haproxy(tmp_path, gateway.port(), mode="http", lines="option forwardfor") as port:
        seen = ask(port, "x-forwarded-for: 6.6.6.6", "x-forwarded-proto: https")
        assert (seen["x-envoy-external-address"], seen["x-forwarded-proto"]) == (CLIENT, "https")
        assert seen["x-forwarded-for"] == f"6.6.6.6,{CLIENT},127.0.0.1"
        assert ask(port, source="127.0.0.1")["x-envoy-external-address"] == "127.0.0.1"
    # past the proxy: what it says is only what it says
    seen = ask(gateway.port(), "x-forwarded-for: 6.6.6.6", "x-forwarded-proto: https")
    assert (seen["x-envoy-external-address"], seen["x-forwarded-proto"]) == (CLIENT, "http")
    eventually(lambda: sorted(log.read_text().split()) == ["127.0.0.1", CLIENT, CLIENT], "the log")  # of two workers


def test_proxy_headers_of_trusted_peers_only(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    gateway = start(start_gateway, annotated(simple(HOST, origin.port)), tmp_path / "log", "127.0.0.1/32")
    with haproxy(tmp_path, gateway.port(), "send-proxy-v2") as port:
        assert ask(port)["x-forwarded-for"] == CLIENT
    with socket.create_connection(("127.0.0.1", gateway.port()), timeout=20, source_address=(CLIENT, 0)) as sock:
        assert ended(sock)
    assert gateway.metrics().total("fastgw_rejected_requests_total", reason="proxy_header_untrusted") == 1
    with connect(gateway.port()) as sock:  # this one may speak, and has to
        sock.sendall(request_bytes("GET", "/", HOST))
        assert ended(sock)
    assert gateway.metrics().total("fastgw_rejected_requests_total", reason="proxy_header_missing") == 1
    gateway.assert_no_leaks()


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1000) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("words", ["10.0.0.0/33", "10.0.0.0/8,", "proxy.test", "0.0.0.0/0"])
def test_what_is_no_network_is_a_usage_error(words: str, tmp_path: Path) -> None:
    done = run_cli("run", str(tmp_path), "--trusted-proxies", words)
    assert done.returncode == 2 and "--trusted-proxies" in done.stderr
