"""Many connections at once, in an order that a seeded generator makes up: nobody ever gets what is another's.

Every request carries its own name in the path, every body is made from that name, and so is every answer; whatever looks
complete must be the right thing. Faults of all kinds are mixed in: the price may be a 5xx or a cut message, never a wrong one.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from dataplane_support import Gateway, Peer, Upstream, read_message

from fastgw.model.plan import DEFAULTS, HashKey, Outlier, Policy, Pool


def body_of(name: str, size: int) -> bytes:
    """``size`` bytes that belong to this name."""
    seed = hashlib.sha256(name.encode()).digest()
    return (seed * (size // 32 + 1))[:size]


def framed(chance: Random, body: bytes) -> tuple[str, bytes]:
    """A framing field and the body in it."""
    if chance.random() < 0.5:
        return f"Content-Length: {len(body)}\r\n", body
    out, at = b"", 0
    while at < len(body):
        size = min(chance.choice([1, 7, 100, 5000]), len(body) - at)
        out += b"%x\r\n%b\r\n" % (size, body[at : at + size])
        at += size
    return "Transfer-Encoding: chunked\r\n", out + b"0\r\n\r\n"


class Client:
    """Sends pipelined requests in random pieces, checks every answer, may leave at any time."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.sent = world, number, 0
        self.peer = world.gateway.client()
        self.waiting: list[tuple[str, str]] = []
        self.unsent = b""

    def step(self) -> None:
        chance = self.world.chance
        if self.peer.end:
            return
        if not self.unsent and len(self.waiting) < 3:
            self.unsent = self.make_request()
        n = chance.choice([1, 20, 1000, 1 << 20])
        try:
            self.unsent = self.unsent[self.peer.try_send(self.unsent[:n]) :]
        except OSError:
            self.unsent = b""
        self.check()
        if chance.random() < 0.004:
            self.world.cut(self.peer)

    def make_request(self) -> bytes:
        chance = self.world.chance
        name, self.sent = f"/{self.number}/{self.sent}", self.sent + 1
        method = chance.choice(["GET", "GET", "HEAD", "POST", "PUT"])
        self.waiting.append((name, method))
        head = f"{method} {name} HTTP/1.1\r\nHost: a.test\r\n"
        if method in ("GET", "HEAD"):
            return f"{head}\r\n".encode()
        field, body = framed(chance, body_of(name, chance.choice([0, 1, 500, 20_000])))
        return f"{head}{field}\r\n".encode() + body

    def check(self) -> None:
        self.peer.poll()
        while self.waiting:
            name, method = self.waiting[0]
            message = read_message(bytes(self.peer.data), method, self.peer.end != "")
            if message is None or not message.whole:
                return
            del self.peer.data[: message.size]
            if message.status == 103:
                assert message["x-name"] == name, "an interim answer that belongs to another request"
                continue
            self.waiting.pop(0)
            self.world.seen[message.status] += 1
            if message.status != 200:
                assert message.status in (400, 502, 503), message.start
                continue
            assert message["x-name"] == name, f"asked for {name}, got {message.fields}"
            if method != "HEAD":
                assert message.body == body_of(name, len(message.body)), "a body that belongs to another request"


class Origin:
    """One upstream connection: reads whole requests, answers in pieces, misbehaves now and then."""

    def __init__(self, world: World, peer: Peer) -> None:
        self.world, self.peer = world, peer
        self.answer = b""
        self.whole = False  # the answer is sent in one piece
        self.closes = False

    def step(self) -> None:
        chance = self.world.chance
        self.peer.poll()
        if self.answer:
            n = len(self.answer) if self.whole else chance.choice([1, 50, 3000, 1 << 20])
            try:
                self.answer = self.answer[self.peer.try_send(self.answer[:n]) :]
            except OSError:
                self.answer = b""
            if self.answer and chance.random() < 0.01:
                self.world.cut(self.peer)
        elif self.closes:
            self.world.cut(self.peer, clean=True)
        elif chance.random() < 0.003:
            self.world.cut(self.peer)
        else:
            self.take_request()

    def take_request(self) -> None:
        message = read_message(bytes(self.peer.data), None, False)
        if message is None or not message.whole:
            return
        method, name, _ = message.start.split(" ")
        del self.peer.data[: message.size]
        assert message.body == body_of(name, len(message.body)), "a request body that belongs to another request"
        assert (method in ("GET", "HEAD")) <= (message.body == b"")
        self.answer = self.make_answer(method, name)

    def make_answer(self, method: str, name: str) -> bytes:
        chance = self.world.chance
        head = f"HTTP/1.1 200 OK\r\nX-Name: {name}\r\n"
        kind = chance.random()
        self.whole = 0.1 <= kind < 0.15  # what follows an answer later could be taken for the next one, by anybody
        field, body = framed(chance, body_of(name, chance.choice([0, 3, 2000, 2000 if self.whole else 60_000])))
        if kind < 0.04:
            return b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"
        if kind < 0.1:
            self.closes = True
            head += "Connection: close\r\n"
        elif self.whole:
            body += b"HTTP/1.1 200 OK\r\nX-Name: /evil\r\nContent-Length: 4\r\n\r\nevil"
        elif kind < 0.2:
            head = f"HTTP/1.1 103 Early Hints\r\nX-Name: {name}\r\n\r\n{head}"
        return f"{head}{field}\r\n".encode() + (b"" if method == "HEAD" else body)


class World:
    def __init__(self, gateway: Gateway, seed: int, policies: Sequence[Policy] = (DEFAULTS,)) -> None:
        """``policies``: one of them is served at a time."""
        self.gateway, self.chance, self.policies = gateway, Random(seed), policies
        self.seen: Counter[int] = Counter()
        self.upstreams: list[Upstream] = [gateway.upstream() for _ in range(2)]
        self.serve()
        self.clients: list[Client] = []
        self.origins: list[Origin] = []

    def cut(self, peer: Peer, clean: bool = False) -> None:
        if not clean and self.chance.random() < 0.5:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        peer.sock.close()
        peer.end = "closed"

    def step(self) -> None:
        self.clients = [c for c in self.clients if not c.peer.end]
        self.origins = [o for o in self.origins if not o.peer.end]
        while len(self.clients) < 6:
            self.clients.append(Client(self, self.sequence()))
        for upstream in self.upstreams:
            if upstream.has_connection(self.gateway):
                self.origins.append(Origin(self, self.gateway.peers[-1]))
        for party in self.chance.sample([*self.clients, *self.origins], k=len(self.clients) + len(self.origins)):
            party.step()
            if self.chance.random() < 0.6:
                self.gateway.turn()
        if self.chance.random() < 0.01:
            self.serve()

    def serve(self) -> None:
        policy = self.chance.choice(self.policies)
        lb = "least_request" if policy.hash_key is None else self.chance.choice(["ring_hash", "maglev"])
        self.gateway.serve(*self.upstreams, lb=lb, policy=policy)

    def sequence(self) -> int:
        return len(self.gateway.peers)


@pytest.mark.parametrize("seed", range(8))
def test_nobody_gets_what_is_anothers(make_gateway: Callable[..., Gateway], seed: int) -> None:
    world = World(make_gateway(), seed)
    for step in range(4000):
        world.step()
        assert world.gateway.bugs == []
        if step >= 400 and world.seen[502] and world.seen[503]:  # when those come about is the kernel's timing too
            break
    assert world.seen[200] > 200 and world.seen[502] > 0 and world.seen[503] > 0


LIMITS = Pool(max_connections=3, max_pending=3, max_requests=5, max_requests_per_connection=4, idle_timeout_ms=50)
OUTLIER = Outlier(consecutive_errors=2, base_ejection_ms=50, interval_ms=50, max_ejection_percent=50)
POLICIES = [
    DEFAULTS,
    Policy(pool=LIMITS),
    Policy(pool=Pool(max_connections=1)),
    Policy(pool=LIMITS, outlier=OUTLIER, hash_key=HashKey("query", "a")),
    Policy(hash_key=HashKey("cookie", "who", "; HttpOnly"), outlier=OUTLIER),
]


@pytest.mark.parametrize("seed", range(6))
def test_policies_that_change_leave_nothing_counted(make_gateway: Callable[..., Gateway], seed: int) -> None:
    """Limits, ejections and hashing while they come and go, and everything else goes wrong: the same promises, and at the end every
    place is given back."""
    world = World(make_gateway(), 100 + seed, POLICIES)
    gateway = world.gateway
    for _ in range(600):
        world.step()
        assert gateway.bugs == []
    for client in world.clients:
        if not client.peer.end:
            client.peer.reset()
    for origin in world.origins:
        if not origin.peer.end:
            world.cut(origin.peer)
    for upstream in world.upstreams:
        upstream.close()  # what nobody has accepted is reset: a client that has only sent its FIN still waits for an answer
    gateway.settle()
    gateway.pass_ms(12_000)  # longer than anybody waits in line
    gateway.pool.close_idle()
    gateway.settle()
    counts = gateway.state.clusters[gateway.numbers.cluster_of("c")].all
    assert (counts.connections, counts.pending, counts.requests, counts.retries) == (0, 0, 0, 0)
    assert world.seen[200] > 50
