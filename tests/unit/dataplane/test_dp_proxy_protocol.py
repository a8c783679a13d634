"""The PROXY header that begins a client's connection: whose address counts from then on, and what becomes of a wrong one (K17)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, Peer, Upstream, make_plan, tcp_chain
from tls_support import HOST, TlsPeer, client_context, credential, give_credentials, https_chain, server_pair, tls_plan
from wire.hellos import named

from fastgw.model.plan import Cluster, Endpoint, HashKey, Listener, Plan, Policy
from fastgw.supervisor.log_format import compile_format

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.3 4711 443\r\n"
SIX = b"PROXY TCP6 2001:db8::7 2001:db8::3 4711 443\r\n"
BLOCK = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 3]) + struct.pack(">HH", 4711, 443)
LOCAL = SIGNATURE + b"\x20\0\0\0"
PLAIN = Policy()
MakeGateway = Callable[..., Gateway]


def proxied(plan: Plan) -> Plan:
    for listener in plan.listeners:
        listener.proxy_protocol = True
    return plan


def serve(gateway: Gateway, policy: Policy = PLAIN, lb: str = "round_robin", ups: int = 1) -> list[Upstream]:
    found = [gateway.upstream() for _ in range(ups)]
    endpoints = [Endpoint("127.0.0.1", up.port) for up in found]
    gateway.attach(proxied(make_plan([Cluster("c", "c", 80, endpoints=endpoints, policy=policy, lb=lb)])))
    return found


def relay(gateway: Gateway, policy: Policy = PLAIN, **chain: Any) -> Upstream:
    up = gateway.upstream()
    cluster = Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", up.port)], policy=policy)
    gateway.attach(proxied(Plan([Listener(LISTENER, "", 80, "TCP", [], [tcp_chain(**chain)])], {}, {"c": cluster})))
    return up


def address_seen(gateway: Gateway, header: bytes) -> str:
    """What the upstream is told of a client behind this header."""
    (up,) = serve(gateway)
    client = gateway.client().send(header + GET)
    far = up.accept(gateway)
    request = far.request()
    far.send(OK)
    assert client.response().status == 200
    assert request["x-forwarded-for"] == request["x-envoy-external-address"]
    assert request["x-forwarded-proto"] == "http"
    return request["x-forwarded-for"]


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (LINE, "192.0.2.7"),
        (SIX, "2001:db8::7"),
        (BLOCK, "192.0.2.7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (LOCAL, "127.0.0.1"),
        (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), "127.0.0.1"),
    ],
)
def test_the_address_that_is_told_counts(gateway: Gateway, header: bytes, address: str) -> None:
    assert address_seen(gateway, header) == address
    assert gateway.counter("FGW_C_PROXY_HEADERS") == 1 and not gateway.rejected()


@pytest.mark.parametrize("header", [LINE, SIX, BLOCK, LOCAL])
def test_a_header_split_at_every_byte(gateway: Gateway, header: bytes) -> None:
    (up,) = serve(gateway)
    for cut in range(1, len(header)):
        client = gateway.client().send(header[:cut])
        client.send(header[cut:])
        client.send(GET)
        far = up.accept(gateway)
        assert far.request().start == "GET / HTTP/1.1"
        far.send(OK)
        assert client.response().body == b"ok"
        client.close()
        far.close()


def test_a_header_and_the_beginning_of_a_request_in_one_packet(gateway: Gateway) -> None:
    (up,) = serve(gateway)
    whole = LINE + GET
    for cut in range(len(LINE), len(whole), 5):
        client = gateway.client().send(whole[:cut])
        client.send(whole[cut:])
        far = up.accept(gateway)
        assert far.request()["x-forwarded-for"] == "192.0.2.7"
        far.send(OK)
        assert client.response().status == 200
        client.close()
        far.close()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (GET, "proxy_header_missing"),
        (b"G", "proxy_header_missing"),
        (named("plain").data, "proxy_header_missing"),
        (b"\r\n" + LINE + GET, "proxy_header_missing"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.3 4711\r\n" + GET, "proxy_header_malformed"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.3 4711 443\n" + GET, "proxy_header_malformed"),
        (b"PROXY " + b"x" * 200 + GET, "proxy_header_too_long"),
        (SIGNATURE + b"\x21\x11\x20\0" + GET, "proxy_header_too_long"),
        (SIGNATURE + b"\x31\x11\0\0" + GET, "proxy_header_malformed"),
        (SIGNATURE + b"\x21\0\0\7\3\0\4abcd" + GET, "proxy_header_checksum"),
    ],
)
def test_what_is_no_header_is_closed_and_never_a_request(gateway: Gateway, sent: bytes, reason: str) -> None:
    (up,) = serve(gateway)
    client = gateway.client().send(sent)
    assert client.until_end() and not client.data
    assert gateway.rejected() == {reason: 1}
    assert not up.has_connection(gateway)
    assert gateway.counter("FGW_C_CLIENT_REQUESTS") == gateway.counter("FGW_C_PROXY_HEADERS") == 0


def test_a_second_header_is_a_bad_request(gateway: Gateway) -> None:
    serve(gateway)
    client = gateway.client().send(LINE + LINE + GET)
    assert client.response().status == 400


def test_a_header_where_none_is_asked_for_is_a_bad_request(gateway: Gateway) -> None:
    gateway.serve(gateway.upstream())
    for header in (LINE, BLOCK):
        assert gateway.client().send(header + GET).response().status == 400


@pytest.mark.parametrize("sent", [b"", LINE[:20], BLOCK[:13], BLOCK[:20]])
def test_a_slow_header_is_cut(gateway: Gateway, sent: bytes) -> None:
    serve(gateway)
    client = gateway.client().send(sent)
    gateway.pass_ms(4_500)
    assert not client.poll().end
    gateway.pass_ms(1_000)
    assert client.until_end() and not client.data
    assert gateway.rejected() == {"proxy_header_timeout": 1}


def test_a_slow_hello_after_a_header_is_within_the_same_time(gateway: Gateway) -> None:
    relay(gateway, tls="passthrough", server_names=("a.test",))
    client = gateway.client().send(LINE)
    gateway.pass_ms(4_500)
    client.send(named("plain").data[:-1])
    gateway.pass_ms(1_000)
    assert client.until_end() and not gateway.rejected()
    assert gateway.counter("FGW_C_HELLO_TIMEOUTS") == 1


@pytest.mark.parametrize(("sent", "counted"), [(b"", {}), (LINE[:9], {"proxy_header_malformed": 1})])
def test_a_client_that_leaves_before_its_header_is_whole(gateway: Gateway, sent: bytes, counted: dict[str, int]) -> None:
    """Without a byte it is somebody who looks whether the port is open."""
    serve(gateway)
    client = gateway.client().send(sent)
    client.finish()
    assert client.until_end()
    assert gateway.rejected() == counted


# ---- with what else decides about a connection


def test_a_hello_after_the_header(gateway: Gateway) -> None:
    up = relay(gateway, tls="passthrough", server_names=("a.test",))
    hello = named("plain").data
    for cut in (0, 1, len(LINE), len(LINE) + 1, len(LINE) + len(hello) - 1):
        client = gateway.client().send((LINE + hello)[:cut])
        client.send((LINE + hello)[cut:])
        up.accept(gateway).until(lambda data: bytes(data) == hello)
        client.close()


def test_tls_that_ends_here(gateway: Gateway) -> None:
    up = gateway.upstream()
    give_credentials(gateway, {"cert": credential(server_pair())})
    gateway.attach(proxied(tls_plan([up.port], [https_chain()])))
    far = None
    for header in (LINE, BLOCK):
        client = TlsPeer(gateway.client().send(header), client_context()).handshake()
        client.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        far = far or up.accept(gateway)
        request = far.request()
        assert (request["x-forwarded-for"], request["x-forwarded-proto"]) == ("192.0.2.7", "https")
        far.send(OK)


def test_a_server_that_speaks_first(gateway: Gateway) -> None:
    up = relay(gateway)
    client = gateway.client()
    assert not up.has_connection(gateway), "whose connection it is has to be known"
    client.send(LINE)
    up.accept(gateway).send(b"220 ready\r\n")
    client.until(lambda data: data == b"220 ready\r\n")


@pytest.mark.parametrize("version", [1, 2])
def test_the_upstream_is_told_whose_connection_it_is(gateway: Gateway, version: int) -> None:
    up = relay(gateway, Policy(proxy_protocol=version))
    gateway.client().send(LINE + b"hello")
    up.accept(gateway).until(lambda data: bytes(data) == (LINE if version == 1 else BLOCK) + b"hello")


def test_requests_of_clients_behind_one_proxy_have_connections_of_their_own(gateway: Gateway) -> None:
    (up,) = serve(gateway, Policy(proxy_protocol=1))
    for port in (1, 2):
        line = b"PROXY TCP4 192.0.2.7 198.51.100.3 %d 443\r\n" % port
        gateway.client().send(line + GET)
        far = up.accept(gateway)
        far.until(lambda data, line=line: bytes(data).startswith(line))  # type: ignore[misc]


def test_hashing_by_source_address(gateway: Gateway) -> None:
    ups = serve(gateway, Policy(hash_key=HashKey("source_ip")), lb="ring_hash", ups=4)
    chosen: dict[int, set[int]] = {}
    for address in [*range(1, 9), *range(1, 9)]:
        client = gateway.client().send(b"PROXY TCP4 192.0.2.%d 198.51.100.3 1 443\r\n" % address + GET)
        index, far = first_connection(gateway, ups)
        far.request()
        far.send(OK)
        client.response()
        chosen.setdefault(address, set()).add(index)
        far.close()
    assert all(len(found) == 1 for found in chosen.values()) and len(set.union(*chosen.values())) > 1


def first_connection(gateway: Gateway, ups: list[Upstream]) -> tuple[int, Peer]:
    found: list[tuple[int, Peer]] = []

    def waiting() -> bool:
        found.extend((i, gateway.peers[-1]) for i, up in enumerate(ups) if not found and up.has_connection(gateway))
        return bool(found)

    gateway.until(waiting, lambda: "a connection to an upstream")
    return found[0]


LOGGED = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%\n"


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (LINE, "192.0.2.7:4711 192.0.2.7 198.51.100.3:443"),
        (SIX, "[2001:db8::7]:4711 2001:db8::7 [2001:db8::3]:443"),
    ],
)
@pytest.mark.parametrize("layer", [4, 7])
def test_the_log_shows_the_addresses_that_were_told(make_gateway: MakeGateway, header: bytes, text: str, layer: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gateway = make_gateway(log=compile_format(LOGGED), log_fd=ours.fileno())
        if layer == 7:
            (up,) = serve(gateway)
            client = gateway.client().send(header + GET)
            far = up.accept(gateway)
            far.request()
            far.send(OK)
            client.response()
        else:
            up = relay(gateway)
            client = gateway.client().send(header + b"x")
            up.accept(gateway).close()
            client.until_end()
        gateway.until(lambda: not gateway.alive()["tunnels"])
        gateway.log.flush()
        assert theirs.recv(1000).decode().strip() == text


PARTS = [
    f"%DOWNSTREAM_{name}%"
    for name in (
        "REMOTE_ADDRESS", "REMOTE_PORT", "LOCAL_ADDRESS_WITHOUT_PORT", "LOCAL_PORT", "DIRECT_REMOTE_ADDRESS",
        "DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DIRECT_REMOTE_PORT",
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (LINE, "192.0.2.7:4711 4711 198.51.100.3 443"),
        (SIX, "[2001:db8::7]:4711 4711 2001:db8::3 443"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.3 0 0\r\n", "192.0.2.7:0 0 198.51.100.3 0"),
        (b"PROXY UNKNOWN\r\n", ""),
    ],
)
@pytest.mark.parametrize("layer", [4, 7])
def test_the_other_end_of_the_connection_is_the_proxy(make_gateway: MakeGateway, header: bytes, told: str, layer: int) -> None:
    """As Envoy's DIRECT operators have it, whatever was told."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gateway = make_gateway(log=compile_format(" ".join(PARTS) + "\n"), log_fd=ours.fileno())
        up = serve(gateway)[0] if layer == 7 else relay(gateway)
        client = gateway.client()
        (me, port), (here, listening) = client.sock.getsockname(), client.sock.getpeername()
        client.send(header + (GET if layer == 7 else b"x"))
        far = up.accept(gateway)
        if layer == 7:
            far.request()
            far.send(OK)
            client.response()
        else:
            far.close()
            client.until_end()
        gateway.until(lambda: not gateway.alive()["tunnels"])
        gateway.log.flush()
        told = told or f"{me}:{port} {port} {here} {listening}"
        assert theirs.recv(1000).decode().strip() == f"{told} {me}:{port} {me} {port}"


def test_a_listener_learns_of_it_from_a_new_image(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.serve(up)
    old = gateway.client()
    gateway.settle()
    gateway.attach(proxied(gateway.plan))
    new = gateway.client()
    gateway.settle()
    old.send(GET)
    far = up.accept(gateway)
    assert far.request()["x-forwarded-for"] == "127.0.0.1"
    new.send(GET)
    assert new.until_end() and gateway.rejected() == {"proxy_header_missing": 1}
