"""The drill: eight clients of every kind ask while the configuration changes 300 times, certificates 20 times, the version 5 times.

No request fails, and no connection ends but by an upgrade's ``connection: close`` or GOAWAY. Nothing is tried again by the clients.
FASTGW_DRILL raises the size: 10 is ten times as much of everything.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from .conftest import StartGateway
from .support.certificates import Authority, mount
from .support.config import Document, gateway_of, http_server, https_server, route, service_entry, virtual_service
from .support.crowd import Crowd, echo_upstream, kinds
from .support.gateway import Gateway
from .support.poll import eventually
from .support.processes import alive
from .support.tls_client import TlsClient, client_context

SIZE = int(os.environ.get("FASTGW_DRILL", "1"))
RELOADS, ROTATIONS, UPGRADES = 300 * SIZE, 20 * SIZE, 5 * SIZE
HOST, SECURE = "shop.test", "secure.test"


def documents(ports: dict[str, int]) -> list[Document]:
    return [
        gateway_of("gw", [http_server([HOST]), https_server([SECURE], "web")]),
        *(service_entry(name, [("127.0.0.1", port)]) for name, port in ports.items()),
    ]


def rules(turn: int) -> list[Document]:
    """Every turn has the other upstream, and a rule of its own."""
    rule = route(("one", "two")[turn % 2], 8080)
    own = route("one", 8080, match=[{"uri": {"exact": f"/turn-{turn}"}}])
    return [virtual_service("shop", [HOST], [own, rule]), virtual_service("secure", [SECURE], [own, rule])]


def reload(gateway: Gateway, turn: int) -> None:
    gateway.write("rules.yaml", rules(turn))
    view = gateway.admin("/reload", "POST")
    assert not view["error"], view


def rotate(gateway: Gateway, secrets: Path, authority: Authority) -> None:
    new = authority.issue(SECURE)
    mount(secrets, "web", new)

    def shown() -> bool:
        with TlsClient(gateway.port(443), SECURE, client_context(authority)) as client:
            return client.tls.getpeercert(binary_form=True) == new.der

    eventually(shown, "the new certificate is shown", 60)


def upgrade(gateway: Gateway, crowd: Crowd, times: int) -> None:
    before = gateway.worker_pids()
    crowd.upgrade_begins()
    gateway.signal(signal.SIGUSR2)
    eventually(lambda: gateway.said().count("upgraded from") == times, gateway.tail(), 60)
    eventually(lambda: not any(map(alive, before)), "the workers of before are gone", 60)
    crowd.upgrade_done()
    assert gateway.ready()


def test_the_drill(start_gateway: StartGateway, authority: Authority, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    mount(secrets, "web", authority.issue(SECURE))
    with echo_upstream("one") as one, echo_upstream("two") as two:
        gateway = start_gateway(documents({"one": one, "two": two}), ports=(80, 443), options=["--secrets", str(secrets)])
        reload(gateway, 0)
        clients = kinds(gateway.port(80), gateway.port(443), HOST, SECURE, lambda **options: client_context(authority, **options))
        upgrades = 0
        began = time.monotonic()
        with Crowd(clients) as crowd:
            crowd.each_once_more()
            for turn in range(1, RELOADS + 1):
                reload(gateway, turn)
                if turn % (RELOADS // ROTATIONS) == 0:
                    rotate(gateway, secrets, authority)
                if turn % (RELOADS // UPGRADES) == RELOADS // UPGRADES // 2:
                    upgrades += 1
                    upgrade(gateway, crowd, upgrades)
            crowd.each_once_more()
        report(crowd, upgrades, time.monotonic() - began)
        assert not crowd.tally.failures, crowd.tally.failures[:10]
        assert upgrades == UPGRADES


def report(crowd: Crowd, upgrades: int, seconds: float) -> None:
    """Printed, and written to the file that FASTGW_DRILL_JSON names."""
    tally = crowd.tally
    figures: dict[str, Any] = {
        "reloads": RELOADS,
        "rotations": ROTATIONS,
        "upgrades": upgrades,
        "seconds": round(seconds, 1),
        "requests": dict(tally.requests),
        "connections": dict(tally.connections),
        "ended_by_upgrades": dict(tally.ended),
        "failed": len(tally.failures),
    }
    print(json.dumps(figures, indent=2))
    if path := os.environ.get("FASTGW_DRILL_JSON"):
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")
