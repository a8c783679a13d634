"""A raw HTTP/2 client: sends the very frames it is given, right or wrong, and records what comes back."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

TIMEOUT_S = 10.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)

Field = tuple[bytes, bytes]

# --- header blocks (RFC 7541)


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """A number in the low ``prefix_bits`` of its first byte, whose other bits are ``first``."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*out, value])


def text(value: bytes, *, huffman: bool = False) -> bytes:
    """A string, plain or in Huffman code."""
    if not huffman:
        return integer(len(value), 7) + value
    coded = bytes(HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(value))
    return integer(len(coded), 7, 0x80) + coded


def literal(name: bytes | int, value: bytes, *, kind: int = 0x00, huffman: bool = False) -> bytes:
    """A literal field; ``name`` may be an index. ``kind``: 0x00 not indexed, 0x10 never indexed, 0x40 indexed."""
    bits = 6 if kind == 0x40 else 4
    if isinstance(name, int):
        return integer(name, bits, kind) + text(value, huffman=huffman)
    return integer(0, bits, kind) + text(name, huffman=huffman) + text(value, huffman=huffman)


def block(fields: Sequence[Field]) -> bytes:
    """Fields as literals that stay out of the dynamic table, whatever bytes they hold."""
    return b"".join(literal(name, value) for name, value in fields)


# --- frames (RFC 9113 section 6)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """``length`` lies about the payload's."""
    said = len(payload) if length is None else length
    return said.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def data(stream: int, payload: bytes, flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, stream, payload)


def headers(stream: int, payload: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, payload)


def continuation(stream: int, payload: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, payload)


def dependency(on: int, weight: int = 16, *, exclusive: bool = False) -> bytes:
    """The five bytes of a priority."""
    return (on | (0x80000000 if exclusive else 0)).to_bytes(4, "big") + bytes([weight - 1])


def priority(stream: int, on: int = 0, weight: int = 16, *, exclusive: bool = False) -> bytes:
    return frame(PRIORITY, 0, stream, dependency(on, weight, exclusive=exclusive))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(code.to_bytes(2, "big") + value.to_bytes(4, "big") for code, value in pairs))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def ping(payload: bytes = b"pingpong", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def goaway(last: int = 0, code: int = NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


# --- the connection


class H2Wire:
    """One connection over any socket, and the record of what the server sent.

    ``ended``: "" while open, else "eof" or "reset". ``frames``: kind, flags, stream and payload of each in order.
    """

    def __init__(self, sock: socket.socket, scheme: str = "http", authority: str = "webapp.test"):
        self.socket = sock
        self.scheme, self.authority = scheme, authority
        self.ended = ""
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.fields: dict[int, list[Field]] = {}
        self.trailers: dict[int, list[Field]] = {}
        self.bodies: dict[int, bytes] = {}
        self.complete: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self.settings: dict[int, int] = {}
        self.settings_acks = 0
        self.pongs: list[bytes] = []
        self._decoder = hpack.Decoder()
        self._received = b""
        self._block = b""
        sock.settimeout(TIMEOUT_S)

    def __enter__(self) -> H2Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def start(self, *pairs: tuple[int, int]) -> H2Wire:
        """Preface and SETTINGS; returns when the server's have come, and its acknowledgement."""
        self.send(PREFACE + settings(*pairs))
        self.read_until(lambda: bool(self.settings_acks) and any(kind == SETTINGS for kind, *_ in self.frames))
        assert self.frames and self.frames[0][0] == SETTINGS, f"the server began with {self.frames[:1]}"
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
        return headers(stream, self.request(*more, method=b"POST"), END_HEADERS)

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
        self._received += piece
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                return
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9], "big") & 0x7FFFFFFF
            payload = self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            self.frames.append((kind, flags, stream, payload))
            self._on_frame(kind, flags, stream, payload)

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (HEADERS, CONTINUATION):
            assert not flags & (PADDED | WITH_PRIORITY), "the gateway neither pads nor ranks"
            self._block += payload
            if flags & END_HEADERS:
                fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(self._block, raw=True)]
                self._block = b""
                (self.trailers if stream in self.fields and self.status(stream) >= 200 else self.fields)[stream] = fields
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind == SETTINGS and flags & ACK:
            self.settings_acks += 1
        elif kind == SETTINGS:
            for at in range(0, len(payload), 6):
                self.settings[int.from_bytes(payload[at : at + 2], "big")] = int.from_bytes(payload[at + 2 : at + 6], "big")
            self.send(frame(SETTINGS, ACK, 0))
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.complete.add(stream)

    def status(self, stream: int) -> int:
        """0 before the answer."""
        return int(dict(self.fields.get(stream, [])).get(b":status", b"0"))

    def answered(self, stream: int) -> bool:
        return stream in self.complete

    def __str__(self) -> str:
        codes = {stream: self.status(stream) for stream in self.fields}
        end = f"GOAWAY {self.goaway}" if self.goaway is not None else "no GOAWAY"
        return f"statuses {codes}, complete {sorted(self.complete)}, resets {self.resets}, {end}, ended {self.ended!r}"
