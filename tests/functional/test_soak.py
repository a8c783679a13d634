"""The soak: mixed traffic for a while, reloads now and then, and memory and descriptors at its end as after its warm-up.

Both are read when all clients have gone. FASTGW_SOAK_S is the time in seconds (80; `make soak`: 600), a quarter of it warm-up.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from .conftest import StartGateway
from .support.certificates import Authority, mount
from .support.config import Document, gateway_of, http_server, https_server, route, service_entry, virtual_service
from .support.crowd import Crowd, echo_upstream, kinds
from .support.gateway import Gateway
from .support.grpc_peers import EchoServer
from .support.layer4 import tcp_entry, tcp_route, tcp_server, tcp_service
from .support.processes import in_session, open_files
from .support.soak_clients import soak_kinds
from .support.tls_client import client_context
from .support.websocket import WebSocketOrigin

SECONDS = float(os.environ.get("FASTGW_SOAK_S", "80"))
PAUSE_S = 0.03
RELOAD_S = 0.7
WORKER_KIB, SUPERVISOR_KIB = 1024, 2048
"""So much more resident memory a process may have at the end than after the warm-up. The compile process keeps hosts that have gone
for a while (image/writer.py:_forget_unused), the supervisor the last twenty generations."""
DESCRIPTORS = 8
"""And so many more descriptors, beside idle connections to upstreams: pipes that are kept for splicing."""
HOSTS = {"echo": "shop.test", "websocket": "ws.test", "grpc": "grpc.test"}
SECURE = "secure.test"


def documents(http: int, websockets: int, grpc: int) -> list[Document]:
    servers = [http_server(["*"]), https_server([SECURE], "web"), tcp_server(9000)]
    calls = service_entry("calls", [("127.0.0.1", grpc)])
    calls["spec"]["ports"][0].update({"name": "http", "protocol": "GRPC"})
    return [
        gateway_of("gw", servers),
        service_entry("echo", [("127.0.0.1", http)]),
        service_entry("websockets", [("127.0.0.1", websockets)]),
        calls,
        tcp_entry("relayed", http),
        tcp_service("relay", tcp=[tcp_route("relayed", port=9000)]),
        virtual_service("ws", [HOSTS["websocket"]], [route("websockets", 8080)]),
        virtual_service("calls", [HOSTS["grpc"]], [route("calls", 8080)]),
    ]


def rules(turn: int) -> list[Document]:
    own = route("echo", 8080, match=[{"uri": {"exact": f"/turn-{turn}"}}])
    return [virtual_service("shop", [HOSTS["echo"], SECURE], [own, route("echo", 8080)])]


class Soak:
    """A gateway under a crowd, and what its processes hold when the crowd has gone."""

    def __init__(self, gateway: Gateway, crowd: Any) -> None:
        self.gateway = gateway
        self._crowd = crowd
        self.reloads = 0

    def run(self, seconds: float) -> Crowd:
        self.reload()
        end = time.monotonic() + seconds
        crowd: Crowd
        with self._crowd() as crowd:
            while time.monotonic() < end:
                time.sleep(RELOAD_S)
                self.reload()
            crowd.each_once_more()
        return crowd

    def reload(self) -> None:
        self.reloads += 1
        self.gateway.write("rules.yaml", rules(self.reloads))
        view = self.gateway.admin("/reload", "POST")
        assert not view["error"], view

    def held(self) -> dict[str, dict[str, int]]:
        """By process: resident KiB and descriptors, those of idle connections to upstreams left out."""
        self.gateway.assert_no_leaks()
        leaks = self.gateway.admin("/leaks", "POST")
        idle = {
            int(worker["pid"]): leaks[str(worker["slot"])]["idle_upstream_connections"] for worker in self.gateway.admin("/workers")
        }
        names = {pid: f"worker {n}" for n, pid in enumerate(sorted(idle))} | {self.gateway.pid: "supervisor"}
        found = {}
        for pid in in_session(self.gateway.pid):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found[names.get(pid, "compiler")] = {
                "rss_kib": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
                "descriptors": open_files(pid) - idle.get(pid, 0),
            }
        return found


def test_the_soak(start_gateway: StartGateway, authority: Authority, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    mount(secrets, "web", authority.issue(SECURE))
    with echo_upstream("echo") as http, WebSocketOrigin() as websockets, EchoServer() as calls:
        options = ["--secrets", str(secrets)]
        gateway = start_gateway(documents(http, websockets.port, calls.port), ports=(80, 443, 9000), options=options)

        def crowd() -> Crowd:
            ports = gateway.port(80), gateway.port(443)
            web = kinds(*ports, HOSTS["echo"], SECURE, lambda **more: client_context(authority, **more))
            return Crowd(web + soak_kinds(ports[0], gateway.port(9000), HOSTS), PAUSE_S)

        workers = gateway.worker_pids()
        soak = Soak(gateway, crowd)
        warm = soak.run(SECONDS / 4)
        before = soak.held()
        main = soak.run(SECONDS * 3 / 4)
        after = soak.held()
        failures = warm.tally.failures + main.tally.failures
        report(warm, main, soak.reloads, before, after)
        assert not failures, failures[:10]
        assert gateway.worker_pids() == workers and before.keys() == after.keys()
        for name in before:
            growth = WORKER_KIB if name.startswith("worker") else SUPERVISOR_KIB
            assert after[name]["rss_kib"] <= before[name]["rss_kib"] + growth, (name, before, after)
            assert after[name]["descriptors"] <= before[name]["descriptors"] + DESCRIPTORS, (name, before, after)


def report(warm: Crowd, main: Crowd, reloads: int, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Printed, and written to the file that FASTGW_SOAK_JSON names."""
    figures = {
        "seconds": SECONDS,
        "reloads": reloads,
        "requests": dict(main.tally.requests + warm.tally.requests),
        "connections": dict(main.tally.connections + warm.tally.connections),
        "failed": len(warm.tally.failures) + len(main.tally.failures),
        "after_warm_up": before,
        "at_the_end": after,
    }
    print(json.dumps(figures, indent=2))
    if path := os.environ.get("FASTGW_SOAK_JSON"):
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")
