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


def some_frame(random: Random, streams: list[int]) -> bytes:
    """Mostly right."""
    stream = random.choice(streams) if streams and random.random() < 0.7 else (max(streams, default=-1) + 2)
    match random.randrange(12):
        case 0 | 1 | 2:
            new = max(streams, default=-1) + 2
            streams.append(new)
            method = random.choice(["GET", "POST", "HEAD", "PUT"])
            more = random.choice(
                [[], [("content-length", str(random.randrange(20)))], [("expect", "100-continue")], [("x", "y" * 3000)]]
            )
            return h2.headers(new, h2.head(method, "/", *more), end=random.random() < 0.5)
        case 3 | 4 | 5:
            return h2.data(stream, bytes(random.choice([0, 1, 10, 5000, 16384])), end=random.random() < 0.4)
        case 6:
            return h2.rst_stream(stream, random.randrange(14))
        case 7:
            return h2.window_update(random.choice([0, stream]), random.choice([1, 1000, 100000]))
        case 8:
            return h2.settings({random.randrange(1, 10): random.choice([0, 1, 4096, 16384, 65535, 100000])})
        case 9:
            return h2.headers(stream, [("x-trailer", "t")])
        case 10:
            return h2.frame(h2.PING, random.choice([0, 1]), 0, bytes(8))
        case _:
            return h2.frame(
                random.randrange(16), random.randrange(256), random.choice([0, stream]), random.randbytes(random.randrange(40))
            )


def mangled(random: Random, data: bytes) -> bytes:
    """Perhaps with a few bytes changed."""
    if random.random() < 0.5:
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
        client, streams = H2Peer(gateway), list[int]()
        for _ in range(random.randrange(1, 12)):
            sent = mangled(random, b"".join(some_frame(random, streams) for _ in range(random.randrange(1, 6))))
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
    last = H2Peer(gateway)
    last.send(h2.headers(1, h2.head()))
    serve(upstream.accept(gateway))
    assert last.stream().status == 200
