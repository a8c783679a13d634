"""Raw HTTP/2: frames with any content on the way out, right or wrong, events that can be compared on the way in.

Header blocks are written as literals that stay out of the dynamic table, so that any byte can be sent in names and values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)
CODES = ["NO_ERROR", "PROTOCOL", "INTERNAL", "FLOW_CONTROL", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE", "REFUSED", "CANCEL"]
CODES += ["COMPRESSION", "CONNECT", "ENHANCE_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
EXTENDED_CONNECT = 8

Fields = Iterable[tuple[str | bytes, str | bytes]]


# --- frames (RFC 9113 section 6)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """``length`` lies about the payload's."""
    said = len(payload) if length is None else length
    return struct.pack(">I", said)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: Mapping[int, int] | Iterable[tuple[int, int]] = ()) -> bytes:
    pairs = values.items() if isinstance(values, Mapping) else values
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def window_update(stream: int, n: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def continuation(stream: int, payload: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, payload)


def dependency(on: int, weight: int = 16, *, exclusive: bool = False) -> bytes:
    """The five bytes of a priority."""
    return struct.pack(">IB", on | (0x80000000 if exclusive else 0), weight - 1)


def priority(stream: int, on: int = 0, weight: int = 16, *, exclusive: bool = False) -> bytes:
    return frame(PRIORITY, 0, stream, dependency(on, weight, exclusive=exclusive))


def ping(payload: bytes = b"pingpong", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def goaway(last: int = 0, code: int = NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


def data(stream: int, body: bytes = b"", *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, body)


# --- header blocks (RFC 7541)


def integer(n: int, bits: int, first: int = 0) -> bytes:
    """A number in the low ``bits`` of its first byte, whose other bits are ``first`` (section 5.1)."""
    limit = (1 << bits) - 1
    if n < limit:
        return bytes([first | n])
    out, n = bytearray([first | limit]), n - limit
    while n >= 128:
        out.append(n % 128 | 128)
        n //= 128
    return bytes([*out, n])


def text(value: str | bytes, *, huffman: bool = False) -> bytes:
    """A string, plain or in Huffman code."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    if not huffman:
        return integer(len(raw), 7) + raw
    coded = bytes(HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(raw))
    return integer(len(coded), 7, 0x80) + coded


def literal(name: str | bytes | int, value: str | bytes, *, kind: int = 0x00, huffman: bool = False) -> bytes:
    """A literal field; ``name`` may be an index. ``kind``: 0x00 not indexed, 0x10 never indexed, 0x40 indexed."""
    bits = 6 if kind == 0x40 else 4
    if isinstance(name, int):
        return integer(name, bits, kind) + text(value, huffman=huffman)
    return integer(0, bits, kind) + text(name, huffman=huffman) + text(value, huffman=huffman)


def block(fields: Fields) -> bytes:
    """Literals without indexing, with new names."""
    return b"".join(literal(name, value) for name, value in fields)


def head(
    method: str = "GET",
    path: str = "/",
    *more: tuple[str | bytes, str | bytes],
    authority: str = "a.test",
    scheme: str = "http",
) -> list[tuple[str | bytes, str | bytes]]:
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *more]


def headers(stream: int, fields: Fields | bytes, *, end: bool = True, flags: int = END_HEADERS) -> bytes:
    """``fields`` may be a block, or a piece of one."""
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, payload)


def long_headers(stream: int, fields: Fields | bytes, *, end: bool = True) -> bytes:
    """HEADERS and as many CONTINUATION frames as the block needs."""
    raw = fields if isinstance(fields, bytes) else block(fields)
    pieces = [raw[i : i + 16384] for i in range(0, len(raw), 16384)] or [b""]
    frames = []
    for i, piece in enumerate(pieces):
        flags = (END_HEADERS if i + 1 == len(pieces) else 0) | (END_STREAM if end and i == 0 else 0)
        frames.append(frame(CONTINUATION if i else HEADERS, flags, stream, piece))
    return b"".join(frames)


def hello(values: Mapping[int, int] | Iterable[tuple[int, int]] = ()) -> bytes:
    """What a client begins with, the acknowledgement of our SETTINGS included."""
    return PREFACE + settings(values) + frame(SETTINGS, ACK)


# --- what comes back


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> str:
        """Of RST_STREAM and GOAWAY."""
        number = self.code_number
        return CODES[number] if number < len(CODES) else str(number)

    @property
    def code_number(self) -> int:
        """The same."""
        return int(struct.unpack_from(">I", self.payload, 4 if self.kind == GOAWAY else 0)[0])

    @property
    def number(self) -> int:
        """The last stream of GOAWAY, the increment of WINDOW_UPDATE."""
        return int(struct.unpack_from(">I", self.payload)[0]) & 0x7FFFFFFF


@dataclass
class Stream:
    """What came for one stream. ``end``: "", "end", or the code of a RST_STREAM (of the first one)."""

    heads: list[list[tuple[str, str]]] = field(default_factory=list)
    body: bytes = b""
    end: str = ""
    frames: list[Frame] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Of the final head; 0 before it."""
        found = [int(dict(h)[":status"]) for h in self.heads if ":status" in dict(h)]
        return next((s for s in found if s >= 200), 0)

    @property
    def fields(self) -> dict[str, str]:
        """Of the final head."""
        return next((dict(h) for h in self.heads if int(dict(h).get(":status", 0)) >= 200), {})

    @property
    def trailers(self) -> list[tuple[str, str]]:
        return next((h for h in self.heads if ":status" not in dict(h)), [])


class Reader:
    """Frames out of received bytes."""

    def __init__(self) -> None:
        self.rest = b""
        self.frames: list[Frame] = []
        self.streams: dict[int, Stream] = {}
        self.settings: dict[int, int] = {}
        self.goaways: list[Frame] = []
        self.pongs: list[bytes] = []
        self._decoder = hpack.Decoder()
        self._block = b""

    def feed(self, received: bytes) -> list[Frame]:
        """The frames that are whole now."""
        self.rest += received
        new = []
        while len(self.rest) >= 9:
            length = int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self.rest, 3)
            new.append(Frame(kind, flags, stream & 0x7FFFFFFF, self.rest[9 : 9 + length]))
            self.rest = self.rest[9 + length :]
            self._take(new[-1])
        self.frames += new
        return new

    def forget(self) -> None:
        """Drop the record of frames and streams, so that a connection may be long."""
        self.frames.clear()
        self.streams.clear()

    def _take(self, f: Frame) -> None:
        stream = self.streams.setdefault(f.stream, Stream()) if f.stream else Stream()
        stream.frames.append(f)
        if f.kind in (HEADERS, CONTINUATION):
            self._block += f.payload
            if f.flags & END_HEADERS:
                decoded = self._decoder.decode(self._block, raw=True)
                stream.heads.append([(bytes(n).decode("latin-1"), bytes(v).decode("latin-1")) for n, v in decoded])
                self._block = b""
        elif f.kind == DATA:
            stream.body += f.payload
        elif f.kind == RST_STREAM:
            stream.end = stream.end or f.code
        elif f.kind == GOAWAY:
            self.goaways.append(f)
        elif f.kind == PING and f.flags & ACK:
            self.pongs.append(f.payload)
        elif f.kind == SETTINGS and not f.flags & ACK:
            self.settings.update(struct.iter_unpack(">HI", f.payload))
        if f.kind in (HEADERS, DATA) and f.flags & END_STREAM:
            stream.end = stream.end or "end"

    @property
    def goaway(self) -> str:
        """The code of the last GOAWAY, "" without one."""
        return self.goaways[-1].code if self.goaways else ""


def fields_of(case: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a case of h2_requests.tsv, whose first byte says whether the stream ends."""
    items = [item.partition(b"=") for item in case[1:].split(b"|")] if case[1:] else []
    return [(name, value) for name, _, value in items]
