"""A crowd of clients of every kind, each in a thread: HTTP/1.1 and HTTP/2, plain and TLS, on kept and on new connections.

Every answer is looked at, and every end of a connection: nothing is tried again, so what fails is seen. A connection may end when
the gateway has said so with an answer (``connection: close``, GOAWAY) and only if an upgrade has begun since it was made.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from wire.h2 import headers, window_update

from .client import Client, Disconnected, request_bytes
from .gateway import command, environment
from .h2_wire import H2Wire
from .http1 import Malformed
from .load import Quiet
from .tls_client import TlsClient

PAUSE_S = 0.015
"""Between two requests of a client: the load is a steady one, not what the machine can do."""
STREAMS = 3
"""Requests that an HTTP/2 client sends at once."""


class Broken(Exception):
    """What no client should see."""


class Connection(Protocol):
    """``ask`` returns the number of requests that were answered as they should be. ``over``: the gateway has said that it ends."""

    over: bool

    def ask(self, target: str) -> int: ...

    def close(self) -> None: ...


class Http1Connection:
    def __init__(self, client: Client, host: str) -> None:
        self.client, self.host = client, host
        self.over = False
        self.quiet = Quiet()

    def ask(self, target: str) -> int:
        try:
            self.client.send(request_bytes("GET", target, self.host))
            self.quiet.ends()
            answer = self.client.response()
        except (Disconnected, ConnectionError) as error:
            if not self.quiet.too_long(error):
                raise
            self.over = True
            return 0
        check(answer.status, answer.body, target)
        self.over = (answer.value("connection") or "").lower() == "close"
        return 1

    def close(self) -> None:
        self.client.close()


class Http2Connection:
    def __init__(self, sock: socket.socket, scheme: str, host: str) -> None:
        self.quiet = Quiet()
        self.wire = H2Wire(sock, scheme, host)
        self.wire.start()
        self.next_stream = 1
        self.over = False

    def ask(self, target: str) -> int:
        wire = self.wire
        wire.read_what_is_there()
        if wire.goaway is not None or wire.ended:
            if wire.ended and wire.goaway is None:
                raise Broken(f"ended without GOAWAY: {wire.ended}")
            self.over = True
            return 0
        streams = [self.next_stream + 2 * n for n in range(STREAMS)]
        self.next_stream += 2 * STREAMS
        wire.send(*(headers(stream, wire.request(path=f"{target}-{stream}".encode())) for stream in streams))
        self.quiet.ends()
        wire.read_until(lambda: all(wire.answered(stream) for stream in streams), 20)
        if wire.ended and not any(map(wire.status, streams)) and self.quiet.too_long(OSError()):
            self.over = True
            return 0
        for stream in streams:
            if not wire.answered(stream):
                raise Broken(f"stream {stream} of {streams} was not answered; {wire.resets} {wire.goaway} {wire.ended!r}")
            check(wire.status(stream), wire.body(stream), f"{target}-{stream}")
        wire.send(window_update(0, sum(len(wire.body(stream)) for stream in streams)))
        wire.reader.forget()
        self.over = wire.goaway is not None
        return len(streams)

    def close(self) -> None:
        self.wire.socket.close()


def check(status: int, body: bytes, target: str) -> None:
    if status != 200 or f'"{target}"'.encode() not in body:
        raise Broken(f"{target}: {status} {body[:200]!r}")


@dataclass
class Kind:
    """``requests``: of a connection, when the client ends it; 0: none, it is kept."""

    name: str
    open: Callable[[], Connection]
    requests: int = 0


@dataclass
class Tally:
    requests: Counter[str] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def kinds(plain: int, tls: int, host: str, secure_host: str, context: Callable[..., ssl.SSLContext]) -> list[Kind]:
    """Eight clients. The HTTPS port shows ``secure_host``'s certificate; ``context(alpn=...)`` trusts it."""
    h1, h2 = context(), context(alpn=("h2",))

    def plain_h2() -> Connection:
        sock = socket.create_connection(("127.0.0.1", plain), 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Http2Connection(sock, "http", host)

    def tls_h2() -> Connection:
        sock = socket.create_connection(("127.0.0.1", tls), 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Http2Connection(h2.wrap_socket(sock, server_hostname=secure_host), "https", secure_host)

    def plain_h1() -> Connection:
        return Http1Connection(Client(plain), host)

    def tls_h1() -> Connection:
        return Http1Connection(TlsClient(tls, secure_host, h1), secure_host)

    return [
        Kind("HTTP/1.1, kept", plain_h1),
        Kind("HTTP/1.1, new", plain_h1, 1),
        Kind("HTTP/1.1 over TLS, kept", tls_h1),
        Kind("HTTP/1.1 over TLS, new", tls_h1, 1),
        Kind("HTTP/2, kept", plain_h2),
        Kind("HTTP/2, new", plain_h2, STREAMS),
        Kind("HTTP/2 over TLS, kept", tls_h2),
        Kind("HTTP/2 over TLS, new", tls_h2, STREAMS),
    ]


class Crowd:
    """A context manager. Tell it ``upgrade_begins()`` before an upgrade, ``upgrade_done()`` when the workers of before are gone."""

    def __init__(self, clients: list[Kind], pause_s: float = PAUSE_S) -> None:
        self.tally = Tally()
        self._pause_s = pause_s
        self._begun = self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=(kind,), name=kind.name) for kind in clients]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        assert not [t.name for t in self._threads if t.is_alive()], "a client hangs"

    def upgrade_begins(self) -> None:
        self._begun += 1

    def upgrade_done(self) -> None:
        self._done = self._begun

    @property
    def requests(self) -> int:
        return self.tally.requests.total()

    def each_once_more(self, seconds: float = 60) -> None:
        """Wait until every client has had another answer."""
        before, deadline = self.tally.requests.copy(), time.monotonic() + seconds
        while any(self.tally.requests[t.name] <= before[t.name] for t in self._threads):
            assert time.monotonic() < deadline, f"a client stands still: {self.tally}"
            time.sleep(0.005)

    def _live(self, kind: Kind) -> None:
        turn = 0
        while not self._stop.is_set():
            known = self._done
            try:
                with contextlib.closing(kind.open()) as connection:
                    with self._lock:
                        self.tally.connections[kind.name] += 1
                    asked = 0
                    while not self._stop.is_set() and not connection.over and not (kind.requests and asked >= kind.requests):
                        turn += 1
                        answered = connection.ask(f"/crowd-{turn}")
                        asked += answered
                        with self._lock:
                            self.tally.requests[kind.name] += answered
                        time.sleep(self._pause_s)
                    if connection.over:
                        self._ended(kind, known)
            except (Broken, Malformed, Disconnected, OSError, AssertionError) as error:
                self._fail(f"{kind.name}: {type(error).__name__}: {error}")

    def _ended(self, kind: Kind, known: int) -> None:
        with self._lock:
            self.tally.ended[kind.name] += 1
        if known == self._begun:
            self._fail(f"{kind.name}: the gateway has ended a connection, and there was no upgrade")

    def _fail(self, text: str) -> None:
        with self._lock:
            self.tally.failures.append(text)
        self._stop.wait(0.05)


@contextlib.contextmanager
def echo_upstream(name: str) -> Iterator[int]:
    """``fastgw echo`` in a process of its own; its port."""
    words = [*command(), "echo", "--port", "0", "--name", name]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
