"""TLS passthrough: who gets a hello (as data), and real TLS clients and servers through it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wire.hellos import Hello, load, named

from .conftest import StartGateway
from .support.certificates import Authority
from .support.config import Document, gateway_of
from .support.config import _object as resource
from .support.curl import curl
from .support.gateway import Gateway
from .support.layer4 import Keeper, connect, passthrough_server, tcp_entry, tcp_route, tcp_service
from .support.log import whole_lines
from .support.poll import eventually
from .support.tls_client import client_context, fetch_tls, get_request, s_client
from .support.tls_origin import TlsOrigin

HOSTS = {"A": "a.test", "B": "b.test"}
HELLO_S = 2.0


def documents(ports: dict[str, int]) -> list[Document]:
    """A server and an upstream for a.test, one for b.test, and D for every other name."""
    servers = [passthrough_server(443, [HOSTS.get(name, "*")], name.lower()) for name in ports]
    services = []
    for name in ports:
        host = HOSTS.get(name, "*")
        rule = tcp_route(f"{name.lower()}.up", port=9000, match=[{"port": 443, "sniHosts": [host]}])
        services.append(tcp_service(name.lower(), tls=[rule], hosts=[host]))
    return [gateway_of("gw", servers), *services, *(tcp_entry(f"{name.lower()}.up", port) for name, port in ports.items())]


class Three:
    """A gateway in front of A, B and D, which keep what they get. ``patience_s``: for a hello."""

    def __init__(self, directory: Path, patience_s: float) -> None:
        self.keepers = {name: Keeper() for name in ("A", "B", "D")}
        ports = {name: keeper.port for name, keeper in self.keepers.items()}
        self.gateway = Gateway(directory, documents(ports), ports=[443], options=["--hello-timeout", str(patience_s)]).start()

    def outcome(self, client: socket.socket, data: bytes) -> str:
        """Who has got exactly these bytes, or "close"."""
        client.settimeout(0.02)
        before = {name: len(keeper.kept) for name, keeper in self.keepers.items()}

        def probe() -> str:
            for name, keeper in self.keepers.items():
                for kept in keeper.kept[max(0, before[name] - 1) :]:
                    if bytes(kept) == data:
                        keeper.kept.clear()
                        return name
            return "close" if ended(client) else ""

        return eventually(probe, f"an outcome, kept {[k.kept for k in self.keepers.values()]!r:.300}")


def ended(client: socket.socket) -> bool:
    """The gateway has ended the connection; an alert may come before."""
    try:
        return client.recv(1 << 16) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    yield from running_three(tmp_path_factory.mktemp("three"), 60)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """For hellos that never come to their end. A busy machine may be too slow for others."""
    yield from running_three(tmp_path_factory.mktemp("impatient"), HELLO_S)


def running_three(directory: Path, patience_s: float) -> Iterator[Three]:
    made = Three(directory, patience_s)
    try:
        yield made
        made.gateway.assert_no_leaks()
        made.gateway.stop()
    finally:
        made.gateway.kill()
        for keeper in made.keepers.values():
            keeper.stop()


def say(client: socket.socket, segments: list[bytes]) -> None:
    try:
        for segment in segments:
            client.sendall(segment)
    except OSError:
        return  # refused before its end


@pytest.mark.parametrize("case", load(), ids=lambda case: case.name)
def test_who_gets_a_hello(three: Three, impatient: Three, case: Hello) -> None:
    asked = impatient if case.stall else three
    with connect(asked.gateway.port(443)) as client:
        say(client, case.segments)
        assert asked.outcome(client, case.data) in case.expect


def test_a_byte_at_a_time_in_time(three: Three) -> None:
    data = named("plain").data
    with connect(three.gateway.port(443)) as client:
        for byte in data:
            client.sendall(bytes([byte]))
            time.sleep(0.5 / len(data))
        assert three.outcome(client, data) == "A"


@pytest.mark.parametrize("sends", [True, False], ids=["slow", "silent"])
def test_a_hello_that_does_not_come_in_time(impatient: Three, sends: bool) -> None:
    """Cut at the limit, whatever its progress, and nobody hears of it (T1, T2)."""
    began = time.monotonic()
    with connect(impatient.gateway.port(443)) as client:
        client.settimeout(0.1)
        for byte in named("hello-9k").data:
            if sends:
                say(client, [bytes([byte])])
            if ended(client):
                break
        assert time.monotonic() - began >= HELLO_S * 0.8
    assert not any(keeper.kept for keeper in impatient.keepers.values())
    assert impatient.gateway.metrics().total("fastgw_tls_hello_timeouts_total") >= 1


# ---- real TLS


@pytest.fixture
def servers(authority: Authority, tmp_path: Path) -> Iterator[dict[str, TlsOrigin]]:
    made = {name: TlsOrigin(name, authority.issue(host), tmp_path) for name, host in {**HOSTS, "D": "*.else.test"}.items()}
    yield made
    for origin in made.values():
        origin.stop()


def test_python_curl_and_openssl_meet_the_servers_own_certificates(
    start_gateway: StartGateway, servers: dict[str, TlsOrigin], authority: Authority, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    words = ["--access-log", str(log), "--access-log-format", "%REQUESTED_SERVER_NAME% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS%\n"]
    ports = {name: origin.port for name, origin in servers.items()}
    gateway = start_gateway(documents(ports), ports=[443], options=words)
    port = gateway.port(443)
    for name, host in (("A", "a.test"), ("B", "b.test"), ("D", "x.else.test")):
        answer = fetch_tls(port, host, client_context(authority))
        assert (answer.status, answer.value("x-origin")) == (200, name)
    ca = authority.write(tmp_path / "ca.pem")
    found = curl("--cacert", str(ca), "--resolve", f"a.test:{port}:127.0.0.1", f"https://a.test:{port}/")
    assert found.status == 200 and found.headers["x-origin"] == "A"
    for version in ("-tls1_2", "-tls1_3"):
        talk = s_client(port, version, "-CAfile", str(ca), name="b.test", request=get_request("b.test"))
        assert talk.status == 200 and "X-Origin: B" in talk.out and "Verify return code: 0" in talk.out
    lines = eventually(lambda: rows if len(rows := whole_lines(log)) == 6 else None, "six lines")
    wanted = [("a.test", "a")] * 2 + [("b.test", "b")] * 3 + [("x.else.test", "d")]
    assert sorted(lines) == [f"{name} outbound|9000||{up}.up -" for name, up in wanted]


def test_without_a_server_for_every_name_unknown_ones_are_closed(
    start_gateway: StartGateway, servers: dict[str, TlsOrigin], authority: Authority
) -> None:
    gateway = start_gateway(documents({name: servers[name].port for name in HOSTS}), ports=[443])
    assert fetch_tls(gateway.port(443), "a.test", client_context(authority)).status == 200
    for name in ("c.test", None):
        assert s_client(gateway.port(443), name=name).version == ""
    eventually(lambda: gateway.metrics().total("fastgw_tls_unknown_server_names_total") == 2, "both are counted")


def test_the_registry_behind_auto_passthrough(
    start_gateway: StartGateway, servers: dict[str, TlsOrigin], authority: Authority, tmp_path: Path
) -> None:
    """A service is reached by the server name of its port and subset, and by no other (P17)."""
    entry = {
        "hosts": ["pay.mesh.test"],
        "location": "MESH_INTERNAL",
        "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
        "resolution": "STATIC",
        "endpoints": [
            {"address": "127.0.0.1", "ports": {"tls": servers[name].port}, "labels": {"version": version}}
            for name, version in (("A", "one"), ("B", "two"))
        ],
    }
    subsets = [{"name": version, "labels": {"version": version}} for version in ("one", "two")]
    server = {**passthrough_server(443, ["*.mesh.test"]), "tls": {"mode": "AUTO_PASSTHROUGH"}}
    gateway = start_gateway(
        [
            gateway_of("gw", [server]),
            resource("ServiceEntry", "pay", None, entry),
            resource("ServiceEntry", "far", None, {**entry, "hosts": ["far.mesh.test"], "location": "MESH_EXTERNAL"}),
            resource("ServiceEntry", "other", None, {**entry, "hosts": ["pay.other.test"]}),
            resource("DestinationRule", "pay", None, {"host": "pay.mesh.test", "subsets": subsets}),
        ],
        ports=[443],
    )
    ca = str(authority.write(tmp_path / "ca.pem"))

    def origin_of(name: str) -> str:
        talk = s_client(gateway.port(443), "-CAfile", ca, name=name, request=get_request("pay.mesh.test"))
        found = [line.removeprefix("X-Origin: ") for line in talk.out.splitlines() if line.startswith("X-Origin: ")]
        return found[0].strip() if found else ""

    assert origin_of("outbound_.443_.one_.pay.mesh.test") == "A"
    assert origin_of("outbound_.443_.two_.pay.mesh.test") == "B"
    assert origin_of("outbound_.443_._.pay.mesh.test") in {"A", "B"}
    others = ("444_._.pay.mesh.test", "443_._.far.mesh.test", "443_._.pay.other.test")
    for name in ("pay.mesh.test", *(f"outbound_.{other}" for other in others)):
        assert origin_of(name) == "", name
    eventually(lambda: gateway.metrics().total("fastgw_tls_unknown_server_names_total") == 4, "all are counted")
