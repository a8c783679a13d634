"""Clients of a soak beside the crowd's: WebSockets, gRPC, relayed TCP, uploads, readers that are slow, clients that give up."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .client import Client, request_bytes
from .crowd import Broken, Connection, Http1Connection, Kind
from .grpc_peers import Echo
from .websocket import websocket

BULK_BYTES = 1_500_000
UPLOAD_BYTES = 300_000


class WebSocketConnection:
    def __init__(self, port: int, host: str) -> None:
        self.over = False
        self._socket = websocket(port, host, "/echo").__enter__()

    def ask(self, target: str) -> int:
        self._socket.send(target)
        if self._socket.recv(timeout=60) != target:
            raise Broken("another message came back")
        return 1

    def close(self) -> None:
        self._socket.close()


class GrpcConnection:
    """One call of a message, one that streams several."""

    def __init__(self, port: int, host: str) -> None:
        self.over = False
        self._echo = Echo(port, host)

    def ask(self, target: str) -> int:
        try:
            answer = self._echo.unary(target.encode(), timeout=60)
            messages = list(self._echo.count(b"5", timeout=60))
        except Exception as error:  # grpc has its own kind
            raise Broken(f"gRPC: {error}") from error
        if not answer.endswith(target.encode()) or messages != [b"%d" % n for n in range(5)]:
            raise Broken(f"gRPC: {answer!r} {messages!r}")
        return 2

    def close(self) -> None:
        self._echo.channel.close()


class Upload(Http1Connection):
    def ask(self, target: str) -> int:
        answer = self.client.request(request_bytes("POST", target, self.host, (), b"u" * UPLOAD_BYTES))
        if answer.status != 200 or json.loads(answer.body)["bodyBytes"] != UPLOAD_BYTES:
            raise Broken(f"upload: {answer.status} {answer.body[:200]!r}")
        return 1


class SlowReader(Http1Connection):
    """Takes an answer in small pieces, with pauses."""

    def ask(self, target: str) -> int:
        self.client.send(request_bytes("GET", f"/bytes/{BULK_BYTES}", self.host, ("Connection: close",)))
        got = 0
        while piece := self.client.socket.recv(1 << 16):
            got += len(piece)
            time.sleep(0.03)
        if got < BULK_BYTES:
            raise Broken(f"a slow reader got {got} of {BULK_BYTES} bytes")
        return 1


class GivesUp(Http1Connection):
    """Resets or closes in the middle of its request, of the wait, or of the answer, by turns."""

    turn = 0

    def ask(self, target: str) -> int:
        GivesUp.turn += 1
        sock: socket.socket = self.client.socket
        if GivesUp.turn % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        whole = (request_bytes("GET", "/delay/5", self.host), request_bytes("GET", f"/bytes/{BULK_BYTES}", self.host))
        if GivesUp.turn % 3 == 0:
            sock.sendall(request_bytes("POST", target, self.host, (), b"u" * UPLOAD_BYTES)[: UPLOAD_BYTES // 2])
        else:
            sock.sendall(whole[GivesUp.turn % 3 - 1])
        if GivesUp.turn % 3 == 2:
            sock.recv(1000)
        return 1


def soak_kinds(port: int, tcp_port: int, hosts: dict[str, str]) -> list[Kind]:
    """``hosts`` by upstream: ``echo``, ``websocket``, ``grpc``. The TCP port is relayed to the first."""
    host = hosts["echo"]

    def http1(kind: Callable[..., Connection], at: int = port, **options: Any) -> Callable[[], Connection]:
        return lambda: kind(Client(at, **options), host)

    return [
        Kind("WebSocket, kept", lambda: WebSocketConnection(port, hosts["websocket"])),
        Kind("WebSocket, new", lambda: WebSocketConnection(port, hosts["websocket"]), 1),
        Kind("gRPC", lambda: GrpcConnection(port, hosts["grpc"]), 200),
        Kind("TCP, kept", http1(Http1Connection, tcp_port)),
        Kind("TCP, new", http1(Http1Connection, tcp_port), 1),
        Kind("uploads", http1(Upload)),
        Kind("slow readers", http1(SlowReader, receive_buffer=16384), 1),
        Kind("clients that give up", http1(GivesUp), 1),
    ]
