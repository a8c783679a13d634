"""proxyProtocol towards upstreams: the first bytes of a connection, and whose connection it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dataplane_support import GET, OK, Gateway, Peer, make_plan
from fastgw.dataplane.proxy_header import header_of
from tls_support import authority
from tls_upstream_support import GET as TLS_GET
from tls_upstream_support import NAME, ServerContext, TlsServer, trusting

from fastgw.model.plan import Cluster, Endpoint, Policy, UpstreamTls

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.mark.parametrize(
    ("source", "local", "line"),
    [
        (b"10.1.2.3", b"192.0.2.7:443", b"PROXY TCP4 10.1.2.3 192.0.2.7 5000 443\r\n"),
        (b"2001:db8::1", b"[::1]:80", b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n"),
        (b"10.1.2.3", b"[::1]:80", b"PROXY TCP6 ::ffff:10.1.2.3 ::1 5000 80\r\n"),
        (b"10.1.2.3", b"", b"PROXY UNKNOWN\r\n"),
        (b"", b"192.0.2.7:443", b"PROXY UNKNOWN\r\n"),
    ],
)
def test_version_1_is_a_line(source: bytes, local: bytes, line: bytes) -> None:
    assert header_of(1, source, 5000, local).replace(b"::ffff:a01:203", b"::ffff:10.1.2.3") == line


def test_version_2_is_binary() -> None:
    assert header_of(2, b"10.1.2.3", 5000, b"192.0.2.7:443") == (
        SIGNATURE + b"\x21\x11\0\x0c" + bytes([10, 1, 2, 3, 192, 0, 2, 7, 5000 >> 8, 5000 & 255, 443 >> 8, 443 & 255])
    )
    six = header_of(2, b"2001:db8::1", 5000, b"[::1]:80")
    assert six[12:16] == b"\x21\x21\0\x24" and len(six) == 16 + 36
    assert header_of(2, b"", 0, b"") == SIGNATURE + b"\x20\0\0\0"


def test_a_header_names_the_client_and_its_connection_is_its_own(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.serve(up, policy=Policy(proxy_protocol=1))
    clients = [gateway.client(), gateway.client()]
    ups: list[Peer] = []
    for client in clients:
        client.send(GET)
        ups.append(up.accept(gateway))
        assert take_line(ups[-1]) == line_of(client)
        ups[-1].request()
        ups[-1].send(OK)
        assert client.response().status == 200
    for client, peer in zip(reversed(clients), reversed(ups), strict=True):
        client.send(GET)
        assert peer.request().start == "GET / HTTP/1.1", "its own again, without a second header"
        peer.send(OK)
        assert client.response().status == 200
    assert not up.has_connection(gateway)


def line_of(client: Peer) -> bytes:
    """As the upstream has to see it."""
    source, port = client.sock.getsockname()
    own, own_port = client.sock.getpeername()
    return f"PROXY TCP4 {source} {own} {port} {own_port}".encode()


def take_line(peer: Peer) -> bytes:
    peer.until(lambda data: b"\r\n" in data)
    line, _, rest = bytes(peer.data).partition(b"\r\n")
    peer.data[:] = rest
    return line


@pytest.mark.parametrize("version", [1, 2])
def test_layer_4_has_it_too(gateway: Gateway, version: int) -> None:
    up = gateway.upstream()
    gateway.relay(up, policy=Policy(proxy_protocol=version))
    client = gateway.client()
    peer = up.accept(gateway)
    client.send(b"hello")
    peer.until(lambda data: data.endswith(b"hello"))
    start: Any = line_of(client) if version == 1 else SIGNATURE
    assert bytes(peer.data).startswith(start)


def test_without_it_connections_are_shared(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.serve(up)
    peer = None
    for _ in range(2):
        client = gateway.client().send(GET)
        peer = peer or up.accept(gateway)
        peer.request()
        peer.send(OK)
        client.response()
    assert not up.has_connection(gateway)


def test_it_comes_before_the_tls_handshake(gateway: Gateway, tmp_path: Path) -> None:
    up = gateway.upstream()
    server = ServerContext(authority().issue(NAME), tmp_path)
    trusting(gateway, up)
    endpoints, policy = [Endpoint("127.0.0.1", up.port)], Policy(proxy_protocol=1)
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=endpoints, tls=UpstreamTls(ca="ca"), policy=policy)]))
    client = gateway.client().send(TLS_GET)
    peer = up.accept(gateway)
    assert take_line(peer) == line_of(client)
    connection = TlsServer(peer, server)
    connection.handshake()
    gateway.settle()
    assert connection.request()["host"] == NAME
    connection.send(OK)
    assert client.response().body == b"ok"
