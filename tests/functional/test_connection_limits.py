"""Limits of client connections over several workers: of a listener, and of one source address."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import gateway_of, http_server, route, service_entry, simple, virtual_service
from .support.fronts import haproxy
from .support.gateway import Gateway
from .support.layer4 import reset
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "webapp.test"
FAMILY = "gateway.fastgw.io/"
CROWD = 24


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def is_served(sock: socket.socket) -> bool:
    """One answer; the connection stays open. False: it was closed."""
    try:
        sock.sendall(request_bytes("GET", "/", HOST))
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = sock.recv(65536)
            if not piece:
                return False
            answer += piece
        return answer.startswith(b"HTTP/1.1 200")
    except (ConnectionResetError, BrokenPipeError):
        return False


def one_by_one(port: int, sources: list[str]) -> tuple[list[socket.socket], list[socket.socket]]:
    """Connections from these addresses, and those of them that are served."""
    crowd, served = [], []
    for source in sources:
        crowd.append(connect(port, source))
        if is_served(crowd[-1]):
            served.append(crowd[-1])
    return crowd, served


def refusals(gateway: Gateway) -> float:
    return gateway.metrics().total("fastgw_rejected_requests_total", reason="connections_per_source")


def close(*socks: socket.socket) -> None:
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("how", ["option", "annotation"])
def test_a_source_address_has_one_limit_over_all_workers(start_gateway: StartGateway, origin: RecordingOrigin, how: str) -> None:
    documents = simple(HOST, origin.port)
    options = ["--max-connections-per-source", "5"]
    if how == "annotation":
        documents[0]["metadata"]["annotations"] = {FAMILY + "max-connections-per-source": "5"}
        options = []
    gateway = start_gateway(documents, workers=3, options=options)
    crowd, served = one_by_one(gateway.port(), ["127.0.0.1"] * CROWD)
    assert len(served) == 5 and refusals(gateway) == CROWD - 5
    with connect(gateway.port(), "127.0.0.2") as other:
        assert is_served(other), "somebody else"
    assert "max-connections-per-source" in eventually(
        lambda: gateway.said() if "connections closed" in gateway.said() else "", "the log"
    )
    reset(served[0])
    close(*crowd)
    eventually(lambda: gateway.living()["client_connections"] == 0, "the end of all")
    again = [connect(gateway.port()) for _ in range(5)]
    assert all(is_served(sock) for sock in again)
    close(*again)
    gateway.assert_no_leaks()


def test_what_a_killed_worker_held_is_free_again(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(
        simple(HOST, origin.port), workers=2, options=["--max-connections-per-source", "4", "--max-connections", "4"]
    )
    crowd = [connect(gateway.port()) for _ in range(4)]
    assert all(is_served(sock) for sock in crowd)
    for pid in gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)
    close(*crowd)

    def four_more() -> bool:
        socks = [connect(gateway.port()) for _ in range(4)]
        try:
            return all(is_served(sock) for sock in socks)
        finally:
            close(*socks)

    eventually(four_more, "all places are free")


def test_a_full_listener_holds_back_its_own_clients_only(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    full = gateway_of("gw", [http_server([HOST], 80)])
    full["metadata"]["annotations"] = {FAMILY + "max-connections": "6"}
    documents = [
        full,
        gateway_of("other", [http_server([HOST], 81)]),
        virtual_service("webapp", [HOST], [route("webapp", 8080)], gateways=["gw", "other"]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    gateway = start_gateway(documents, workers=3, ports=[80, 81])
    inside = [connect(gateway.port()) for _ in range(6)]
    assert all(is_served(sock) for sock in inside)
    late = [connect(gateway.port()) for _ in range(3)]
    for sock in late:
        sock.sendall(request_bytes("GET", "/", HOST))
    eventually(lambda: gateway.metrics().total("fastgw_listeners_full") > 0, "it is full")
    assert gateway.metrics().total("fastgw_client_connections_active") == 6
    assert gateway.get("/", HOST, wanted=81).status == 200
    close(*inside)
    for sock in late:
        assert sock.recv(65536).startswith(b"HTTP/1.1 200"), "it has waited, and lost nothing"
    close(*late)
    eventually(lambda: gateway.metrics().total("fastgw_listeners_full") == 0, "it is not full any more")
    gateway.assert_no_leaks()


def test_behind_a_proxy_its_clients_count(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    documents = simple(HOST, origin.port)
    documents[0]["metadata"]["annotations"] = {FAMILY + "proxy-protocol": "true", FAMILY + "max-connections-per-source": "2"}
    gateway = start_gateway(documents, workers=2)
    with haproxy(tmp_path, gateway.port(), "send-proxy-v2") as port:
        crowd, served = one_by_one(port, [f"127.0.0.{10 + i % 3}" for i in range(9)])
        assert len(served) == 6 and refusals(gateway) == 3
        close(*crowd)
