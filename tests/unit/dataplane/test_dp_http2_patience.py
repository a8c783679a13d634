"""HTTP/2 clients that are slow, silent, or do not let answers come; connections that are to end."""

from __future__ import annotations

from collections.abc import Callable

from dataplane_support import Gateway
from h2_support import H2Peer, serve
from wire import h2

GET = h2.headers(1, h2.head())


def ends(client: H2Peer) -> int:
    return sum(stream.end != "" for stream in client.poll().streams.values())


def test_no_preface(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"head_timeout_ms": 3000})
    client = H2Peer(gateway, hello=h2.PREFACE)
    gateway.pass_ms(3500)
    assert client.until(lambda seen: bool(seen.goaways)).goaway == "ENHANCE_CALM"
    assert client.until_end() == "fin"
    assert gateway.counter("FGW_C_CLIENT_TIMEOUTS_HEAD") == 1


def test_a_header_block_that_does_not_end(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"head_timeout_ms": 3000})
    client = H2Peer(gateway)
    gateway.pass_ms(10000)  # the connection as such may be idle
    client.send(GET[:20])
    gateway.pass_ms(2000)
    client.send(GET[20:22])
    gateway.pass_ms(1500)
    assert client.until_end() == "fin"
    assert gateway.rejected() == {"head_timeout": 1}


def test_idle(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"http2_idle_timeout_ms": 5000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(GET)
    up = upstream.accept(gateway)
    gateway.pass_ms(20000)  # a request under way is not idleness
    serve(up)
    assert client.stream().status == 200 and not client.seen.goaways
    gateway.pass_ms(4000)
    assert not client.settled().goaways
    gateway.pass_ms(2500)
    assert client.until_end() == "fin"
    assert [f.code for f in client.seen.goaways] == ["NO_ERROR", "NO_ERROR"]
    assert gateway.counter("FGW_C_CLIENT_TIMEOUTS_IDLE") == 1


def test_answers_that_are_not_let_through(make_gateway: Callable[..., Gateway]) -> None:
    """X1: a window of 0, and 100 answers that wait for it."""
    gateway = make_gateway(limits={"write_timeout_ms": 10000})
    upstream = gateway.upstream(backlog=128)
    gateway.serve(upstream)
    client = H2Peer(gateway, hello=h2.hello({h2.INITIAL_WINDOW_SIZE: 0}))
    client.send(*(h2.headers(2 * i + 1, h2.head()) for i in range(100)))
    ups = [upstream.accept(gateway) for _ in range(100)]
    for up in ups:
        up.request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(20):
        for up in ups:
            up.try_send(bytes(65536))
        gateway.settle()
    held = gateway.alive()["buffer_bytes"]
    assert held <= 100 * (32768 + 4096) + 262144
    gateway.pass_ms(11000)
    client.until(lambda seen: ends(client) == 100)
    assert {s.end for n, s in client.seen.streams.items()} == {"CANCEL"}
    for up in ups:
        assert up.until_end() in ("reset", "fin")
    assert gateway.rejected() == {"h2_stream_stalled": 100}
    assert client.settled().goaway == ""


def test_a_window_that_opens_byte_by_byte(make_gateway: Callable[..., Gateway]) -> None:
    """X2: progress of a byte a second is none; 300 bytes a second are a slow reader."""
    gateway = make_gateway(limits={"write_timeout_ms": 10000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    trickle, slow = (H2Peer(gateway, hello=h2.hello({h2.INITIAL_WINDOW_SIZE: 1})) for _ in range(2))
    up = None
    for client in (trickle, slow):
        client.send(GET)
        up = up or upstream.accept(gateway)
        serve(up, b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20000))
    for _ in range(30):
        trickle.send(h2.window_update(1, 1))
        slow.send(h2.window_update(1, 300))
        gateway.pass_ms(1000)
    assert trickle.poll().streams[1].end == "CANCEL"
    assert slow.poll().streams[1].end == ""
    slow.send(h2.window_update(1, 20000))
    assert len(slow.stream().body) == 20000


def test_a_connection_that_does_not_read(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"write_timeout_ms": 10000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    gateway.open_listener("0.0.0.0_81", send_bytes=4096)
    client = H2Peer(gateway, hello=h2.hello({h2.INITIAL_WINDOW_SIZE: 1 << 30}) + h2.window_update(0, 1 << 30), receive_bytes=4096)
    client.send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    quiet = 0
    while quiet < 5:
        quiet = 0 if up.try_send(bytes(65536)) else quiet + 1
        gateway.settle()
    gateway.pass_ms(11000)
    assert up.until_end() in ("reset", "fin")
    assert gateway.counter("FGW_C_CLIENT_TIMEOUTS_WRITE") == 1


def test_one_slow_body_among_others(make_gateway: Callable[..., Gateway]) -> None:
    """X11: only the slow one is ended."""
    gateway = make_gateway(limits={"body_timeout_ms": 5000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(*(h2.headers(n, h2.head("POST", "/"), end=False) for n in (1, 3)))
    slow, fast = upstream.accept(gateway), upstream.accept(gateway)
    for _ in range(6):
        client.send(h2.data(3, b"x"))
        gateway.pass_ms(1000)
    stream = client.stream(1)
    assert (stream.status, stream.end) == (408, "end")
    assert slow.until_end() == "reset"
    client.send(h2.data(3, end=True))
    assert serve(fast).body == b"x" * 6
    assert client.stream(3).status == 200
    assert gateway.rejected() == {"body_timeout": 1}


def test_a_body_that_trickles(make_gateway: Callable[..., Gateway]) -> None:
    """E4: 240 bytes a second after the first minute."""
    gateway = make_gateway(limits={"write_timeout_ms": 0})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/"), end=False))
    up = upstream.accept(gateway)
    for _ in range(13):
        client.send(h2.data(1, b"x" * 10))
        gateway.pass_ms(10000)
    assert client.stream().status == 408
    assert up.until_end() == "reset"


def test_an_upstream_that_does_not_read_is_not_the_clients_fault(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"body_timeout_ms": 5000})
    upstream = gateway.upstream(receive_bytes=4096)
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/"), end=False))
    upstream.accept(gateway)
    sent = given = 0
    while 65535 + given - sent >= 10000:
        client.send(h2.data(1, bytes(10000)))
        sent += 10000
        given = sum(f.number for f in client.settled().frames if f.kind == h2.WINDOW_UPDATE and f.stream == 1)
    gateway.pass_ms(20000)
    assert client.settled().streams[1].end == ""
    client.send(h2.rst_stream(1))


def test_a_listener_that_goes(gateway: Gateway) -> None:
    """F15: a reload that takes the chain of a connection away ends it, with nothing lost."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(GET)
    up = upstream.accept(gateway)
    up.request()
    gateway.attach_chains([], [])
    client.until(lambda seen: len(seen.goaways) == 1)
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.stream().body == b"ok"
    gateway.pass_ms(1200)
    assert client.until_end() == "fin"


def test_streams_are_used_again(gateway: Gateway) -> None:
    """Many requests on one connection, and what they hold is given back."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    up = None
    for i in range(300):
        client.send(h2.headers(2 * i + 1, h2.head("POST", "/", ("x-n", str(i))), end=False), h2.data(2 * i + 1, b"b" * i, end=True))
        up = up or upstream.accept(gateway)
        seen = serve(up)
        assert (seen["x-n"], seen.body) == (str(i), b"b" * i)
        assert client.stream(2 * i + 1).body == b"ok"
    gateway.settle()
    assert gateway.alive()["buffer_bytes"] == 0
    assert gateway.alive()["streams"] == 0


def test_the_age_of_a_connection(make_gateway: Callable[..., Gateway]) -> None:
    """Connections that began together end apart, within a tenth of their time, and in peace."""
    gateway = make_gateway(limits={"max_connection_age_ms": 100_000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    clients = [H2Peer(gateway) for _ in range(40)]
    old = gateway.client()
    clients[0].send(GET)
    up = upstream.accept(gateway)
    gateway.pass_ms(89_000)
    assert not any(client.settled().goaways for client in clients)
    gateway.pass_ms(11_000)
    gone = sum(bool(client.settled().goaways) for client in clients)
    assert 2 <= gone <= 38
    gateway.pass_ms(12_000)
    assert all(client.settled().goaways for client in clients)
    serve(up)
    assert clients[0].stream().status == 200
    assert clients[0].until_end() == "fin"
    old.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    old.until_end()


def test_http1_connections_have_their_age_too(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"max_connection_age_ms": 10_000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    serve(up := upstream.accept(gateway))
    assert not client.response().values("connection")
    gateway.pass_ms(12_000)
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    serve(up)
    assert client.response()["connection"] == "close"
    assert client.until_end() == "fin"


def test_the_number_of_streams_is_an_option(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"http2_streams": 3})
    gateway.serve()
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(*(h2.headers(n, h2.head("POST", "/"), end=False) for n in (1, 3, 5, 7)))
    assert client.stream(7).end == "REFUSED"
    assert client.seen.settings[h2.MAX_CONCURRENT_STREAMS] == 3


def test_a_conversation_may_fall_silent(gateway: Gateway) -> None:
    """A call in both directions is no upload: neither before the answer, which gRPC says by its content-type, nor behind it."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    fields = h2.head("POST", "/a.B/Watch", ("content-type", "application/grpc"), ("te", "trailers"))
    client.send(h2.headers(1, fields, end=False), h2.headers(3, h2.head("POST", "/"), end=False))
    ups = [upstream.accept(gateway), upstream.accept(gateway)]
    plain = ups[1] if b"a.B" in ups[0].poll().data else ups[0]
    plain.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    gateway.pass_ms(600_000)
    client.send(h2.data(1, b"call"), h2.data(3, b"body"))
    for up in ups:
        up.until(lambda data: data.endswith((b"call\r\n", b"body\r\n")))
    assert {client.poll().streams[n].end for n in (3,)} == {""}
    client.send(h2.rst_stream(1), h2.rst_stream(3))
