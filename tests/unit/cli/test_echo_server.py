"""The demo upstream: says what it saw, and does what its helper paths are called."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from fastgw.cli.echo_server import BadRequest, EchoServer, parse_head


class Client:
    """One connection; ``exchange`` sends bytes and reads one answer with a length or chunks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def exchange(self, request: bytes, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:-2])
        return int(lines[0].split(" ")[1]), fields, await self.body(fields) if body else b""

    async def body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding") != "chunked":
            return (
                await self.reader.readexactly(int(fields["content-length"]))
                if "content-length" in fields
                else await self.reader.read()
            )
        parts = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(parts)


def play(act: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        server = EchoServer("webapp")
        reader, writer = await asyncio.open_connection(*await server.start("127.0.0.1", 0))
        await act(Client(reader, writer))
        writer.close()
        await server.stop()

    asyncio.run(main())


def get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def test_it_answers_with_what_it_saw_and_keeps_the_connection() -> None:
    async def act(client: Client) -> None:
        for _ in range(2):
            status, fields, body = await client.exchange(
                b"POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 5\r\n\r\nhello"
            )
            seen = json.loads(body)
            assert status == 200 and fields["x-echo-service"] == "webapp"
            assert (seen["service"], seen["method"], seen["path"], seen["bodyBytes"]) == ("webapp", "POST", "/a/b?c=d", 5)
            assert seen["headers"] == {"host": "x", "x-one": ["1", "2"], "content-length": "5"}

    play(act)


def test_chunked_bodies_and_trailers_are_read() -> None:
    async def act(client: Client) -> None:
        request = (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
        )
        seen = json.loads((await client.exchange(request))[2])
        assert (seen["bodyBytes"], seen["trailers"]) == (7, {"x-sum": "7"})
        assert json.loads((await client.exchange(get("/next")))[2])["path"] == "/next"

    play(act)


def test_helper_paths() -> None:
    async def streams(client: Client) -> None:
        assert len((await client.exchange(get("/bytes/100000")))[2]) == 100_000
        assert (await client.exchange(get("/chunked/3")))[2] == b"chunk 0\nchunk 1\nchunk 2\n"
        assert (await client.exchange(get("/drip/2/0.01")))[2] == b"chunk 0\nchunk 1\n"
        assert (await client.exchange(get("/delay/0.01")))[0] == 200
        assert (await client.exchange(get("/headers", "x-a: b\r\n")))[2] == b"Host: a\nx-a: b\n"
        status, fields, body = await client.exchange(get("/stream/70000"))
        assert (status, len(body), fields["connection"]) == (200, 70_000, "close")

    async def aborts(client: Client) -> None:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.exchange(get("/abort"))

    for act_one in (streams, aborts):
        play(act_one)

    async def no_body(client: Client) -> None:
        assert (await client.exchange(get("/status/503")))[0] == 503
        client.writer.write(get("/status/204"))
        assert b"204 No Content" in await client.reader.readuntil(b"\r\n\r\n")
        client.writer.write(b"HEAD /bytes/10 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"content-length: 10" in await client.reader.readuntil(b"\r\n\r\n")
        assert json.loads((await client.exchange(get("/after")))[2])["path"] == "/after"

    play(no_body)


def test_the_client_is_asked_to_continue() -> None:
    async def act(client: Client) -> None:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert json.loads((await client.exchange(b"ok"))[2])["bodyBytes"] == 2

    play(act)


@pytest.mark.parametrize(
    "request_bytes", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_request_is_refused(request_bytes: bytes) -> None:
    async def act(client: Client) -> None:
        status, fields, _ = await client.exchange(request_bytes)
        assert (status, fields["connection"]) == (400, "close")
        assert await client.reader.read() == b""

    play(act)


def test_connections_end_as_asked() -> None:
    async def act(client: Client) -> None:
        _, fields, _ = await client.exchange(get("/", "Connection: close\r\n"))
        assert fields["connection"] == "close" and await client.reader.read() == b""

    play(act)
    assert parse_head(b"GET / HTTP/1.0").keep_alive is False
    assert parse_head(b"GET / HTTP/1.0\r\nConnection: Keep-Alive").keep_alive is True
    with pytest.raises(BadRequest):
        parse_head(b"GET  / HTTP/1.1")


def test_clients_that_do_not_read_or_have_gone_do_not_keep_it_from_ending() -> None:
    """It used to wait at its end for answers to be taken that nobody takes."""
    command = [sys.executable, "-m", "fastgw.cli.main", "echo", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline().rpartition(":")[2]))
        with contextlib.ExitStack() as held:
            for path in ("/bytes/50000000", "/stream/50000000", "/drip/1000/1", "/delay/1000", "/") * 4:
                client = held.enter_context(socket.create_connection(address, 20))
                client.sendall(get(path))
                if path != "/delay/1000":
                    assert client.recv(1)
            for turn in range(100):
                with socket.create_connection(address, 20) as cut:
                    cut.sendall(get("/bytes/50000000"))
                    if turn % 2:
                        cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            process.terminate()
            assert process.wait(30) == 0
        assert process.stderr is not None and process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()
