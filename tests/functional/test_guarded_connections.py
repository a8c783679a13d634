"""Who may connect where bytes are relayed: TLS passed through by its server name, and plain TCP, with curl and openssl as clients.

Lists of a Gateway hold beside those of a VirtualService, which may be for one name within a wildcard. Behind a proxy that speaks
the PROXY protocol the address that it tells counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.certificates import Authority
from .support.config import Document, gateway_of
from .support.curl import curl, curl_fails
from .support.fronts import haproxy
from .support.gateway import Gateway
from .support.layer4 import passthrough_server, tcp_entry, tcp_route, tcp_server, tcp_service
from .support.log import whole_lines
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import get_request, s_client
from .support.tls_origin import TlsOrigin

WELCOME, BANNED, STRANGER = "127.0.1.7", "127.0.2.7", "127.0.3.7"
"""In the networks that a VirtualService lets in; denied by the Gateway; in neither."""
LET_IN = ["127.0.1.0/24", "127.0.2.0/24"]
LOG = '["%REQUESTED_SERVER_NAME%","%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%","%RESPONSE_CODE_DETAILS%"]\n'
NONE = "rbac_access_denied_matched_policy[none]"
GATE = "rbac_access_denied_matched_policy[default/gate]"


def policy(name: str, target: Document, **sources: list[str]) -> Document:
    spec = {"targetRefs": [target], "sources": sources}
    return {"apiVersion": "gateway.fastgw.io/v1", "kind": "EdgePolicy", "metadata": {"name": name}, "spec": spec}


def documents(tls: int, plain: int, proxied: bool) -> list[Document]:
    servers = [passthrough_server(443, ["*.test"]), tcp_server(9000), tcp_server(9001)]
    gateway = gateway_of("gw", servers)
    gateway["metadata"]["annotations"] = {"gateway.fastgw.io/proxy-protocol": str(proxied).lower()}
    passed = tcp_route("tls.up", port=9000, match=[{"port": 443, "sniHosts": ["*.test"]}])
    return [
        gateway,
        tcp_service("passed", tls=[passed], hosts=["*.test"]),
        tcp_service("kept", tcp=[tcp_route("tcp.up", port=9000, match=[{"port": 9000}])]),
        tcp_service("open", tcp=[tcp_route("tcp.up", port=9000, match=[{"port": 9001}])]),
        tcp_entry("tls.up", tls),
        tcp_entry("tcp.up", plain),
        # one name within the wildcard that the server name of the connection has to be within
        policy("inner", {"kind": "VirtualService", "name": "passed", "hosts": ["inner.test"]}, allow=LET_IN),
        policy("kept", {"kind": "VirtualService", "name": "kept"}, allow=LET_IN),
        policy("gate", {"kind": "Gateway", "name": "gw"}, deny=["127.0.2.0/24"]),
    ]


class World:
    """``ports``: where clients connect, by the gateway's port."""

    def __init__(self, gateway: Gateway, ports: dict[int, int], ca: str, log: Path) -> None:
        self.gateway, self.ports, self.ca, self._log = gateway, ports, ca, log

    def https(self, client: str, name: str) -> list[str]:
        there = f"{name}:{self.ports[443]}"
        return ["--interface", client, "--cacert", self.ca, "--resolve", f"{there}:127.0.0.1", f"https://{there}/"]

    def handshake(self, client: str, name: str) -> int | None:
        words = ["-bind", f"{client}:0", "-CAfile", self.ca]
        return s_client(self.ports[443], *words, name=name, request=get_request(name)).status

    def plain(self, client: str, port: int) -> list[str]:
        return ["--interface", client, f"http://127.0.0.1:{self.ports[port]}/"]

    def expect_line(self, *wanted: str) -> None:
        eventually(lambda: list(wanted) in [json.loads(line) for line in whole_lines(self._log)], f"a line {wanted}")

    def denied(self) -> float:
        return self.gateway.metrics().total("fastgw_sources_denied_total")


@pytest.fixture(params=["straight", "send-proxy", "send-proxy-v2"])
def world(
    request: pytest.FixtureRequest, start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> Iterator[World]:
    log, ca = tmp_path / "access.log", str(authority.write(tmp_path / "ca.pem"))
    settings = {"access-log": str(log), "access-log-format": LOG}
    proxied = request.param != "straight"
    with TlsOrigin("up", authority.issue("inner.test", "outer.test"), tmp_path) as tls:
        gateway = start_gateway(documents(tls.port, origin.port, proxied), ports=[443, 9000, 9001], settings=settings)
        opened = {port: gateway.port(port) for port in (443, 9000, 9001)}
        with fronts(tmp_path, opened, request.param) if proxied else at_once(opened) as ports:
            yield World(gateway, ports, ca, log)
        gateway.assert_no_leaks()


@contextmanager
def at_once(ports: dict[int, int]) -> Iterator[dict[int, int]]:
    yield ports


@contextmanager
def fronts(directory: Path, ports: dict[int, int], options: str) -> Iterator[dict[int, int]]:
    """A HAProxy in front of each."""
    with (
        haproxy(directory, ports[443], options) as tls,
        haproxy(directory, ports[9000], options) as kept,
        haproxy(directory, ports[9001], options) as others,
    ):
        yield {443: tls, 9000: kept, 9001: others}


def test_tls_that_is_passed_through(world: World) -> None:
    assert curl(*world.https(WELCOME, "inner.test")).status == 200
    assert world.handshake(WELCOME, "inner.test") == 200
    # the rest of the wildcard asks for the Gateway's list alone
    assert curl(*world.https(STRANGER, "outer.test")).status == 200
    assert world.handshake(STRANGER, "outer.test") == 200
    for client, name, why in ((STRANGER, "inner.test", NONE), (BANNED, "inner.test", GATE), (BANNED, "outer.test", GATE)):
        before = world.denied()
        assert curl_fails(*world.https(client, name)) == 35, "no handshake"
        assert world.handshake(client, name) is None
        world.expect_line(name, client, why)
        eventually(lambda before=before: world.denied() == before + 2, "both are counted")  # type: ignore[misc]


def test_plain_tcp(world: World) -> None:
    assert curl(*world.plain(WELCOME, 9000)).status == 200
    assert curl(*world.plain(STRANGER, 9001)).status == 200
    for client, port, why in ((STRANGER, 9000, NONE), (BANNED, 9000, GATE), (BANNED, 9001, GATE)):
        assert curl_fails(*world.plain(client, port)) in (7, 52, 56), "reset, be it before connect() has returned"
        world.expect_line("-", client, why)
    assert world.denied() >= 3, "also who only looks whether a proxy's port is open"
