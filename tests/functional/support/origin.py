"""Upstreams for the tests.

RecordingOrigin reads strictly what the gateway sends, in one thread with one selector, and remembers every byte by connection
and by request. Because one thread handles all connections in order of arrival, ``settle()`` is a barrier: what the gateway had
sent before is recorded when it returns.
"""

from __future__ import annotations

import heapq
import itertools
import json
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .http1 import Malformed, Message, Request, request_reader


@dataclass
class Reply:
    """What to answer. ``segments``: pieces, each with the pause in seconds after it. ``close``: end the connection then."""

    data: bytes = b""
    close: bool = False
    segments: list[tuple[bytes, float]] = field(default_factory=list)


@dataclass
class Seen:
    """A request as the origin saw it. ``message`` is complete or, when the gateway gave up in its middle, not."""

    sequence: int
    connection: int
    message: Request

    @property
    def complete(self) -> bool:
        return self.message.complete


class Connection:
    """One accepted connection. ``ended``: "" while open, else "eof", "reset", "malformed" or "closed" (by the origin itself)."""

    def __init__(self, number: int, sock: socket.socket, origin: RecordingOrigin):
        self.number = number
        self.socket = sock
        self.origin = origin
        self.raw = bytearray()
        self.ended = ""
        self.fault = ""
        self.answered_head = False
        self.reader = request_reader(self._on_message)
        self.outbox = bytearray()
        self.close_after = False
        self.paused_until = 0.0
        self.later: list[tuple[bytes, float]] = []

    def _on_message(self, message: Message) -> None:
        assert isinstance(message, Request)
        self.origin.on_request(self, message)

    def feed(self, data: bytes) -> None:
        self.raw += data
        try:
            self.reader.feed(data)
        except Malformed as error:
            self.fault = f"{error} in {bytes(self.raw[-300:])!r}"
            self.origin.drop(self, "malformed")
            return
        current = self.reader.current
        if current is not None and not self.answered_head and self.origin.on_head is not None:
            assert isinstance(current, Request)
            reply = self.origin.on_head(self, current)
            if reply is not None:
                self.answered_head = True
                self.origin.send(self, reply)

    @property
    def partial(self) -> Request | None:
        current = self.reader.current
        assert current is None or isinstance(current, Request)
        return current


Answer = Callable[[Seen], Reply | bytes]


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class RecordingOrigin:
    """An HTTP/1.1 upstream on 127.0.0.1. ``answer`` may be exchanged at any time; the default one echoes as JSON."""

    def __init__(self, name: str = "origin", port: int = 0, address: str = "127.0.0.1"):
        self.name = name
        self.answer: Answer = self.echo
        self.on_head: Callable[[Connection, Request], Reply | None] | None = None
        self.listener = socket.create_server((address, port), backlog=512)
        self.address, self.port = self.listener.getsockname()[:2]
        self.connections: list[Connection] = []
        self.seen: list[Seen] = []
        self._numbers = itertools.count(1)
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Connection]] = []
        self._wake_r, self._wake_w = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"origin-{name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> RecordingOrigin:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what a test asks

    def settle(self) -> None:
        """Returns when everything that had reached this origin's sockets is recorded."""

        def drain() -> None:
            while self._round(0):
                pass

        self.call(drain)

    def mark(self) -> int:
        """A position in the record; ``since(mark)`` gives what came after it."""
        self.settle()
        return next(self._numbers)

    def since(self, mark: int) -> list[Seen]:
        return [s for s in self.seen if s.sequence > mark]

    def partials(self) -> list[tuple[Connection, Request | None]]:
        """Connections in the middle of a request, or that ended or failed there."""
        return [(c, c.partial) for c in self.connections if not c.reader.idle]

    def faults(self) -> list[str]:
        return [c.fault for c in self.connections if c.fault]

    def forget_ended(self) -> None:
        """Drop the record of connections that have ended, so that the next case starts without them."""

        def forget() -> None:
            self.connections = [c for c in self.connections if not c.ended]

        self.call(forget)

    def call(self, work: Callable[[], None]) -> None:
        """Run ``work`` in the origin's thread and wait for it."""
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        self._command(run)
        assert done.wait(60), "the origin thread is stuck"

    def close_connections(self) -> None:
        """End every open connection from this side, as an upstream that restarts does."""

        def close() -> None:
            for connection in self.connections:
                self.drop(connection, "closed")

        self.call(close)

    def answer_late(self, *seen: Seen) -> None:
        """Requests that were left without an answer get it now: their echo."""

        def answer() -> None:
            for each in seen:
                (connection,) = [c for c in self.connections if c.number == each.connection]
                self.send(connection, self.echo(each))

        self.call(answer)

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._wake_w.send(b"x")
        self._thread.join(60)
        for connection in self.connections:
            connection.socket.close()
        self.listener.close()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()

    # --- answers

    def echo(self, seen: Seen) -> bytes:
        """Everything about the request as JSON, for assertions on what arrived."""
        message = seen.message
        body = json.dumps(
            {
                "origin": self.name,
                "connection": seen.connection,
                "method": message.method,
                "target": message.target,
                "version": message.version,
                "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in message.fields],
                "body": message.body.decode("latin-1"),
            }
        ).encode()
        return ok(body, "Content-Type: application/json", f"X-Origin: {self.name}")

    # --- the loop; everything below runs in the origin's thread

    def on_request(self, connection: Connection, message: Request) -> None:
        seen = Seen(next(self._numbers), connection.number, message)
        self.seen.append(seen)
        if connection.answered_head:
            connection.answered_head = False
            return
        answer = self.answer(seen)
        if isinstance(answer, bytes) and message.method == "HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.send(connection, answer)

    def send(self, connection: Connection, reply: Reply | bytes) -> None:
        if isinstance(reply, bytes):
            reply = Reply(reply)
        connection.close_after = reply.close
        connection.outbox += reply.data
        connection.later += reply.segments
        self._flush(connection)

    def drop(self, connection: Connection, how: str) -> None:
        if connection.ended:
            return
        connection.ended = how
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _command(self, work: Callable[[], None]) -> None:
        self._commands.put(work)
        self._wake_w.send(b"x")

    def _run(self) -> None:
        while not self._stopped:
            wait = None
            if self._timers:
                wait = max(0.0, self._timers[0][0] - time.monotonic())
            self._round(wait)
            while not self._commands.empty():
                self._commands.get()()

    def _round(self, wait: float | None) -> int:
        events = self._selector.select(wait)
        work = 0
        for key, mask in events:
            if key.fileobj is self._wake_r:
                self._wake_r.recv(4096)
                continue
            work += 1
            if key.fileobj is self.listener:
                self._accept()
            else:
                self._on_event(key.data, mask)
        self._run_timers()
        return work

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(next(self._numbers), sock, self)
        self.connections.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _on_event(self, connection: Connection, mask: int) -> None:
        if connection.ended:
            return
        if mask & selectors.EVENT_WRITE:
            self._flush(connection)
        if mask & selectors.EVENT_READ and not connection.ended:
            try:
                data = connection.socket.recv(262144)
            except BlockingIOError:
                return
            except OSError:
                self.drop(connection, "reset")
                return
            if data:
                connection.feed(data)
            else:
                self.drop(connection, "eof")

    def _flush(self, connection: Connection) -> None:
        if connection.ended:
            return
        try:
            while connection.outbox:
                sent = connection.socket.send(connection.outbox)
                del connection.outbox[:sent]
        except BlockingIOError:
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
            return
        except OSError:
            self.drop(connection, "reset")
            return
        self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
        self._next_segment(connection)

    def _next_segment(self, connection: Connection) -> None:
        now = time.monotonic()
        if connection.paused_until > now:
            return
        if connection.later:
            piece, pause = connection.later.pop(0)
            connection.outbox += piece
            connection.paused_until = now + pause
            heapq.heappush(self._timers, (connection.paused_until, next(self._numbers), connection))
            self._flush(connection)
        elif connection.close_after:
            self.drop(connection, "closed")

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            connection = heapq.heappop(self._timers)[2]
            self._flush(connection)


class ThreadedOrigin:
    """An upstream written as a blocking function of a socket, for behaviour over time; one thread a connection."""

    def __init__(self, handle: Callable[[socket.socket], None], receive_buffer: int | None = None):
        self.handle = handle
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port: int = self.listener.getsockname()[1]
        self.accepted = 0
        self.errors: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> ThreadedOrigin:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                self.handle(sock)
        except OSError:
            pass  # the gateway went away; what that means is the test's business
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._open.discard(sock)

    def close_connections(self) -> None:
        """End every open connection from this side."""
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.close_connections()
        assert not self.errors, self.errors


def read_head(sock: socket.socket) -> bytes:
    """Bytes up to and with the empty line; what follows in the same segment stays appended."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece
    return data
