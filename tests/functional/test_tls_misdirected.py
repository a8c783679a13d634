"""A request's host must belong to the server that the handshake was with (G5, G6): 421, never a way around mTLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import StartTls
from .support.certificates import Authority, mount
from .support.client import request_bytes
from .support.config import Document, gateway_of, https_server, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.h2_wire import H2Wire
from .support.origin import RecordingOrigin
from .support.tls_client import TlsClient
from .support.tls_world import OPTIONAL, PLAIN, STRICT, TlsWorld, keep_alive, tagged, vhost_of

SECRET = "secret.corp.test"
STRICT_HOSTS = (STRICT, SECRET, "pinned.test")


def documents(origin: RecordingOrigin) -> list[Document]:
    """Port 443: exact and wildcard servers. Port 8443: a server for everything beside a strict one. All is bound to both."""
    first = [
        https_server([PLAIN], "web", name="plain"),
        https_server(["a.shared.test"], "shared", name="shared-a"),
        https_server(["b.shared.test"], "shared", name="shared-b"),
        https_server(["c.shared.test"], "shared", "OPTIONAL_MUTUAL", name="shared-c"),
        https_server([STRICT], "admin", "MUTUAL", name="strict"),
        https_server(["pinned.test"], "admin", "MUTUAL", subjectAltNames=["pinned.client.test"], name="pinned"),
        https_server(["*.corp.test"], "corp", name="corp"),
        https_server([SECRET], "corp", "MUTUAL", name="secret"),
        https_server([OPTIONAL], "optional", "OPTIONAL_MUTUAL", name="optional"),
    ]
    passed = {
        "port": {"number": 443, "name": "pass", "protocol": "TLS"},
        "hosts": ["pass.test"],
        "tls": {"mode": "PASSTHROUGH"},
    }
    second = [
        https_server(["*"], "web", port=8443, name="any"),
        https_server([STRICT], "admin", "MUTUAL", port=8443, name="strict-too"),
    ]
    tls_route = {"match": [{"sniHosts": ["pass.test"]}], "route": [{"destination": {"host": "webapp", "port": {"number": 8080}}}]}
    to_pass = virtual_service("pass", ["pass.test"], [], gateways=["gw"])
    to_pass["spec"] = {"hosts": ["pass.test"], "gateways": ["gw"], "tls": [tls_route]}
    every = ["gw", "gw2"]
    hosts = [PLAIN, STRICT, "a.shared.test", "b.shared.test", "c.shared.test", "pinned.test", SECRET, "*.corp.test", OPTIONAL]
    return [
        gateway_of("gw", [*first, passed]),
        gateway_of("gw2", second),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
        to_pass,
        *(tagged(host, [host], gateways=every) for host in hosts),
        virtual_service("both", ["one.both.test", "two.both.test"], [route("webapp", 8080)], gateways=every),
        tagged("everything", ["*"], gateways=every),
    ]


def mount_all(secrets: Path, authority: Authority, client_authority: Authority) -> None:
    shared = authority.issue("a.shared.test", "b.shared.test", "c.shared.test")
    mount(secrets, "web", authority.issue(PLAIN, "*.other.test"))
    mount(secrets, "shared", shared, ca=client_authority.pem)
    mount(secrets, "admin", authority.issue(STRICT, "pinned.test"), ca=client_authority.pem)
    mount(secrets, "corp", authority.issue("*.corp.test"), ca=client_authority.pem)
    mount(secrets, "optional", authority.issue(OPTIONAL), ca=client_authority.pem)


@pytest.fixture(scope="module")
def shared_world(
    shared_origin: RecordingOrigin,
    authority: Authority,
    client_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsWorld]:
    home = tmp_path_factory.mktemp("misdirected")
    secrets = home / "secrets"
    mount_all(secrets, authority, client_authority)
    made = Gateway(home / "gateway", documents(shared_origin), ports=(443, 8443), options=["--secrets", str(secrets)])
    with made as running:
        yield TlsWorld(running, authority, client_authority, home, secrets)


@pytest.fixture
def world(shared_world: TlsWorld) -> Iterator[TlsWorld]:
    """The world for one test, which must leave nothing alive in it."""
    yield shared_world
    shared_world.gateway.assert_no_leaks()


@pytest.fixture
def unseen(shared_origin: RecordingOrigin) -> Iterator[None]:
    """No request reaches the upstream during the test."""
    mark = shared_origin.mark()
    yield
    shared_origin.settle()
    assert [bytes(seen.message.raw) for seen in shared_origin.since(mark)] == []


def test_each_host_is_served_by_its_server(world: TlsWorld) -> None:
    alice = world.client_authority.issue("pinned.client.test")
    for host in (PLAIN, "a.shared.test", "b.shared.test", "c.shared.test", OPTIONAL):
        assert vhost_of(world.get(host)) == host
    assert vhost_of(world.get("x.corp.test")) == "*.corp.test"
    for host in STRICT_HOSTS:
        assert vhost_of(world.get(host, identity=alice)) == host


SHAPES = {
    "as it is": lambda host: request_bytes("GET", "/", host),
    "upper case": lambda host: request_bytes("GET", "/", host.upper()),
    "with its port": lambda host: request_bytes("GET", "/", f"{host}:443"),
    "with another port": lambda host: request_bytes("GET", "/", f"{host}:8443"),
    "absolute form": lambda host: request_bytes("GET", f"https://{host}/", host),
    "absolute form, http": lambda host: request_bytes("GET", f"http://{host}/", host),
    "absolute form with its port": lambda host: request_bytes("GET", f"https://{host}:443/", f"{host}:443"),
    "a body": lambda host: request_bytes("POST", "/", host, body=b"x" * 100),
    "an upgrade": lambda host: request_bytes("GET", "/", host, ["Connection: upgrade", "Upgrade: websocket"]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("host", [*STRICT_HOSTS, "pass.test", OPTIONAL])
@pytest.mark.usefixtures("unseen")
def test_the_host_of_another_server_is_misdirected(world: TlsWorld, host: str, shape: str) -> None:
    answer = world.ask(PLAIN, SHAPES[shape](host))
    assert answer.status == 421, answer.text


DOUBTFUL = {
    "two hosts": f"GET / HTTP/1.1\r\nHost: {PLAIN}\r\nHost: {STRICT}\r\n\r\n",
    "two hosts, reversed": f"GET / HTTP/1.1\r\nHost: {STRICT}\r\nHost: {PLAIN}\r\n\r\n",
    "a list": f"GET / HTTP/1.1\r\nHost: {PLAIN}, {STRICT}\r\n\r\n",
    "user information": f"GET / HTTP/1.1\r\nHost: {PLAIN}@{STRICT}\r\n\r\n",
    "user information, absolute": f"GET https://{PLAIN}@{STRICT}/ HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n",
    "absolute form, another host": f"GET https://{STRICT}/ HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n",
    "absolute form, another host, http": f"GET http://{STRICT}/ HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n",
    "absolute form, own host": f"GET https://{PLAIN}/ HTTP/1.1\r\nHost: {STRICT}\r\n\r\n",
    "a trailing dot": f"GET / HTTP/1.1\r\nHost: {STRICT}.\r\n\r\n",
    "two trailing dots": f"GET / HTTP/1.1\r\nHost: {STRICT}..\r\n\r\n",
    "a blank inside": f"GET / HTTP/1.1\r\nHost: {PLAIN} {STRICT}\r\n\r\n",
    "an empty port": f"GET / HTTP/1.1\r\nHost: {STRICT}:\r\n\r\n",
    "percent": f"GET / HTTP/1.1\r\nHost: {STRICT.replace('a', '%61', 1)}\r\n\r\n",
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_a_doubtful_host_never_reaches_a_strict_server(world: TlsWorld, shared_origin: RecordingOrigin, case: str) -> None:
    mark = shared_origin.mark()
    for name in (PLAIN, "x.corp.test"):
        assert world.ask(name, DOUBTFUL[case]).status in (400, 404, 421)
    assert shared_origin.since(mark) == []


def test_each_request_of_a_connection_is_judged(world: TlsWorld) -> None:
    with world.connect(PLAIN) as client:
        assert vhost_of(client.request(keep_alive(PLAIN))) == PLAIN
        assert client.request(keep_alive(STRICT)).status == 421
        assert vhost_of(client.request(keep_alive(PLAIN))) == PLAIN
        assert client.request(keep_alive("nobody.example")).status == 404


def test_each_stream_of_http2_is_judged(world: TlsWorld) -> None:
    """X24: browsers send what one certificate covers on one connection."""
    plain = socket.create_connection(("127.0.0.1", world.port))
    with H2Wire(world.context(alpn=["h2"]).wrap_socket(plain, server_hostname="a.shared.test"), "https") as wire:
        wire.start()
        wanted = {"a.shared.test": 200, "b.shared.test": 200, "c.shared.test": 421, STRICT: 421, SECRET: 421, "nobody.example": 404}
        for i, host in enumerate(wanted):
            wire.authority = host
            wire.send(wire.get(2 * i + 1))
        wire.read_until(lambda: len(wire.complete) == len(wanted))
        assert [wire.status(2 * i + 1) for i in range(len(wanted))] == list(wanted.values())


def test_pipelined_requests_are_judged_one_by_one(world: TlsWorld) -> None:
    with world.connect(PLAIN) as client:
        client.send(keep_alive(PLAIN) + keep_alive(STRICT) + keep_alive(PLAIN) + keep_alive(SECRET))
        assert [client.response().status for _ in range(4)] == [200, 421, 200, 421]


def test_one_certificate_and_one_policy_may_share_a_connection(world: TlsWorld) -> None:
    """What browsers do with HTTP/2, and Istio answers 404."""
    with world.connect("a.shared.test") as client:
        assert vhost_of(client.request(keep_alive("a.shared.test"))) == "a.shared.test"
        assert vhost_of(client.request(keep_alive("b.shared.test"))) == "b.shared.test"
        assert client.request(keep_alive("c.shared.test")).status == 421
    with world.connect("c.shared.test", world.client_identity()) as client:
        assert client.request(keep_alive("a.shared.test")).status == 421


def test_a_certificate_for_one_strict_server_is_none_for_another(world: TlsWorld) -> None:
    """The two differ in what they ask of clients."""
    alice = world.client_identity()
    with world.connect(STRICT, alice) as client:
        assert vhost_of(client.request(keep_alive(STRICT))) == STRICT
        assert client.request(keep_alive("pinned.test")).status == 421
    assert world.refusal("pinned.test", alice) != ""


@pytest.mark.usefixtures("unseen")
def test_a_wildcard_server_does_not_serve_what_a_stricter_one_owns(world: TlsWorld) -> None:
    for name in ("x.corp.test", "y.x.corp.test"):
        context = world.context()
        context.check_hostname = False
        with TlsClient(world.port, name, context) as client:
            assert client.request(keep_alive(SECRET)).status == 421
            assert client.request(keep_alive(SECRET.upper())).status == 421


@pytest.mark.parametrize("name", [None, "unknown.test", "x.other.test", PLAIN, "127.0.0.1"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("unseen")
def test_a_server_for_everything_is_no_way_around_a_strict_one(world: TlsWorld, name: str | None, shape: str) -> None:
    context = world.context()
    context.check_hostname = False
    with TlsClient(world.gateway.port(8443), name, context) as client:
        assert client.request(SHAPES[shape](STRICT)).status == 421


def test_a_server_for_everything_serves_the_rest(world: TlsWorld) -> None:
    context = world.context()
    context.check_hostname = False
    with TlsClient(world.gateway.port(8443), None, context) as client:
        assert vhost_of(client.request(keep_alive("whatever.example"))) == "everything"
        assert vhost_of(client.request(keep_alive(PLAIN))) == PLAIN
        assert vhost_of(client.request(keep_alive(SECRET))) == SECRET  # strict on the other port alone
        assert client.request(keep_alive("one.both.test")).status == 200


@pytest.mark.usefixtures("unseen")
def test_the_switch_answers_404_instead(
    start_tls: StartTls, shared_origin: RecordingOrigin, authority: Authority, client_authority: Authority
) -> None:
    world = start_tls(
        documents(shared_origin),
        lambda secrets: mount_all(secrets, authority, client_authority),
        ports=(443, 8443),
        options=["--misdirected", "404"],
    )
    for host in (*STRICT_HOSTS, "pass.test"):
        assert world.get(PLAIN, host).status == 404
