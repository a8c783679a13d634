"""Bodies over HTTP/2 to upstreams: both ways at once, slow readers on either side, and who is stopped by whom."""

from __future__ import annotations

import hashlib

import h2.settings
import pytest
from dataplane_support import GET, LISTENER, Gateway, Peer, Upstream, post
from h2_support import H2Peer
from http2_upstream_support import OK, Http2Peer, accept
from wire import h2 as wire

Codes = h2.settings.SettingCodes
WINDOW = 262_144
DATA = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(330_000))
TEN_MIB = DATA[: 10 << 20]


@pytest.fixture
def upstream(gateway: Gateway) -> Upstream:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2")
    return upstream


class Sender:
    """Sends an answer's body as the window allows, without waiting."""

    def __init__(self, up: Http2Peer, stream: int, body: bytes) -> None:
        self.up, self.stream, self.body, self.at = up, stream, body, 0
        up.h2.send_headers(stream, OK)
        up.flush()

    def push(self) -> int:
        """Bytes that could be sent; the socket's own queue is respected."""
        n = min(self.up.h2.max_outbound_frame_size, self.up.h2.local_flow_control_window(self.stream), len(self.body) - self.at)
        if n:
            self.at += n
            self.up.h2.send_data(self.stream, self.body[self.at - n : self.at], end_stream=self.at == len(self.body))
            self.up.peer.send(self.up.h2.data_to_send())
        return n


def test_ten_mebibytes_both_ways_at_once(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(post(len(TEN_MIB)))
    up = accept(gateway, upstream)
    stream = up.head()
    sender, sent, worst = Sender(up, stream, TEN_MIB), 0, 0

    def step() -> bool:
        nonlocal sent, worst
        sent += client.try_send(TEN_MIB[sent : sent + 65536])
        sender.push()
        gateway.turn()
        up.poll()
        client.poll()
        worst = max(worst, gateway.alive()["buffer_bytes"])
        return sent == len(TEN_MIB) and up.all[stream].ended and sender.at == len(TEN_MIB) and len(client.data) > len(TEN_MIB)

    gateway.until(step)
    assert bytes(up.all[stream].body) == TEN_MIB
    assert client.response().body == TEN_MIB
    assert worst <= 1 << 20


def test_a_client_that_does_not_read_holds_up_itself_alone(gateway: Gateway, upstream: Upstream) -> None:
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER, send_bytes=4096))])
    slow = gateway.client(receive_bytes=4096).send(GET)
    up = accept(gateway, upstream)
    sender = Sender(up, up.request()[0], TEN_MIB)
    idle = 0
    while idle < 50:
        idle = 0 if sender.push() else idle + 1
        gateway.turn()
        up.poll()
    assert sender.at <= WINDOW + (1 << 20)
    assert gateway.alive()["buffer_bytes"] <= 2 * WINDOW + (256 << 10)
    quick = gateway.client()
    for _ in range(20):
        quick.send(GET)
        up.answer(up.request()[0], DATA[:100_000])
        assert quick.response().body == DATA[:100_000]

    def step() -> bool:
        sender.push()
        gateway.turn()
        up.poll()
        slow.poll(60_000)
        return sender.at == len(TEN_MIB) and len(slow.data) > len(TEN_MIB) + 100

    gateway.until(step)
    assert slow.response().body == TEN_MIB
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


def test_an_answer_of_tiny_frames_to_a_slow_client(gateway: Gateway, upstream: Upstream) -> None:
    """One byte a frame: what is held is bytes of the body, not frames and not chunks."""
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER, send_bytes=4096))])
    client = gateway.client(receive_bytes=4096).send(GET)
    up = accept(gateway, upstream)
    stream, _ = up.request()
    up.h2.send_headers(stream, OK)
    body = DATA[:60_000]
    worst = 0
    for i, byte in enumerate(body):
        up.h2.send_data(stream, bytes([byte]), end_stream=i == len(body) - 1)
        if i % 500 == 499:
            up.flush()
            worst = max(worst, gateway.alive()["buffer_bytes"])
    up.flush()
    assert worst <= 1 << 20
    assert client.response().body == body


def test_an_upstream_that_does_not_read_stops_the_client(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(post(1_000_000_000))
    up = accept(gateway, upstream, acknowledge=False)
    stream = up.head()
    taken, idle = 0, 0
    while idle < 50:
        n = client.try_send(DATA[:65536])
        taken += n
        idle = 0 if n else idle + 1
        gateway.turn()
        up.poll()
    assert len(up.all[stream].body) == 65535
    assert gateway.alive()["buffer_bytes"] <= 512 << 10
    other = gateway.client().send(GET)
    up.answer([s for s, r in up.all.items() if r.ended][-1] if up.until(lambda p: any(r.ended for r in p.all.values())) else 0)
    assert other.response().status == 200
    up.h2.increment_flow_control_window(1 << 20)
    up.h2.increment_flow_control_window(100_000, stream)
    up.flush()
    up.until(lambda p: len(p.all[stream].body) == 165_535, "as much as the window has been opened")
    client.reset()
    up.until(lambda p: p.all[stream].reset is not None, "a reset")


def test_windows_that_shrink_and_grow(gateway: Gateway, upstream: Upstream) -> None:
    """INITIAL_WINDOW_SIZE of 0, of 1, then more, while the request waits."""
    client = gateway.client().send(GET)
    up = accept(gateway, upstream, {Codes.INITIAL_WINDOW_SIZE: 0})
    up.answer(up.request()[0])
    assert client.response().status == 200
    client.send(post(50_000) + DATA[:50_000])
    stream = up.head()
    for size in (0, 1, 100, 60_000):
        up.h2.update_settings({Codes.INITIAL_WINDOW_SIZE: size})
        up.flush()
        gateway.settle()
        up.poll()
    up.until(lambda p: p.all[stream].ended, "the request's end")
    assert bytes(up.all[stream].body) == DATA[:50_000]
    up.answer(stream)
    assert client.response().status == 200


def test_a_client_that_ends_before_the_held_answer_is_with_it(gateway: Gateway, upstream: Upstream) -> None:
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER, send_bytes=4096))])
    client = gateway.client(receive_bytes=4096).send(GET)
    up = accept(gateway, upstream)
    up.answer(up.request()[0], DATA[:200_000])
    assert gateway.alive()["upstream_streams"] == 1
    client.close()
    assert gateway.alive()["upstream_streams"] == 0
    other = gateway.client().send(GET)
    up.answer(up.request()[0])
    assert other.response().status == 200


def test_a_held_answer_survives_its_connection(gateway: Gateway, upstream: Upstream) -> None:
    """It is here as a whole; the trailers as well."""
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER, send_bytes=4096))])
    client = gateway.client(receive_bytes=4096).send(GET)
    up = accept(gateway, upstream)
    up.answer(up.request()[0], DATA[:200_000], OK, [("x-sum", "1")])
    up.peer.close()
    gateway.settle()
    assert gateway.alive()["upstreams"] == 0
    assert client.response().body == DATA[:200_000]


# ---- HTTP/2 on both sides


def ask(
    gateway: Gateway, upstream: Upstream, *fields: tuple[str, str], method: str = "GET", end: bool = True
) -> tuple[H2Peer, Http2Peer]:
    client = H2Peer(gateway)
    client.send(wire.headers(1, wire.head(method, "/x", *fields), end=end))
    return client, accept(gateway, upstream)


def test_http2_to_http2(gateway: Gateway, upstream: Upstream) -> None:
    client, up = ask(gateway, upstream, ("te", "trailers"), ("x-one", "1"))
    stream, request = up.request()
    assert (request[":path"], request["te"], request["x-one"]) == ("/x", "trailers", "1")
    up.answer(stream, b"hello", OK, [("x-sum", "5")])
    seen = client.stream(1)
    assert (seen.body, seen.end) == (b"hello", "end")
    assert dict(seen.heads[0])[":status"] == "200"
    assert seen.heads[-1] == [("x-sum", "5")]


def test_requests_with_trailers(gateway: Gateway, upstream: Upstream) -> None:
    client, up = ask(gateway, upstream, method="POST", end=False)
    client.send(wire.data(1, b"body"), wire.headers(1, [("x-sum", "4")], end=True))
    stream, request = up.request()
    assert (bytes(request.body), request.trailers) == (b"body", [("x-sum", "4")])
    up.answer(stream)
    assert client.stream(1).end == "end"


def test_a_head_that_ends_the_answer(gateway: Gateway, upstream: Upstream) -> None:
    """Trailers-only, as gRPC calls it."""
    client, up = ask(gateway, upstream, ("content-type", "application/grpc"), method="POST")
    stream, request = up.request()
    assert request["te"] == "trailers"
    up.answer(stream, b"", [*OK, ("content-type", "application/grpc"), ("grpc-status", "5")])
    seen = client.stream(1)
    assert len(seen.heads) == 1
    assert dict(seen.heads[0])["grpc-status"] == "5"
    assert "content-length" not in dict(seen.heads[0])


@pytest.mark.parametrize(("code", "told"), [(2, "INTERNAL"), (8, "INTERNAL")])
def test_a_reset_after_the_head_reaches_the_client_as_one(gateway: Gateway, upstream: Upstream, code: int, told: str) -> None:
    client, up = ask(gateway, upstream)
    stream, _ = up.request()
    up.h2.send_headers(stream, OK)
    up.h2.send_data(stream, b"half")
    up.flush()
    client.until(lambda seen: seen.streams[1].body == b"half")
    up.h2.reset_stream(stream, code)
    up.flush()
    assert client.stream(1).end == told


def test_a_reset_of_the_client_reaches_the_upstream(gateway: Gateway, upstream: Upstream) -> None:
    client, up = ask(gateway, upstream, method="POST", end=False)
    client.send(wire.data(1, b"half"))
    stream = up.head()
    client.send(wire.rst_stream(1))
    up.until(lambda p: p.all[stream].reset is not None, "a reset")
    assert up.all[stream].reset == 8
    client.send(wire.headers(3, wire.head()))
    up.until(lambda p: p.all[max(p.all)].ended, "another request")
    up.answer(max(up.all))
    assert client.stream(3).end == "end"


def test_streams_both_ways_at_once(gateway: Gateway, upstream: Upstream) -> None:
    """As a gRPC call does: each side says something when it has heard the other."""
    client, up = ask(gateway, upstream, method="POST", end=False)
    stream = up.head()
    up.h2.send_headers(stream, OK)
    up.flush()
    for i in range(50):
        client.send(wire.data(1, b"ping %d" % i))
        up.until(lambda p, i=i: p.all[stream].body.endswith(b"ping %d" % i), "a ping")
        up.h2.send_data(stream, b"pong %d" % i)
        up.flush()
        client.until(lambda seen, i=i: seen.streams[1].body.endswith(b"pong %d" % i))
    client.send(wire.data(1, b"", end=True))
    up.until(lambda p: p.all[stream].ended, "the end")
    up.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
    up.flush()
    assert client.stream(1).heads[-1] == [("grpc-status", "0")]


def test_a_stream_that_is_not_read_does_not_stop_its_neighbour(gateway: Gateway, upstream: Upstream) -> None:
    client = H2Peer(gateway, hello=wire.hello({wire.INITIAL_WINDOW_SIZE: 0}))
    client.send(wire.headers(1, wire.head("GET", "/slow")), wire.headers(3, wire.head("GET", "/quick")))
    up = accept(gateway, upstream)
    up.streams(2)
    by_path = {request[":path"]: stream for stream, request in up.all.items()}
    sender = Sender(up, by_path["/slow"], TEN_MIB)
    idle = 0
    while idle < 50:
        idle = 0 if sender.push() else idle + 1
        gateway.turn()
        up.poll()
    assert sender.at <= WINDOW + (128 << 10)
    client.send(wire.window_update(3, 100_000))
    up.answer(by_path["/quick"], b"q" * 50_000)
    assert client.stream(3).body == b"q" * 50_000
    client.send(wire.rst_stream(1))
    up.until(lambda p: p.all[by_path["/slow"]].reset is not None, "a reset")


def test_the_clients_protocol(gateway: Gateway) -> None:
    """useClientProtocol: each request goes on as it came."""
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="client")
    old = gateway.client().send(GET)
    plain: Peer = upstream.accept(gateway)
    plain.request()
    plain.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    assert old.response().body == b"1"
    client, up = ask(gateway, upstream)
    up.answer(up.request()[0], b"2")
    assert client.stream(1).body == b"2"
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 2


def test_secrets_are_never_indexed(gateway: Gateway, upstream: Upstream) -> None:
    """X22: what a client has marked, cookies and authorization."""
    client = H2Peer(gateway)
    marked = b"".join(b"\x10" + wire.text(name) + wire.text(value) for name, value in [("x-key", "secret")])
    plain = wire.block([*wire.head(), ("cookie", "a=" + "b" * 40), ("authorization", "Basic x"), ("x-open", "1")])
    client.send(wire.frame(wire.HEADERS, wire.END_STREAM | wire.END_HEADERS, 1, plain + marked))
    up = accept(gateway, upstream)
    _, request = up.request()
    kinds = {str(field[0]): type(field).__name__ for field in request.headers}
    assert {name: kinds[name] for name in ("cookie", "authorization", "x-key", "x-open")} == {
        "cookie": "NeverIndexedHeaderTuple", "authorization": "NeverIndexedHeaderTuple", "x-key": "NeverIndexedHeaderTuple",
        "x-open": "HeaderTuple",
    }  # fmt: skip
