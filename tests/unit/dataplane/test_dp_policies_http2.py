"""Policies of DestinationRules where HTTP/2 is spoken to the upstream: limits, outlier detection, hashing, PROXY headers."""

from __future__ import annotations

from typing import Any

from dataplane_support import GET, Gateway, Upstream
from http2_upstream_support import Headers, Http2Peer, accept

from fastgw.image.layout import lib
from fastgw.model.plan import HashKey, Outlier, Policy, Pool


def serve(gateway: Gateway, up: Upstream, policy: Policy, **options: Any) -> None:
    gateway.serve(up, protocol="http2", policy=policy, **options)


def counts(gateway: Gateway) -> tuple[int, int, int]:
    everybodys = gateway.state.clusters[gateway.numbers.cluster_of("c")].all
    return everybodys.connections, everybodys.pending, everybodys.requests


def status(code: int) -> Headers:
    return [(":status", str(code))]


def test_requests_share_the_one_connection_that_may_be_made(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, Policy(pool=Pool(max_connections=1, max_requests=2)))
    clients = [gateway.client().send(GET) for _ in range(3)]
    peer = accept(gateway, up)
    refused = clients[2].response()
    assert refused.status == 503 and refused["x-envoy-overloaded"] == "true"
    assert counts(gateway) == (1, 0, 2)
    for stream in peer.streams(2):
        peer.answer(stream, b"")
    assert [client.response().status for client in clients[:2]] == [200, 200]
    assert counts(gateway) == (1, 0, 0) and not up.has_connection(gateway)
    peer.peer.close()
    gateway.settle()
    assert counts(gateway)[0] == 0


def test_errors_eject(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, Policy(outlier=Outlier(consecutive_errors=2, max_ejection_percent=100)))
    clients = [gateway.client().send(GET) for _ in range(2)]
    peer = accept(gateway, up)
    for stream in peer.streams(2):
        peer.answer(stream, b"", status(503))
    assert [client.response().status for client in clients] == [503, 503]
    assert gateway.cell(up.port).flags & lib.FGW_CELL_EJECTED


def test_a_cookie_is_given(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, Policy(hash_key=HashKey("cookie", "who", "; HttpOnly")), lb="maglev")
    client = gateway.client().send(GET)
    peer = accept(gateway, up)
    stream, _ = peer.request()
    peer.answer(stream, b"", [*status(200), ("set-cookie", "own=1")])
    cookies = client.response().values("set-cookie")
    assert sorted(text.partition("=")[0] for text in cookies) == ["own", "who"]


def test_a_proxy_header_comes_before_the_preface(gateway: Gateway) -> None:
    """And the connection is not shared with another client."""
    up = gateway.upstream()
    serve(gateway, up, Policy(proxy_protocol=1))
    for _ in range(2):
        client = gateway.client().send(GET)
        peer = up.accept(gateway)
        peer.until(lambda data: b"\r\n" in data)
        line, _, rest = bytes(peer.data).partition(b"\r\n")
        source, port = client.sock.getsockname()
        assert line.startswith(f"PROXY TCP4 {source} 127.0.0.1 {port} ".encode())
        peer.data[:] = b""
        upstream = Http2Peer(gateway, peer)
        for event in upstream.h2.receive_data(rest):
            upstream.take(event)
        stream, _ = upstream.request()
        upstream.answer(stream, b"")
        assert client.response().status == 200
