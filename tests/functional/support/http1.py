"""A strict HTTP/1 reader for the tests: the view of a peer that forgives nothing (RFC 9112).

It is written independently of the gateway's own parser, and is used on both sides: by the recording origin for what the gateway
sends, and by the test client for what the gateway answers. Anything doubtful raises Malformed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
FIELD_VALUE = re.compile(rb"[\t \x21-\x7e\x80-\xff]*\Z")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/1\.[01])\Z")
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)\Z")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}\Z")
# what a client may send and the gateway may take: extensions and blanks after the size, zeros before it
CHUNK_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,16})[\t ]*(;[\t \x21-\x7e\x80-\xff]*)?\Z")

NONE, LENGTH, CHUNKED, UNTIL_CLOSE = "none", "length", "chunked", "until-close"


class Malformed(Exception):
    """The peer sent something that a strict reader refuses."""


@dataclass
class Message:
    """One request or response. ``raw`` holds every byte of it as it came; ``complete`` says that its end was seen."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    framing: str = NONE
    body: bytearray = field(default_factory=bytearray)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def values(self, name: str) -> list[str]:
        """All values of a field, in order, as latin-1 text."""
        wanted = name.lower().encode()
        return [v.decode("latin-1") for n, v in self.fields if n.lower() == wanted]

    def value(self, name: str) -> str | None:
        """The only value of a field; None when it is absent; a repeated field is an error of the test's peer."""
        values = self.values(name)
        if len(values) > 1:
            raise Malformed(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode("latin-1")


class Request(Message):
    """Adds the parts of the request line."""

    @property
    def method(self) -> str:
        return self.start.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        return self.start.split(b" ")[1].decode("latin-1")

    @property
    def version(self) -> str:
        return self.start.split(b" ")[2].decode()


class Response(Message):
    """Adds the parts of the status line. ``interim`` are the 1xx responses that came before it."""

    interim: list[Response]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def version(self) -> str:
        return self.start.split(b" ")[0].decode()


def parse_fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Field lines without their CRLF."""
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name):
            raise Malformed(f"bad field line {line[:80]!r}")
        if not FIELD_VALUE.match(value):
            raise Malformed(f"bad field value {line[:80]!r}")
        fields.append((name, value.strip(b" \t")))
    return fields


def split_lines(head: bytes) -> list[bytes]:
    lines = head.split(b"\r\n")
    for line in lines:
        if b"\r" in line or b"\n" in line:
            raise Malformed(f"bare CR or LF in {line[:80]!r}")
    return lines


def length_of(message: Message) -> int | None:
    """The number of Content-Length; None without one; refuses what two readers could read differently."""
    lengths = message.values("content-length")
    codings = message.values("transfer-encoding")
    if len(lengths) > 1 or len(codings) > 1:
        raise Malformed("a framing field came twice")
    if lengths and codings:
        raise Malformed("both content-length and transfer-encoding")
    if codings and codings[0].lower() != "chunked":
        raise Malformed(f"transfer-encoding {codings[0]!r}")
    if not lengths:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Malformed(f"content-length {lengths[0]!r}")
    return int(lengths[0])


def request_framing(message: Message) -> tuple[str, int]:
    length = length_of(message)
    if message.values("transfer-encoding"):
        return CHUNKED, 0
    return (LENGTH, length) if length else (NONE, 0)


class Reader:
    """Feed it bytes; finished messages are handed to ``on_message``, the one under way is ``current``."""

    def __init__(
        self, make: Callable[[bytes], Message], framing: Callable[[Message], tuple[str, int]], on_message: Callable[[Message], None]
    ):
        self.make = make
        self.framing = framing
        self.on_message = on_message
        self.buffer = bytearray()
        self.current: Message | None = None
        self.left = 0
        self.state = "head"
        self.of_client = False

    def feed(self, data: bytes) -> None:
        self.buffer += data
        while self._step():
            pass

    def finish(self) -> None:
        """The peer closed: ends a message that runs until the close."""
        if self.current is not None and self.current.framing == UNTIL_CLOSE:
            self._end()

    @property
    def idle(self) -> bool:
        """Between two messages, nothing begun."""
        return self.current is None and not self.buffer

    def _step(self) -> bool:
        return {"head": self._head, "body": self._body, "size": self._size, "data-end": self._data_end, "trailers": self._trailers}[
            self.state
        ]()

    def _take(self, n: int) -> bytes:
        piece = bytes(self.buffer[:n])
        del self.buffer[:n]
        if self.current is not None:
            self.current.raw += piece
        return piece

    def _head(self) -> bool:
        while self.of_client and self.buffer.startswith(b"\r\n"):
            del self.buffer[:2]
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if b"\n\n" in self.buffer or re.search(rb"(?<!\r)\n", self.buffer):
                raise Malformed(f"bare LF in a head: {bytes(self.buffer[:80])!r}")
            return False
        lines = split_lines(bytes(self.buffer[:end]))
        message = self.make(lines[0])
        message.fields = parse_fields(lines[1:])
        self.current = message
        self._take(end + 4)
        message.framing, self.left = self.framing(message)
        if message.framing == NONE:
            self._end()
        else:
            self.state = "size" if message.framing == CHUNKED else "body"
        return True

    def _body(self) -> bool:
        assert self.current is not None
        if not self.buffer:
            return False
        until_close = self.current.framing == UNTIL_CLOSE
        piece = self._take(len(self.buffer) if until_close else min(self.left, len(self.buffer)))
        self.current.body += piece
        if until_close:
            return False
        self.left -= len(piece)
        if self.left == 0 and self.state == "body":
            if self.current.framing == CHUNKED:
                self.state = "data-end"
            else:
                self._end()
        return True

    def _line(self) -> bytes | None:
        end = self.buffer.find(b"\n")
        if end < 0:
            if len(self.buffer) > 70_000:
                raise Malformed("endless line")
            return None
        if end == 0 or self.buffer[end - 1] != 13 or b"\r" in self.buffer[: end - 1]:
            raise Malformed(f"line not ended by CRLF: {bytes(self.buffer[: end + 1][:80])!r}")
        return self._take(end + 1)[:-2]

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if self.of_client and (match := CHUNK_LINE.match(line)):
            line = match[1]
        if not CHUNK_SIZE.match(line):
            raise Malformed(f"chunk size line {line[:80]!r}")
        self.left = int(line, 16)
        self.state = "body" if self.left else "trailers"
        return True

    def _data_end(self) -> bool:
        if len(self.buffer) < 2:
            return False
        if self._take(2) != b"\r\n":
            raise Malformed("chunk data not ended by CRLF")
        self.state = "size"
        return True

    def _trailers(self) -> bool:
        assert self.current is not None
        line = self._line()
        if line is None:
            return False
        if line:
            self.current.trailers += parse_fields([line])
        else:
            self._end()
        return True

    def _end(self) -> None:
        message = self.current
        assert message is not None
        message.complete = True
        self.current = None
        self.state = "head"
        self.on_message(message)


def make_request(line: bytes) -> Request:
    if not REQUEST_LINE.match(line):
        raise Malformed(f"request line {line[:80]!r}")
    return Request(line, [])


def make_response(line: bytes) -> Response:
    if not STATUS_LINE.match(line):
        raise Malformed(f"status line {line[:80]!r}")
    response = Response(line, [])
    response.interim = []
    return response


def request_reader(on_message: Callable[[Message], None]) -> Reader:
    return Reader(make_request, request_framing, on_message)


def client_reader(on_message: Callable[[Message], None]) -> Reader:
    """For what clients send: also takes the few liberties that RFC 9112 gives them and that never go upstream."""
    reader = request_reader(on_message)
    reader.of_client = True
    return reader


def response_framing(method: str) -> Callable[[Message], tuple[str, int]]:
    """RFC 9112 section 6.3 for the response to ``method``."""

    def framing(message: Message) -> tuple[str, int]:
        assert isinstance(message, Response)
        length = length_of(message)
        status = message.status
        if status < 200 or status == 204:
            if message.values("transfer-encoding") or length is not None:
                raise Malformed(f"framing field in a {status} response")
            return NONE, 0
        if method == "HEAD" or status == 304:
            return NONE, 0
        if message.values("transfer-encoding"):
            return CHUNKED, 0
        if length is None:
            return UNTIL_CLOSE, 0
        return (LENGTH, length) if length else (NONE, 0)

    return framing
