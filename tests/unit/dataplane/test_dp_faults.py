"""Connections that break anywhere: what is incomplete must look incomplete, on both sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dataplane_support import GET, OK, Gateway, Peer, Upstream, post, read_message

BODY = b"hello, world"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-A: 1\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"


def started(gateway: Gateway, request: bytes = GET) -> tuple[Peer, Peer]:
    """A client with a request under way, and its upstream connection."""
    upstream = gateway.upstreams[0] if gateway.upstreams else gateway.upstream()
    if not gateway.generation:
        gateway.serve(upstream)
    client = gateway.client().send(request)
    return client, upstream.accept(gateway)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_an_answer_that_breaks_off_never_looks_complete(gateway: Gateway, answer: bytes, how: str) -> None:
    for cut in range(len(answer) + 1):
        client, up = started(gateway)
        up.request()
        up.send(answer[:cut])
        getattr(up, how)()
        client.until(lambda data, client=client: b"\r\n\r\n" in data or client.end != "")
        gateway.settle()
        seen = read_message(bytes(client.poll().data), "GET", client.end != "")
        assert seen is not None, f"cut at {cut}: no answer at all"
        if cut == len(answer):
            assert (seen.status, seen.body, seen.whole) == (200, BODY, True)
        elif seen.status == 200:
            assert not seen.whole and client.until_end(), f"cut at {cut}: {seen.body!r} looks complete"
            assert cut >= answer.index(b"\r\n\r\n") + 4
        else:
            assert seen.status == 503 and seen.whole and not client.end
            assert seen.body == b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
        client.close()
    assert gateway.counter("FGW_C_UPSTREAM_RETRIES") == 0


def test_a_close_delimited_answer_that_is_reset_is_cut(gateway: Gateway) -> None:
    client, up = started(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    client.until(lambda data: b"half" in data)
    up.reset()
    client.until_end()
    seen = read_message(bytes(client.data), "GET", True)
    assert seen is not None and not seen.whole and seen.body == b"half"


def test_a_cut_answer_to_http10_ends_with_a_reset(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"http10": True})
    client, up = started(gateway, b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    client.until(lambda data: b"half" in data)
    up.close()
    assert client.until_end() == "reset", "with a FIN the half would be the whole"


MALFORMED = {
    "status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "interims": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 11,
    "huge": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_answer_is_a_502(gateway: Gateway, name: str) -> None:
    client, up = started(gateway)
    up.request()
    up.send(MALFORMED[name])
    while (message := client.response()).status < 200:
        pass
    assert message.status == 502 and message.body.endswith(b"reset reason: protocol error")
    assert up.until_end() and gateway.rejected()


def test_a_malformed_chunk_cuts_the_answer(gateway: Gateway) -> None:
    client, up = started(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n")
    client.until_end()
    seen = read_message(bytes(client.data), "GET", True)
    assert seen is not None and seen.body == b"hello" and not seen.whole
    assert up.until_end()


REQUESTS = {
    "length": post(12) + BODY,
    "chunked": b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("how", ["reset", "finish"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_breaks_off_never_looks_complete(gateway: Gateway, name: str, how: str) -> None:
    request = REQUESTS[name]
    upstream = gateway.upstream()
    gateway.serve(upstream)
    head = request.index(b"\r\n\r\n") + 4
    for cut in range(1, len(request)):
        client = gateway.client().send(request[:cut])
        up = upstream.accept(gateway) if cut >= head else None
        getattr(client, how)()
        gateway.settle()
        if up is None:
            assert not upstream.has_connection(gateway)
        else:
            assert up.until_end() == "reset", f"cut at {cut}: the upstream must not take it for the end"
            seen = read_message(bytes(up.data), None, True)
            assert seen is None or not seen.whole, f"cut at {cut}: {bytes(up.data)!r}"
        client.close()
    assert gateway.alive()["exchanges"] == gateway.alive()["clients"] == 0


def test_a_client_that_leaves_takes_its_upstream_request_with_it(gateway: Gateway) -> None:
    client, up = started(gateway)
    up.request()
    client.close()
    assert up.until_end() == "reset"
    assert gateway.pool.idle == 0


def test_a_malformed_request_body_resets_the_upstream_and_answers_400(gateway: Gateway) -> None:
    chunked = REQUESTS["chunked"]
    client, up = started(gateway, chunked[: chunked.index(b"7\r\n")])
    up.until(lambda data: b"hello" in data)
    client.send(b"zz\r\n")
    answer = client.response()
    assert (answer.status, answer["connection"]) == (400, "close")
    assert up.until_end() == "reset"
    seen = read_message(bytes(up.data), None, True)
    assert seen is not None and not seen.whole
    assert gateway.rejected() == {"bad_chunk_size": 1}


@pytest.mark.parametrize("tail", [b"", b"GET /second HTTP/1.1\r\nHost: a.test\r\n\r\n"])
def test_a_refused_head_is_the_last_of_its_connection(gateway: Gateway, tail: bytes) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + tail)
    answer = client.response()
    assert (answer.status, answer["connection"], answer.body) == (400, "close", b"")
    assert client.until_end() == "fin" and not client.data
    assert not upstream.has_connection(gateway)
    assert gateway.rejected() == {"duplicate_host": 1}


def test_an_answer_before_the_upload_ends_is_relayed_and_burns_the_connection(gateway: Gateway) -> None:
    client, up = started(gateway, post(100_000) + b"x" * 1000)
    up.until(lambda data: data.endswith(b"x" * 1000))
    up.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    answer = client.response()
    assert (answer.status, answer.body, answer["connection"]) == (413, b"big", "close")
    client.send(b"x" * 50_000)
    assert client.until_end() == "fin", "the rest is read for a while, so that the answer is not reset away"
    assert up.until_end() and gateway.pool.idle == 0


@pytest.mark.parametrize("size", [3, 30_000])
@pytest.mark.parametrize("while_writing", [False, True])
def test_an_answer_that_came_before_a_reset_is_relayed(gateway: Gateway, size: int, while_writing: bool) -> None:
    """A server that refuses an upload closes with unread bytes, which is a reset; its answer explains it."""
    client, up = started(gateway, post(1 << 20) + b"x" * 1000)
    up.until(lambda data: b"\r\n\r\n" in data)
    client.send(b"x" * 30_000)  # not read by the upstream
    body = b"b" * size
    assert up.try_send(b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%b" % (size, body)) > size
    if while_writing:
        client.sock.send(b"x" * 30_000)  # the gateway writes into the broken connection before it reads
    up.sock.close()
    answer = client.response()
    assert (answer.status, answer.body == body, answer["connection"]) == (413, True, "close")
    assert gateway.pool.idle == 0


def test_a_half_answer_before_a_reset_is_still_cut(gateway: Gateway) -> None:
    client, up = started(gateway, post(1 << 20) + b"x" * 1000)
    client.send(b"x" * 30_000)
    up.try_send(b"HTTP/1.1 200 OK\r\n\r\nclose-delimited")
    up.sock.close()
    client.until_end()
    seen = read_message(bytes(client.data), "POST", True)
    assert seen is not None and seen.body == b"close-delimited" and not seen.whole


def test_what_is_uploaded_after_the_answer_is_read_only_up_to_a_limit(gateway: Gateway) -> None:
    client, up = started(gateway, post(1 << 20))
    up.until(lambda data: b"\r\n\r\n" in data)
    up.send(OK)
    assert client.response().status == 200
    sent = 0
    for _ in range(200):
        try:
            sent += client.sock.send(b"x" * 4096)
        except OSError:
            break
        gateway.settle()
    assert 65536 <= sent < 400_000
    assert gateway.alive()["clients"] == 0


def test_a_listener_without_an_image_answers_404(gateway: Gateway) -> None:
    early, idle = gateway.client().send(GET), gateway.client()
    answer = early.response()
    assert (answer.status, answer["connection"], early.until_end()) == (404, "close", "fin")
    upstream: Upstream = gateway.upstream()
    gateway.serve(upstream)
    idle.send(GET)
    upstream.accept(gateway).send(OK)
    assert idle.response().status == 200, "the connection found its place in the new image"
