"""Resources of relayed connections, byte streams as clients, and upstreams that keep what they get."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .config import Document, destination
from .config import _object as resource
from .origin import ThreadedOrigin

PATIENCE_S = 60.0


def tcp_server(port: int, protocol: str = "TCP", hosts: Sequence[str] = ("*",)) -> Document:
    return {"port": {"number": port, "name": f"{protocol.lower()}-{port}", "protocol": protocol}, "hosts": list(hosts)}


def passthrough_server(port: int, hosts: Sequence[str], name: str = "tls") -> Document:
    spec = {"port": {"number": port, "name": f"{name}-{port}", "protocol": "TLS"}, "hosts": list(hosts)}
    return {**spec, "tls": {"mode": "PASSTHROUGH"}}


def tcp_route(*hosts: str, port: int, match: Sequence[Document] = (), weights: Sequence[int] = ()) -> Document:
    """A tcp or tls rule to these hosts' ports."""
    weighted = weights or [None] * len(hosts)
    made: Document = {"route": [destination(host, port, weight=weight) for host, weight in zip(hosts, weighted, strict=True)]}
    return {**({"match": list(match)} if match else {}), **made}


def tcp_service(name: str, *, tcp: Sequence[Document] = (), tls: Sequence[Document] = (), **spec: Any) -> Document:
    """A VirtualService of tcp and tls rules."""
    rules = {"tcp": list(tcp), "tls": list(tls)}
    found = {"hosts": ["*"], "gateways": ["gw"], **{kind: rule for kind, rule in rules.items() if rule}, **spec}
    return resource("VirtualService", name, None, found)


def tcp_entry(host: str, *targets: int, port: int = 9000) -> Document:
    """A ServiceEntry of one TCP port, served at these ports of 127.0.0.1."""
    spec = {
        "hosts": [host],
        "ports": [{"number": port, "name": "tcp", "protocol": "TCP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "127.0.0.1", "ports": {"tcp": target}} for target in targets],
    }
    return resource("ServiceEntry", host.replace(".", "-"), None, spec)


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def visit(port: int) -> tuple[bytes, str]:
    """Connect and read to the end; a reset may come before connect() has returned."""
    try:
        sock = connect(port)
    except ConnectionResetError:
        return b"", "reset"
    return read_to_end(sock)


def read_to_end(sock: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how it ends: "fin" or "reset"."""
    data = b""
    while True:
        try:
            piece = sock.recv(1 << 16)
        except ConnectionResetError:
            return data, "reset"
        if not piece:
            return data, "fin"
        data += piece


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the connection ended after {len(data)} of {size} bytes"
        data += piece
    return data


def pour(sock: socket.socket, seed: int, size: int) -> str:
    """Send ``size`` bytes that the seed makes, then a FIN; their digest."""
    block, digest = hashlib.sha512(str(seed).encode()).digest() * 16384, hashlib.sha256()
    while size:
        piece = memoryview(block)[: min(size, len(block))]
        sock.sendall(piece)
        digest.update(piece)
        size -= len(piece)
    sock.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def drink(sock: socket.socket) -> tuple[str, int]:
    """Digest and number of the bytes up to the FIN."""
    digest, size = hashlib.sha256(), 0
    while piece := sock.recv(1 << 18):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


class Keeper(ThreadedOrigin):
    """Keeps the bytes of every connection, and says nothing."""

    def __init__(self) -> None:
        self.kept: list[bytearray] = []
        super().__init__(self._keep)

    def _keep(self, sock: socket.socket) -> None:
        data = bytearray()
        self.kept.append(data)
        while piece := sock.recv(1 << 16):
            data += piece


class Handed(ThreadedOrigin):
    """Hands its connections to the test: ``take()`` waits for the next one."""

    def __init__(self) -> None:
        self._taken: list[socket.socket] = []
        self._arrived = threading.Semaphore(0)
        self._over = threading.Event()
        super().__init__(self._hand)

    def _hand(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._taken.append(sock)
        self._arrived.release()
        self._over.wait()

    def take(self) -> socket.socket:
        assert self._arrived.acquire(timeout=PATIENCE_S), "no connection to the upstream"
        return self._taken.pop(0)

    def stop(self) -> None:
        self._over.set()
        super().stop()


def in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Runs it in a thread; the returned function waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE_S * 3)
        assert results, "it has not come to an end"
        return results[0]

    return result
