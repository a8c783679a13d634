"""A small HTTP/1.1 upstream on asyncio: answers with what it saw. For demos and tests, not for the open network.

``/status/503`` ``/delay/0.2`` ``/bytes/1000000`` ``/chunked/5`` (chunks) ``/stream/1000000`` (until close) ``/drip/5/0.1``
(chunks, seconds between) ``/close`` (answers, then closes) ``/abort`` (closes without an answer) ``/headers`` (as plain text)
behave as they are called; every other path is answered with JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

HEAD_BYTES = 1 << 17
BLOCK = b"0123456789abcdef" * 4096
_PATH = re.compile(r"/(status|delay|bytes|chunked|stream|drip|close|abort|headers)(?:/([0-9.]+))?(?:/([0-9.]+))?$")


class BadRequest(Exception):
    """What came is not HTTP/1.1 as this server reads it."""


class Request(NamedTuple):
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keep_alive(self) -> bool:
        tokens = {token.strip().lower() for value in self.values("connection") for token in value.split(",")}
        return "keep-alive" in tokens if self.version == "HTTP/1.0" else "close" not in tokens


def parse_head(head: bytes) -> Request:
    """A request head without its empty line. Raises BadRequest."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(f"request line {lines[0]!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(f"header line {line!r}")
        headers.append((name, value.strip(" \t")))
    return Request(words[0], words[1], words[2], headers)


class EchoServer:
    """``requests`` counts what was answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.WriteTransport] = set()

    async def start(self, address: str, port: int) -> tuple[str, int]:
        """Where it listens. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, address, port, limit=HEAD_BYTES, backlog=1024)
        bound = self._server.sockets[0].getsockname()
        return bound[0], bound[1]

    async def stop(self) -> None:
        """Cuts what is under way: a client that does not read would have a polite end wait for ever."""
        if self._server:
            self._server.close()
            for transport in list(self._open):
                transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer.transport)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
        finally:
            self._open.discard(writer.transport)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another one may follow."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request = parse_head(head[:-4])
            if "100-continue" in request.values("expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body_bytes, trailers = await read_body(reader, request)
        except (BadRequest, asyncio.LimitOverrunError, ValueError) as error:
            writer.write(head_text(400, [("content-length", "0"), ("connection", "close"), ("x-echo-error", repr(str(error)))]))
            await writer.drain()
            return False
        self.requests += 1
        return await self._answer(request, body_bytes, trailers, writer)

    async def _answer(
        self, request: Request, body_bytes: int, trailers: list[tuple[str, str]], writer: asyncio.StreamWriter
    ) -> bool:
        found = _PATH.match(request.path)
        what, first, second = found.groups() if found else ("", None, None)
        if what == "abort":
            writer.transport.abort()
            return False
        keep = request.keep_alive and what not in ("close", "stream")
        if what == "delay":
            await asyncio.sleep(float(first or 0))
        if what in ("bytes", "chunked", "stream", "drip"):
            await self._send_stream(what, float(first or 1), float(second or 0), request, keep, writer)
            return keep
        status = int(float(first or 200)) if what == "status" else 200
        body = self._describe(request, body_bytes, trailers) if what != "headers" else _plain_headers(request)
        fields = self._fields(keep)
        if status >= 200 and status not in (204, 304):
            kind = "text/plain" if what == "headers" else "application/json"
            fields += [("content-type", kind), ("content-length", str(len(body)))]
        else:
            body = b""
        writer.write(head_text(status, fields) + (b"" if request.method == "HEAD" else body))
        await writer.drain()
        return keep

    async def _send_stream(
        self, what: str, count: float, pause_s: float, request: Request, keep: bool, writer: asyncio.StreamWriter
    ) -> None:
        chunked = what in ("chunked", "drip")
        length = [("transfer-encoding", "chunked")] if chunked else [("content-length", str(int(count)))] if what == "bytes" else []
        writer.write(head_text(200, [*self._fields(keep), ("content-type", "application/octet-stream"), *length]))
        if request.method == "HEAD":
            return
        async for part in _parts(chunked, int(count), pause_s):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _fields(self, keep: bool) -> list[tuple[str, str]]:
        fields = [("date", formatdate(usegmt=True)), ("server", "fastgw-echo"), ("x-echo-service", self.name)]
        return fields if keep else [*fields, ("connection", "close")]

    def _describe(self, request: Request, body_bytes: int, trailers: list[tuple[str, str]]) -> bytes:
        headers: dict[str, str | list[str]] = {}
        for name, value in request.headers:
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else [*([before] if isinstance(before, str) else before), value]
        seen = {
            "service": self.name,
            "method": request.method,
            "path": request.target,
            "protocol": request.version,
            "headers": headers,
            "bodyBytes": body_bytes,
        }
        if trailers:
            seen["trailers"] = dict(trailers)
        return json.dumps(seen, indent=2).encode() + b"\n"


async def _parts(chunked: bool, count: int, pause_s: float) -> AsyncIterator[bytes]:
    if chunked:
        for index in range(count):
            if index:
                await asyncio.sleep(pause_s)
            yield b"chunk %d\n" % index
        return
    while count > 0:
        part = BLOCK[: min(count, len(BLOCK))]
        count -= len(part)
        yield part


async def read_body(reader: asyncio.StreamReader, request: Request) -> tuple[int, list[tuple[str, str]]]:
    """Read and forget: (bytes, trailers). Raises BadRequest."""
    if request.values("transfer-encoding"):
        if [value.lower() for value in request.values("transfer-encoding")] != ["chunked"]:
            raise BadRequest("transfer-encoding")
        return await _read_chunks(reader)
    lengths = request.values("content-length")
    if not lengths:
        return 0, []
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise BadRequest("content-length")
    left = int(lengths[0])
    while left:
        part = await reader.read(min(left, 1 << 16))
        if not part:
            raise ConnectionError("the body ended early")
        left -= len(part)
    return int(lengths[0]), []


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    total = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0].strip(), 16)
        if size == 0:
            break
        left = size
        while left:
            part = await reader.read(min(left, 1 << 16))
            if not part:
                raise ConnectionError("the body ended early")
            left -= len(part)
        if await reader.readexactly(2) != b"\r\n":
            raise BadRequest("chunk end")
        total += size
    trailers = []
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line.decode("latin-1").partition(":")
        trailers.append((name.lower(), value.strip()))
    return total, trailers


def head_text(status: int, fields: list[tuple[str, str]]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _plain_headers(request: Request) -> bytes:
    return "".join(f"{name}: {value}\n" for name, value in request.headers).encode("latin-1")
