"""Trailers of HTTP/1 messages: whose are relayed to whom, what is dropped from them, and what is too much."""

from __future__ import annotations

import pytest
from dataplane_support import OK, Gateway, Peer

ASK = b"GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\n"


def exchange(gateway: Gateway, ask: bytes, pieces: list[bytes]) -> tuple[Peer, bytes]:
    """What the client gets, to the end of its chunked message, when the upstream says ``pieces``."""
    upstream = gateway.upstreams[0] if gateway.upstreams else gateway.upstream()
    if gateway.generation == 0:
        gateway.serve(upstream)
    client = gateway.client().send(ask)
    up = upstream.accept(gateway)
    request = up.request()
    assert request.values("te") == (["trailers"] if b"TE: trailers" in ask else []) and not request.values("connection")
    for piece in pieces:
        up.send(piece)
    client.until(lambda data: b"\r\n0\r\n" in data and data.endswith(b"\r\n\r\n"))
    up.close()
    return client, bytes(client.data).partition(b"\r\n0\r\n")[2]


def test_a_client_that_wants_trailers_gets_them(gateway: Gateway) -> None:
    client, trailers = exchange(gateway, ASK, [ANSWER + b"X-Sum: 1\r\nX-Other:  two words \r\n\r\n"])
    assert trailers == b"x-sum: 1\r\nx-other: two words\r\n\r\n"
    assert b"trailer:" not in client.data


@pytest.mark.parametrize("ask", [ASK.replace(b"TE: trailers\r\n", b""), ASK.replace(b"trailers", b"gzip")])
def test_a_client_that_does_not_gets_none(gateway: Gateway, ask: bytes) -> None:
    assert exchange(gateway, ask, [ANSWER + b"X-Sum: 1\r\n\r\n"])[1] == b"\r\n"


def test_every_split(gateway: Gateway) -> None:
    whole = ANSWER + b"X-Sum: 1\r\nX-Other: two\r\n\r\n"
    for cut in range(len(ANSWER) - 6, len(whole)):
        assert exchange(gateway, ASK, [whole[:cut], whole[cut:]])[1] == b"x-sum: 1\r\nx-other: two\r\n\r\n"
    by_byte = [whole[i : i + 1] for i in range(len(whole))]
    assert exchange(gateway, ASK, by_byte)[1] == b"x-sum: 1\r\nx-other: two\r\n\r\n"


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "Transfer-Encoding", "Host", "Connection", "Set-Cookie", "Authorization", "X-Forwarded-For", "Location",
     "Content-Type", "Trailer", "Server", "X-Envoy-Upstream-Service-Time"],
)  # fmt: skip
def test_what_frames_or_is_trusted_is_dropped(gateway: Gateway, name: str) -> None:
    trailers = f"{name}: 1\r\nX-Sum: 1\r\n\r\n".encode()
    assert exchange(gateway, ASK, [ANSWER + trailers])[1] == b"x-sum: 1\r\n\r\n"


def test_an_answer_whose_trailers_are_all_dropped_still_ends(gateway: Gateway) -> None:
    assert exchange(gateway, ASK, [ANSWER + b"Host: evil\r\n\r\n"])[1] == b"\r\n"


def test_no_trailers_with_an_answer_of_known_length(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(ASK)
    up = upstream.accept(gateway)
    up.request()
    up.send(OK)
    assert client.response().body == b"ok"
    client.send(ASK)
    up.request()
    up.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.response().status == 204


@pytest.mark.parametrize(
    "trailers", [b"X Y: 1\r\n\r\n", b"X: \x00\r\n\r\n", b"X: 1\n\r\n", b"X: 1\r\n" * 101, b"X: " + b"a" * 61440]
)
def test_bad_trailers_cut_the_answer(gateway: Gateway, trailers: bytes) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(ASK)
    up = upstream.accept(gateway)
    up.request()
    up.send(ANSWER + trailers)
    client.until_end()
    assert not client.data.endswith(b"\r\n0\r\n\r\n") and b"hello" in client.data


def test_fewer_fields_may_be_allowed(make_gateway: object) -> None:
    gateway: Gateway = make_gateway(limits={"fields": 8})  # type: ignore[operator]
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    up = upstream.accept(gateway)
    client.send(b"2\r\nab\r\n0\r\n" + b"X: 1\r\n" * 9 + b"\r\n")
    assert client.response().status == 431
    assert up.until_end() == "reset" and gateway.rejected() == {"trailer_too_large": 1}


def test_requests_lose_their_trailers_towards_http1(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = gateway.client().send(head + b"2\r\nab\r\n0\r\nX-Sum: 1\r\nx_y: 2\r\n\r\n" + head + b"0\r\nX-Sum: 2\r\n\r\n")
    up = upstream.accept(gateway)
    up.until(lambda data: data.endswith(b"\r\n\r\n2\r\nab\r\n0\r\n\r\n"))
    assert b"x-sum" not in up.data.lower()
    up.data.clear()
    up.send(OK)
    assert client.response().body == b"ok"
    up.until(lambda data: data.endswith(b"\r\n\r\n0\r\n\r\n"))
    assert b"x-sum" not in up.data.lower()
    up.send(OK)
    assert client.response().body == b"ok"
