"""HTTP/2 over TLS towards upstreams: agreed on by ALPN, or not spoken."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataplane_support import OK, Gateway, Peer, Upstream
from h2_support import H2Peer
from http2_upstream_support import Http2Peer
from tls_support import authority, give_credentials
from tls_upstream_support import GET, NAME, ServerContext, TlsServer
from wire import h2 as wire

from fastgw.credentials.content import Content
from fastgw.model.plan import UpstreamTls


class Wire(Peer):
    """What Http2Peer reads and writes, under TLS."""

    def __init__(self, tls: TlsServer) -> None:
        self.tls = tls

    @property
    def data(self) -> bytearray:  # type: ignore[override]
        return self.tls.plain

    @property
    def end(self) -> str:  # type: ignore[override]
        return self.tls.end

    def poll(self, limit_bytes: int = 1 << 30) -> Peer:
        self.tls.read()
        return self

    def send(self, data: bytes) -> Peer:
        self.tls.send(data)
        return self


def serve(
    gateway: Gateway, tmp_path: Path, protocol: str, offers: list[str] | None, **tls: object
) -> tuple[Upstream, ServerContext]:
    """``offers``: what the upstream knows by ALPN, None: it knows no ALPN."""
    upstream = gateway.upstream()
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    alpn = {"http2": ("h2",), "client": ("h2", "http/1.1"), "http1": ()}[protocol]
    gateway.serve(upstream, protocol=protocol, tls=UpstreamTls(**{"ca": "ca", "alpn": alpn, **tls}))
    server = ServerContext(authority().issue(NAME), tmp_path)
    if offers is not None:
        server.context.set_alpn_protocols(offers)
    return upstream, server


def taken(gateway: Gateway, upstream: Upstream, server: ServerContext) -> TlsServer:
    found = TlsServer(upstream.accept(gateway), server)
    found.handshake()
    gateway.settle()
    return found


def test_http2_is_agreed_on(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, "http2", ["h2", "http/1.1"])
    clients = [gateway.client().send(GET) for _ in range(5)]
    tls = taken(gateway, upstream, server)
    assert tls.tls.selected_alpn_protocol() == "h2"
    up = Http2Peer(gateway, Wire(tls))
    for stream in up.streams(5):
        assert up.all[stream][":authority"] == NAME
        up.answer(stream, b"x" * 100_000)
    assert {client.response().body for client in clients} == {b"x" * 100_000}
    assert gateway.counter("FGW_C_UPSTREAM_TLS_HANDSHAKES") == 1


@pytest.mark.parametrize("offers", [["http/1.1"], None])
def test_http2_is_not_agreed_on(gateway: Gateway, tmp_path: Path, offers: list[str] | None) -> None:
    """Nothing is sent, and the client is told of a failed connection."""
    upstream, server = serve(gateway, tmp_path, "http2", offers)
    client = gateway.client().send(GET)
    for _ in range(gateway.context.connect_attempts):
        connection = TlsServer(upstream.accept(gateway), server)
        connection.alerts()
        assert connection.plain == b""
        gateway.pass_ms(300)
    answer = client.response()
    assert (answer.status, b"remote connection failure" in answer.body) == (503, True)
    assert gateway.counter("FGW_C_UPSTREAM_TLS_FAILED") == gateway.context.connect_attempts


def test_in_the_mesh_another_name_stands_for_it(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, "http2", ["istio"], alpn=("h2", "istio"))
    client = gateway.client().send(GET)
    tls = taken(gateway, upstream, server)
    assert tls.tls.selected_alpn_protocol() == "istio"
    up = Http2Peer(gateway, Wire(tls))
    up.answer(up.request()[0], b"ok")
    assert client.response().body == b"ok"


def test_the_clients_protocol_is_what_is_offered(gateway: Gateway, tmp_path: Path) -> None:
    """useClientProtocol: the upstream would take either."""
    upstream, server = serve(gateway, tmp_path, "client", ["h2", "http/1.1"])
    old = gateway.client().send(GET)
    plain = taken(gateway, upstream, server)
    assert plain.tls.selected_alpn_protocol() == "http/1.1"
    plain.request()
    plain.send(OK)
    assert old.response().body == b"ok"
    new = H2Peer(gateway)
    new.send(wire.headers(1, wire.head(authority=NAME)))
    tls = taken(gateway, upstream, server)
    assert tls.tls.selected_alpn_protocol() == "h2"
    up = Http2Peer(gateway, Wire(tls))
    up.answer(up.request()[0], b"2")
    assert new.stream(1).body == b"2"


def test_names_do_not_share_connections(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, "http2", ["h2"], verify="chain")
    first = gateway.client().send(GET)
    one = Http2Peer(gateway, Wire(taken(gateway, upstream, server)))
    one.answer(one.request()[0], b"1")
    assert first.response().body == b"1"
    first.send(b"GET / HTTP/1.1\r\nHost: other.example.org\r\n\r\n")
    other = Http2Peer(gateway, Wire(taken(gateway, upstream, server)))
    other.answer(other.request()[0], b"2")
    assert first.response().body == b"2"
    assert server.seen == [NAME, "other.example.org"]
