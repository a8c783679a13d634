"""A raw HTTP/2 client: sends the very frames it is given, right or wrong, and records what comes back."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence

from wire.h2 import (
    ACK,
    DATA,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WITH_PRIORITY,
    Frame,
    Reader,
    Stream,
    block,
    frame,
    headers,
    settings,
)

TIMEOUT_S = 60.0
Field = tuple[bytes, bytes]


class H2Wire:
    """One connection over any socket, and the record of what the server sent. ``ended``: "" while open, else "eof" or "reset"."""

    def __init__(self, sock: socket.socket, scheme: str = "http", authority: str = "webapp.test"):
        self.socket = sock
        self.scheme, self.authority = scheme, authority
        self.ended = ""
        self.reader = Reader()
        sock.settimeout(TIMEOUT_S)

    def __enter__(self) -> H2Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def start(self, *pairs: tuple[int, int]) -> H2Wire:
        """Preface and SETTINGS; returns when the server's have come, and its acknowledgement."""
        self.send(PREFACE + settings(pairs))
        self.read_until(lambda: bool(self.settings_acks) and len(self.frames) > self.settings_acks)
        assert self.frames and self.frames[0].kind == SETTINGS, f"the server began with {self.frames[:1]}"
        return self

    def request(self, *more: Field, method: bytes = b"GET", path: bytes = b"/", without: Sequence[bytes] = ()) -> bytes:
        """The header block of a request."""
        pseudo = [
            (b":method", method),
            (b":scheme", self.scheme.encode()),
            (b":path", path),
            (b":authority", self.authority.encode()),
        ]
        return block([*(field for field in pseudo if field[0] not in without), *more])

    def get(self, stream: int = 1) -> bytes:
        """A whole GET request."""
        return headers(stream, self.request())

    def post(self, stream: int = 1, *more: Field) -> bytes:
        """A request whose body is to come."""
        return headers(stream, self.request(*more, method=b"POST"), end=False)

    def send(self, *frames: bytes) -> None:
        """A server that has closed already ends the sending silently; what it said is what counts."""
        try:
            self.socket.sendall(b"".join(frames))
        except OSError:
            return

    def read_until(self, done: Callable[[], bool], seconds: float = TIMEOUT_S) -> None:
        """Receive until ``done`` or the end. Raises AssertionError when neither comes in time."""
        deadline = time.monotonic() + seconds
        while not done() and not self.ended:
            left = deadline - time.monotonic()
            assert left > 0, f"nothing more came; {self}"
            self._receive(left)

    def read_what_is_there(self) -> None:
        """Without waiting."""
        count = -1
        while not self.ended and count != len(self.frames):
            count = len(self.frames)
            self._receive(0)

    def _receive(self, seconds: float) -> None:
        pending = getattr(self.socket, "pending", lambda: 0)
        if not pending() and not select.select([self.socket], [], [], seconds)[0]:
            return
        try:
            piece = self.socket.recv(65536)
        except OSError:
            self.ended = "reset"
            return
        if not piece:
            self.ended = "eof"
            return
        for f in self.reader.feed(piece):
            if f.kind == HEADERS:
                assert not f.flags & (PADDED | WITH_PRIORITY), "the gateway neither pads nor ranks"
            if f.kind == SETTINGS and not f.flags & ACK:
                self.send(frame(SETTINGS, ACK))

    @property
    def frames(self) -> list[Frame]:
        return self.reader.frames

    @property
    def settings(self) -> dict[int, int]:
        """The server's."""
        return self.reader.settings

    @property
    def settings_acks(self) -> int:
        return sum(f.kind == SETTINGS and bool(f.flags & ACK) for f in self.frames)

    @property
    def pongs(self) -> list[bytes]:
        return self.reader.pongs

    @property
    def goaway(self) -> int | None:
        """The code of the last one."""
        return self.reader.goaways[-1].code_number if self.reader.goaways else None

    @property
    def resets(self) -> dict[int, int]:
        """Codes by stream."""
        return {f.stream: f.code_number for f in self.frames if f.kind == RST_STREAM}

    @property
    def complete(self) -> set[int]:
        """Streams that the server has ended in order."""
        return {f.stream for f in self.frames if f.kind in (DATA, HEADERS) and f.flags & END_STREAM}

    @property
    def statuses(self) -> dict[int, int]:
        """Of the streams with an answer."""
        return {number: stream.status for number, stream in self.reader.streams.items() if stream.heads}

    def head(self, stream: int) -> list[tuple[str, str]]:
        """Of the answer."""
        found = self.reader.streams.get(stream, Stream())
        return next((head for head in found.heads if int(dict(head).get(":status", "0")) >= 200), [])

    def body(self, stream: int) -> bytes:
        return self.reader.streams.get(stream, Stream()).body

    def status(self, stream: int) -> int:
        """0 before the answer."""
        return self.reader.streams.get(stream, Stream()).status

    def answered(self, stream: int) -> bool:
        return stream in self.complete

    def __str__(self) -> str:
        end = f"GOAWAY {self.goaway}" if self.goaway is not None else "no GOAWAY"
        return f"statuses {self.statuses}, complete {sorted(self.complete)}, resets {self.resets}, {end}, ended {self.ended!r}"
