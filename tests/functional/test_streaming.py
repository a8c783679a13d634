"""Big bodies past slow peers: everything arrives, and the gateway holds only a bounded part of it."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import threading
import time
from collections.abc import Callable

import pytest

from .conftest import StartGateway
from .support.client import Client, request_bytes
from .support.config import simple
from .support.gateway import Gateway
from .support.origin import ThreadedOrigin, read_head
from .support.poll import eventually
from .support.processes import private_kib

HOST = "webapp.test"
SIZE = 48 * 1024 * 1024
BLOCK = bytes(range(256)) * 256
LIMIT_KIB_PER_CONNECTION = 256
CONNECTIONS = 8
# what allocators round up to and a first use of code costs, once per worker
SLACK_KIB = 1024


def pattern(offset: int, size: int) -> bytes:
    """``size`` bytes, at the most to the end of a block, of the endless repetition of BLOCK from ``offset`` on."""
    start = offset % len(BLOCK)
    return BLOCK[start : start + size]


def push_until_blocked(sock: socket.socket, limit: int) -> int:
    """Sends the pattern until the peer takes no more for a while; the number of bytes taken."""
    sock.setblocking(False)
    sent = 0
    while sent < limit and select.select([], [sock], [], 0.5)[1]:
        try:
            sent += sock.send(pattern(sent, limit - sent))
        except BlockingIOError:
            continue
    sock.setblocking(True)
    return sent


def worker_kib(gateway: Gateway) -> int:
    return sum(private_kib(pid) for pid in gateway.worker_pids())


@pytest.fixture
def released() -> threading.Event:
    return threading.Event()


def upload_origin(released: threading.Event, digests: list[str]) -> Callable[[socket.socket], None]:
    """Reads the head, then nothing until it is released, then all of it."""

    def handle(sock: socket.socket) -> None:
        data = read_head(sock)
        head, _, body = data.partition(b"\r\n\r\n")
        if b"warm" in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        released.wait(60)
        digest, left = hashlib.sha256(body), SIZE - len(body)
        while left:
            piece = sock.recv(min(left, 1 << 20))
            if not piece:
                return
            digest.update(piece)
            left -= len(piece)
        digests.append(digest.hexdigest())
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    return handle


def test_uploads_to_a_slow_upstream(start_gateway: StartGateway, released: threading.Event) -> None:
    digests: list[str] = []
    with ThreadedOrigin(upload_origin(released, digests), receive_buffer=65536) as origin:
        gateway = start_gateway(simple(HOST, origin.port), workers=1)
        for _ in range(CONNECTIONS):
            gateway.get("/warm", HOST)
        before = worker_kib(gateway)
        clients = [Client(gateway.port()) for _ in range(CONNECTIONS)]
        try:
            head = f"POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {SIZE}\r\n\r\n".encode()
            taken = []
            for client in clients:
                client.send(head)
                taken.append(push_until_blocked(client.socket, SIZE))
            assert max(taken) < SIZE, "the gateway or the kernel swallowed the whole upload"
            grown = worker_kib(gateway) - before
            assert grown <= CONNECTIONS * LIMIT_KIB_PER_CONNECTION + SLACK_KIB, f"{grown} KiB for {CONNECTIONS} stalled uploads"
            released.set()
            sent = taken[0]
            while sent < SIZE:
                piece = pattern(sent, SIZE - sent)
                clients[0].socket.sendall(piece)
                sent += len(piece)
            assert clients[0].response("POST").text == "ok"
        finally:
            for client in clients:
                client.close()
        assert digests == [hashlib.sha256(BLOCK * (SIZE // len(BLOCK))).hexdigest()]


class DownloadOrigin:
    """Sends the pattern as fast as it is taken, and counts what was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, sock: socket.socket) -> None:
        while data := read_head(sock):
            if b"/warm" in data:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                self._download(sock, b"/chunked" in data)

    def _download(self, sock: socket.socket, chunked: bool) -> None:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        for _ in range(SIZE // len(BLOCK)):
            sock.sendall(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK)
            self.taken += len(BLOCK)
        if chunked:
            sock.sendall(b"0\r\n\r\n")

    def stalled(self) -> bool:
        """Something was taken, and nothing more for a while."""
        before = self.taken
        time.sleep(0.5)
        return bool(before) and self.taken == before


@pytest.mark.parametrize("target", ["/length", "/chunked"])
def test_downloads_by_a_slow_client(start_gateway: StartGateway, target: str) -> None:
    download = DownloadOrigin()
    with ThreadedOrigin(download) as origin:
        gateway = start_gateway(simple(HOST, origin.port), workers=1)
        for _ in range(CONNECTIONS):
            gateway.get("/warm", HOST)
        before = worker_kib(gateway)
        clients = [Client(gateway.port(), receive_buffer=32768) for _ in range(CONNECTIONS)]
        try:
            for client in clients:
                client.send(request_bytes("GET", target, HOST))
            eventually(download.stalled, "the upstream is held back")
            assert download.taken < CONNECTIONS * SIZE / 2, "the upstream was read although nobody took the bytes"
            grown = worker_kib(gateway) - before
            assert grown <= CONNECTIONS * LIMIT_KIB_PER_CONNECTION + SLACK_KIB, f"{grown} KiB for {CONNECTIONS} stalled downloads"
            assert gateway.living()["buffer_bytes"] <= CONNECTIONS * LIMIT_KIB_PER_CONNECTION * 1024
            body = clients[0].response().body
            assert bytes(body) == BLOCK * (SIZE // len(BLOCK))
        finally:
            for client in clients:
                client.close()


def test_idle_connections_hold_no_buffers(start_gateway: StartGateway) -> None:
    with ThreadedOrigin(DownloadOrigin()) as origin:
        gateway = start_gateway(simple(HOST, origin.port), workers=1)
        gateway.get("/warm", HOST)
        clients = [Client(gateway.port()) for _ in range(200)]
        try:
            for client in clients:
                assert client.get("/warm", HOST).status == 200
            eventually(lambda: gateway.living()["buffer_bytes"] == 0, "no buffer is held for idle connections")
            assert gateway.living()["client_connections"] == 200
        finally:
            for client in clients:
                client.close()


def test_an_upstream_that_dies_in_the_middle_cuts_the_answer(start_gateway: StartGateway) -> None:
    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + BLOCK)

    with ThreadedOrigin(handle) as origin:
        gateway = start_gateway(simple(HOST, origin.port), workers=1)
        with gateway.client() as client:
            client.send(request_bytes("GET", "/", HOST))
            assert client.wait_closed()
            assert client.received.startswith(b"HTTP/1.1 200 ")
            assert len(client.received) < 1_000_000


def test_a_client_that_leaves_ends_the_upstream_request(start_gateway: StartGateway) -> None:
    ended = threading.Event()

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nstart")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        ended.set()

    with ThreadedOrigin(handle) as origin:
        gateway = start_gateway(simple(HOST, origin.port), workers=1)
        with gateway.client() as client:
            client.send(request_bytes("GET", "/", HOST))
            eventually(lambda: b"start" in client.socket.recv(65536, socket.MSG_PEEK))
        assert ended.wait(60), "the upstream connection stays open although the client is gone"
