"""Wherever TCP cuts a message, the other side gets the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from dataplane_support import OK, Gateway, Message, Peer, Upstream, read_message

GET = b"GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-One: 1\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n"
LENGTH = b"POST /l HTTP/1.1\r\nhost: a.test\r\ncontent-length: 11\r\n\r\nhello world"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5;a="q;\\"x";b\r\nhello\r\n001\r\n \r\n5\r\nworld\r\n0;last\r\nX-Trailer: t\r\nX-Other: u\r\n\r\n'
)
HEAD = b"HEAD /h HTTP/1.1\r\nHost: a.test\r\n\r\n"
EXPECT = b"PUT /e HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"

REQUESTS: dict[str, tuple[bytes, list[tuple[str, bytes]]]] = {
    "get": (GET, [("GET /a?b=c HTTP/1.1", b"")]),
    "length": (LENGTH, [("POST /l HTTP/1.1", b"hello world")]),
    "chunked": (CHUNKED, [("POST /c HTTP/1.1", b"hello world")]),
    "head": (HEAD, [("HEAD /h HTTP/1.1", b"")]),
    "expect": (EXPECT, [("PUT /e HTTP/1.1", b"body")]),
    "pipelined": (
        b"\r\n" + GET + CHUNKED + LENGTH,
        [("GET /a?b=c HTTP/1.1", b""), ("POST /c HTTP/1.1", b"hello world"), ("POST /l HTTP/1.1", b"hello world")],
    ),
}


def splits(data: bytes) -> Iterator[list[bytes]]:
    """In one piece, cut once at every place, and byte by byte."""
    yield [data]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]
    yield [data[i : i + 1] for i in range(len(data))]


def answered(gateway: Gateway, client: Peer, up: Peer, count: int) -> list[Message]:
    """Answer ``count`` requests on the pooled connection; they as the upstream saw them."""
    seen = []
    for _ in range(count):
        seen.append(up.request())
        method = seen[-1].start.split(" ")[0]
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" if method == "HEAD" else OK)
        if method == "PUT":
            assert client.response().status == 100
        assert client.response(method).status == 200
    assert not up.data and not client.data
    return seen


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_arrive_the_same_however_they_are_cut(gateway: Gateway, name: str) -> None:
    data, expected = REQUESTS[name]
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client, up = gateway.client(), None
    first: list[object] = []
    for pieces in splits(data):
        for piece in pieces:
            client.send(piece)
        up = up or upstream.accept(gateway)
        seen = answered(gateway, client, up, len(expected))
        assert [(m.start, m.body) for m in seen] == expected
        assert (first or [m.stable() for m in seen]) == [m.stable() for m in seen]
        first = [m.stable() for m in seen]
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


RESPONSES: dict[str, tuple[str, bytes, int, bytes, bool]] = {
    # name: (method, bytes, status, body, ends with the connection)
    "length": (
        "GET",
        b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nContent-Length: 11\r\nServer: x\r\n\r\nhello world",
        200,
        b"hello world",
        False,
    ),
    "empty": ("GET", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, b"", False),
    "chunked": (
        "GET",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x="\\""\r\nhello\r\n006\r\n world\r\n0\r\nX-T: 1\r\n\r\n',
        200,
        b"hello world",
        False,
    ),
    "close": ("GET", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello world", 200, b"hello world", True),
    "http10": ("GET", b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nhello world", 200, b"hello world", True),
    "interim": ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok", False),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 200, b"", False),
    "head-chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, b"", False),
    "no-content": ("GET", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", 204, b"", False),
    "not-modified": ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n", 304, b"", False),
}


@pytest.fixture
def exchange(gateway: Gateway) -> Callable[[str, list[bytes], bool], tuple[list[Message], bool]]:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client()
    ups: list[Peer] = []

    def run(method: str, pieces: list[bytes], ends: bool) -> tuple[list[Message], bool]:
        """The client's messages, and whether the upstream connection was kept."""
        client.send(f"{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        if not ups or ups[-1].poll().end:
            ups.append(upstream.accept(gateway))
        ups[-1].request()
        for piece in pieces:
            ups[-1].send(piece)
        if ends:
            ups[-1].finish()
        messages = [client.response(method)]
        while messages[-1].status < 200:
            messages.append(client.response(method))
        assert not client.poll().data
        return messages, not ups[-1].poll().end

    return run


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_arrive_the_same_however_they_are_cut(exchange: Callable[..., tuple[list[Message], bool]], name: str) -> None:
    method, data, status, body, ends = RESPONSES[name]
    first: list[object] = []
    for pieces in splits(data):
        messages, kept = exchange(method, pieces, ends)
        stable = [m.stable() for m in messages]
        assert (messages[-1].status, messages[-1].body, kept) == (status, body, not ends)
        assert (first or stable) == stable
        first = stable


def test_what_the_client_is_told_about_framing(exchange: Callable[..., tuple[list[Message], bool]]) -> None:
    found = {}
    for name, (method, data, _, _, ends) in RESPONSES.items():
        final = exchange(method, [data], ends)[0][-1]
        found[name] = (final.values("content-length"), final.values("transfer-encoding"), final["server"])
    assert found == {
        "length": (["11"], [], "fastgw"),
        "empty": (["0"], [], "fastgw"),
        "chunked": ([], ["chunked"], "fastgw"),
        "close": ([], ["chunked"], "fastgw"),
        "http10": ([], ["chunked"], "fastgw"),
        "interim": (["2"], [], "fastgw"),
        "head": (["99"], [], "fastgw"),
        "head-chunked": ([], [], "fastgw"),
        "no-content": ([], [], "fastgw"),
        "not-modified": (["7"], [], "fastgw"),
    }


def test_interim_answers_go_on_except_100(exchange: Callable[..., tuple[list[Message], bool]]) -> None:
    messages, _ = exchange("GET", [RESPONSES["interim"][1]], False)
    assert [m.start for m in messages] == ["HTTP/1.1 103 Early Hints", "HTTP/1.1 200 OK"]
    assert messages[0].fields == [("link", "</a>")]


def test_cut_and_pipelined_answers_keep_their_order(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client()
    client.send(b"".join(f"GET /{i} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode() for i in range(40)))
    up = upstream.accept(gateway)
    for i in range(40):
        assert up.request().start == f"GET /{i} HTTP/1.1"
        assert not up.poll().data, "one request in flight at a time"
        up.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(str(i))}\r\n\r\n{i}".encode())
    assert [client.response().body for _ in range(40)] == [str(i).encode() for i in range(40)]


def test_the_reader_of_this_folder_sees_what_is_incomplete() -> None:
    """The tests rely on it to tell whole messages from cut ones."""
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    for i in range(len(whole)):
        message = read_message(whole[:i], "GET", True)
        assert message is None or not message.whole
    found = read_message(whole, "GET", False)
    assert found is not None and found.whole and found.body == b"ok"


def test_upstream_field_order_and_values(gateway: Gateway) -> None:
    upstream: Upstream = gateway.upstream()
    gateway.serve(upstream)
    gateway.client().send(GET)
    names = [name for name, _ in upstream.accept(gateway).request().fields]
    assert names == [
        "host", "x-one", "cookie", "x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address", "x-request-id",
        "x-envoy-attempt-count",
    ]  # fmt: skip
