"""Frames in disorder: whatever a client sends, and wherever it is cut, no other client notices and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from dataplane_support import OK, Gateway, Peer, Upstream
from h2_support import H2Peer, serve
from wire import h2

ROUNDS = int(os.environ.get("FASTGW_DISORDER_ROUNDS", "25"))


SETTINGS = [
    (h2.HEADER_TABLE_SIZE, 0),
    (h2.HEADER_TABLE_SIZE, 65536),
    (h2.INITIAL_WINDOW_SIZE, 0),
    (h2.INITIAL_WINDOW_SIZE, 1000),
    (h2.INITIAL_WINDOW_SIZE, 100_000),
    (0x99, 7),
]


class Talker:
    """A client's frames, mostly right. ``open``: streams on which it may still send."""

    def __init__(self, random: Random) -> None:
        self.random, self.last, self.open = random, -1, list[int]()

    def frame(self) -> bytes:
        random = self.random
        choice = random.randrange(60) if self.open else 0
        if choice < 16:
            return self.request()
        stream = random.choice(self.open) if random.random() < 0.995 else self.last
        if choice < 38:
            end = random.random() < 0.15
            return self.ended(stream, end, h2.data(stream, bytes(random.choice([0, 1, 10, 11, 5000, 16384])), end=end))
        if choice < 42:
            return self.ended(stream, True, h2.rst_stream(stream, random.randrange(14)))
        if choice < 44:
            return self.ended(stream, True, h2.headers(stream, [("x-trailer", "t")]))
        if choice < 50:
            return h2.window_update(random.choice([0, stream]), random.choice([1, 1000, 100_000]))
        if choice < 53:
            return h2.settings(dict([random.choice(SETTINGS)]))
        if choice < 56:
            return h2.frame(h2.PING, random.choice([0, 1]), 0, bytes(8))
        kind = random.randrange(16) if random.random() < 0.03 else random.randrange(10, 256)
        return h2.frame(kind, random.randrange(256), random.choice([0, stream]), random.randbytes(random.randrange(40)))

    def request(self) -> bytes:
        self.last += 2
        method = self.random.choice(["GET", "POST", "POST", "PUT", "HEAD"])
        more = self.random.choice([[], [], [("content-length", "11")], [("expect", "100-continue")], [("x", "y" * 3000)]])
        fields = h2.head(method, "/", *more)
        if self.random.random() < 0.1:
            fields = [*h2.head("CONNECT"), (":protocol", "websocket")]
        end = method in ("GET", "HEAD") and len(fields) == 4
        if not end:
            self.open.append(self.last)
        return h2.headers(self.last, fields, end=end)

    def ended(self, stream: int, end: bool, data: bytes) -> bytes:
        if end and stream in self.open:
            self.open.remove(stream)
        return data


def mangled(random: Random, data: bytes) -> bytes:
    """Perhaps with a few bytes changed."""
    if random.random() < 0.98:
        return data
    changed = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def offer(peer: Peer, data: bytes) -> int:
    """As much as a peer takes, all of it when it has gone away."""
    try:
        return max(1, peer.try_send(data))
    except OSError:
        return len(data)


def answer_some(random: Random, gateway: Gateway, upstream: Upstream, ups: list[Peer]) -> None:
    while upstream.has_connection(gateway):
        ups.append(gateway.peers[-1])
    for up in ups:
        if up.poll().data and random.random() < 0.6:
            up.data.clear()
            large = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + bytes(50000)
            chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n"
            offer(up, random.choice([OK, large, large[:3000], chunked, b"HTTP/1.1 103 X\r\n\r\n", b"nonsense\r\n\r\n"]))
            if random.random() < 0.2:
                up.close()


@pytest.mark.parametrize("seed", range(8))
def test_disorder(make_gateway: Callable[..., Gateway], seed: int) -> None:
    gateway = make_gateway(limits={"http2_websockets": True})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    random = Random(seed)
    ups: list[Peer] = []
    for _ in range(ROUNDS):
        client, talker = H2Peer(gateway), Talker(random)
        for _ in range(random.randrange(1, 30)):
            sent = mangled(random, b"".join(talker.frame() for _ in range(random.randrange(1, 6))))
            at = 0
            while at < len(sent):
                at += offer(client.peer, sent[at : at + random.choice([1, 20, 100000])])
                gateway.turn()
            answer_some(random, gateway, upstream, ups)
            client.peer.poll()
        if random.random() < 0.3:
            gateway.pass_ms(random.choice([1000, 70000]))
        random.choice([client.peer.close, client.peer.reset, gateway.settle])()
    assert gateway.bugs == []
    for up in ups:
        up.close()
    other = gateway.upstream()
    gateway.serve(other)
    last = H2Peer(gateway)
    last.send(h2.headers(1, h2.head()))
    serve(other.accept(gateway))
    assert last.stream().status == 200
