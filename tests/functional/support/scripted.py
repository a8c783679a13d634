"""Upstreams of either HTTP version that answer by one script, so that a test says once what both of them do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from .http1 import Request
from .origin import RecordingOrigin, Reply, Seen, ThreadedOrigin

Pair = tuple[str, str]
RESET_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@dataclass
class Asked:
    """A complete request as it came; names in lower case, :authority as host. ``names`` are those of HTTP/1.1 as written."""

    method: str
    target: str
    fields: list[Pair]
    body: bytes = b""
    names: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def value(self, name: str) -> str | None:
        found = self.values(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None

    @property
    def attempt(self) -> int:
        return int(self.value("x-envoy-attempt-count") or 0)


@dataclass
class Say:
    """What to answer, and how it ends.

    whole     the answer
    silence   nothing, until ``release()`` or ``break_off()``; pending  the same after the head and half of the body
    cut       the end of the connection before any byte; reset, refuse  RST_STREAM (HTTP/1.1: RST of the connection)
    garbage   bytes that are no answer
    """

    status: int = 200
    fields: Sequence[Pair] = ()
    body: bytes = b"hello"
    end: str = "whole"


Script = Callable[[Asked], Say]


class ScriptedOrigin:
    """What both have. ``say`` may be exchanged at any time; ``seen`` holds all complete requests in order."""

    version = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[Asked] = []
        self.say: Script = self.hello
        self.port = 0

    def hello(self, asked: Asked) -> Say:
        return Say(fields=[("x-origin", self.name)])

    def always(self, *answer: Any, **rest: Any) -> None:
        """The same answer to everybody from now on."""
        said = Say(*answer, **rest)
        self.say = lambda asked: said

    def mark(self) -> int:
        return len(self.seen)

    def since(self, mark: int) -> list[Asked]:
        return self.seen[mark:]

    def release(self) -> None:
        """Gives their answers to all requests that wait for one."""
        raise NotImplementedError

    def break_off(self) -> None:
        """Ends the connections of all requests that wait for the rest of an answer."""
        raise NotImplementedError

    def close_connections(self) -> None:
        """Ends all of them from this side."""
        raise NotImplementedError

    def reset(self) -> None:
        """As at the beginning; nobody waits any more."""
        self.release()
        self.say = self.hello

    def stop(self) -> None:
        raise NotImplementedError


class OriginHttp1(ScriptedOrigin):
    version = "HTTP/1.1"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.under = RecordingOrigin(name)
        self.under.answer = self._answer
        self.port = self.under.port
        self._waiting: list[tuple[int, bytes]] = []

    def stop(self) -> None:
        self.under.stop()

    def mark(self) -> int:
        self.under.settle()
        return super().mark()

    def release(self) -> None:
        def answer() -> None:
            for number, data in self._waiting:
                self.under.send(self._connection(number), Reply(data))
            self._waiting.clear()

        self.under.call(answer)

    def break_off(self) -> None:
        def end() -> None:
            for number, _ in self._waiting:
                self.under.drop(self._connection(number), "closed")
            self._waiting.clear()

        self.under.call(end)

    def close_connections(self) -> None:
        self.under.close_connections()

    def _connection(self, number: int) -> Any:
        return next(c for c in self.under.connections if c.number == number)

    def _answer(self, seen: Seen) -> Reply:
        asked = asked_http1(seen.message)
        self.seen.append(asked)
        said = self.say(asked)
        head, body = written(said, asked.method)
        if said.end == "whole":
            return Reply(head + body)
        if said.end in ("silence", "pending"):
            at_once = b"" if said.end == "silence" else head + body[: len(body) // 2]
            self._waiting.append((seen.connection, (head + body)[len(at_once) :]))
            return Reply(at_once)
        if said.end in ("reset", "refuse"):
            self._connection(seen.connection).socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        return Reply(b"SSH-2.0-sshd\r\n\r\n" if said.end == "garbage" else b"", close=True)


def asked_http1(message: Request) -> Asked:
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message.fields]
    names = [name.decode("latin-1") for name, _ in message.fields]
    return Asked(message.method, message.target, pairs, bytes(message.body), names)


def written(said: Say, method: str) -> tuple[bytes, bytes]:
    """Head and body of HTTP/1.1."""
    bare = said.status in (204, 304)
    lines = [f"HTTP/1.1 {said.status} Said", *(f"{name}: {value}" for name, value in said.fields)]
    if not bare:
        lines.append(f"Content-Length: {len(said.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), b"" if bare or method == "HEAD" else said.body


class OriginHttp2(ScriptedOrigin):
    """HTTP/2 with prior knowledge, by h2; a thread a connection. Bodies fit into the first window."""

    version = "HTTP/2"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.under = ThreadedOrigin(self._serve)
        self.port = self.under.port
        self._waiting: list[tuple[_Connection, int, Say, int]] = []
        self._lock = threading.Lock()

    def stop(self) -> None:
        self.under.stop()

    def release(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for connection, stream, said, sent in waiting:
            with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
                connection.answer(stream, said, sent)

    def break_off(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for connection, *_ in waiting:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def reset_streams(self) -> None:
        """RST_STREAM(INTERNAL_ERROR) for all that wait for the rest of an answer."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for connection, stream, *_ in waiting:
            connection.reset(stream, refused=False)

    def close_connections(self) -> None:
        self.under.close_connections()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):  # a peer that speaks something else is sent away
            self._converse(_Connection(sock))

    def _converse(self, connection: _Connection) -> None:
        requests: dict[int, Asked] = {}
        while data := connection.sock.recv(65536):
            for event in connection.take(data):
                if isinstance(event, h2.events.RequestReceived):
                    requests[event.stream_id] = asked_http2(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    requests[event.stream_id].body += event.data
                elif isinstance(event, h2.events.StreamReset):
                    requests.pop(event.stream_id, None)
                elif isinstance(event, h2.events.StreamEnded):
                    asked = requests.pop(event.stream_id)
                    self.seen.append(asked)
                    if not self._answer(connection, event.stream_id, self.say(asked)):
                        return
            connection.flush()

    def _answer(self, connection: _Connection, stream: int, said: Say) -> bool:
        """False: the connection ends now."""
        if said.end == "whole":
            connection.answer(stream, said, 0)
        elif said.end in ("silence", "pending"):
            sent = 0
            if said.end == "pending":
                sent = len(said.body) // 2
                connection.begin(stream, said, sent)
            with self._lock:
                self._waiting.append((connection, stream, said, sent if said.end == "pending" else -1))
        elif said.end in ("reset", "refuse"):
            connection.reset(stream, refused=said.end == "refuse")
        elif said.end == "garbage":
            connection.sock.sendall(b"\xff" * 64)
        return said.end != "cut"


class _Connection:
    """An h2 connection over its socket, for several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lock = threading.RLock()
        self.under = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self.under.initiate_connection()
        self.flush()

    def take(self, data: bytes) -> list[Any]:
        with self.lock:
            events = list(self.under.receive_data(data))
            for event in events:
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.under.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()
            return events

    def flush(self) -> None:
        with self.lock:
            self.sock.sendall(self.under.data_to_send())

    def begin(self, stream: int, said: Say, n: int) -> None:
        """The head and the first n bytes."""
        with self.lock:
            self.under.send_headers(stream, [(":status", str(said.status)), *said.fields])
            self.under.send_data(stream, said.body[:n])
            self.flush()

    def answer(self, stream: int, said: Say, sent: int) -> None:
        """All of it; with ``sent`` above 0 what comes after so many bytes."""
        with self.lock:
            if sent <= 0:
                self.under.send_headers(stream, [(":status", str(said.status)), *said.fields])
            self.under.send_data(stream, said.body[max(sent, 0) :], end_stream=True)
            self.flush()

    def reset(self, stream: int, *, refused: bool) -> None:
        code = h2.errors.ErrorCodes.REFUSED_STREAM if refused else h2.errors.ErrorCodes.INTERNAL_ERROR
        with self.lock:
            self.under.reset_stream(stream, code)
            self.flush()


def asked_http2(headers: Sequence[Any]) -> Asked:
    pseudo = {name: value for name, value in headers if name.startswith(":")}
    pairs = [(name, value) for name, value in headers if not name.startswith(":")]
    return Asked(pseudo[":method"], pseudo[":path"], [("host", pseudo[":authority"]), *pairs])
