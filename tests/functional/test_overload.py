"""More work, or less memory, than a worker has: it answers what it can, says so, and is well again afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import Document, gateway, simple, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.processes import open_files

HOST = "webapp.test"
MIB = 1 << 20
BATCH = 400
"""Requests that one connection has pipelined at a time."""
STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")


def answered_here() -> list[Document]:
    """A host whose requests reach no upstream: a worker is the one who is short of time."""
    rule = {"match": [{"uri": {"prefix": "/"}}], "directResponse": {"status": 200, "body": {"string": "here"}}}
    return [gateway("web", [HOST]), virtual_service("web", [HOST], [rule], gateways=["web"])]


class Flood:
    """Connections that always have a batch of requests under way; answers are counted by status."""

    def __init__(self, port: int, connections: int) -> None:
        self.batch = request_bytes("GET", "/", HOST) * BATCH
        self.open = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        self.wanted = dict.fromkeys(self.open, 0)
        self.rest = dict.fromkeys(self.open, b"")
        self.counts = {b"200": 0, b"503": 0}
        self.with_retry = 0

    def send(self) -> None:
        for sock in self.open:
            if self.wanted[sock] == 0:
                sock.sendall(self.batch)
                self.wanted[sock] = BATCH

    def receive(self) -> None:
        """What is there. Every answer is one of the two."""
        for sock in select.select(self.open, [], [], 5)[0]:
            data = self.rest[sock] + sock.recv(1 << 20)
            *whole, self.rest[sock] = data.split(b"HTTP/1.1 ")
            found = [piece for piece in whole if piece]
            self._count(sock, found)
            tail = self.rest[sock]
            if tail.endswith((b"\r\n\r\nhere", b"\r\n\r\nenvoy overloaded")):
                self._count(sock, [tail])
                self.rest[sock] = b""
            elif tail:
                self.rest[sock] = b"HTTP/1.1 " + tail

    def _count(self, sock: socket.socket, answers: list[bytes]) -> None:
        for answer in answers:
            self.counts[answer[:3]] += 1
            self.with_retry += b"\r\nretry-after: 1\r\n" in answer
        self.wanted[sock] -= len(answers)

    def finish(self) -> None:
        while any(self.wanted.values()):
            self.receive()
        for sock in self.open:
            sock.close()


def test_an_overloaded_worker_refuses_a_share_and_recovers(start_gateway: StartGateway) -> None:
    """With a target of a millisecond, pipelined requests are too much for anybody."""
    gateway = start_gateway(answered_here(), options=["--shed-target", "1", "--spare-path", "/healthz"], workers=1)
    worker = gateway.worker_pids()
    flood = Flood(gateway.port(), 30)
    until = time.monotonic() + 60
    while flood.counts[b"503"] < 100 and time.monotonic() < until:
        flood.send()
        flood.receive()
    assert gateway.ready(), "health and metrics do not go through the workers"
    assert gateway.metrics().total("fastgw_overload_refused_requests_total") > 0
    flood.finish()
    sent = sum(flood.counts.values())
    assert flood.counts[b"503"] >= 100 and flood.counts[b"200"] > 0 and sent % BATCH == 0
    assert flood.with_retry == flood.counts[b"503"]
    eventually(lambda: shed_share(gateway) == 0, "it is over")
    refused = gateway.metrics().total("fastgw_overload_refused_requests_total", cause="delay")
    assert refused == flood.counts[b"503"]
    eventually(lambda: gateway.get("/", HOST).status == 200, "it is served again")
    metrics = gateway.metrics()
    assert {sample.labels["response_flags"] for sample in metrics.find("istio_requests_total", response_code="503")} == {"OM"}
    eventually(lambda: "not overloaded any more" in gateway.said(), "the log says that it is over")
    assert "worker 0: overloaded" in gateway.said()
    assert gateway.worker_pids() == worker


def shed_share(gateway: Gateway) -> float:
    return gateway.metrics().total("fastgw_worker_shed_share")


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    """A port on which connections are neither made nor refused: its queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        try:
            yield full.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()


def test_memory_runs_out_and_comes_back(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Hundreds of uploads that wait for an upstream: the largest are reset before the worker is."""
    first = start_gateway(simple(HOST, origin.port), workers=1)
    eventually(lambda: memory(first) > 0, "it is measured")
    limit = int(memory(first)) + 8 * MIB
    first.stop()
    with unreachable() as port:
        gateway = start_gateway(simple(HOST, port), options=["--memory-limit", str(limit)], workers=1)
        worker = gateway.worker_pids()
        assert gateway.metrics().total("fastgw_worker_memory_budget_bytes") in (0, limit), "0 before the first look"
        uploads = []
        while len(uploads) < 1000 and gateway.metrics().total("fastgw_overload_reset_streams_total") == 0:
            for _ in range(20):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", gateway.port()))
                uploads.append(sock)
                push(sock)
        metrics = gateway.metrics()
        steps = {sample.labels["step"]: sample.value for sample in metrics.find("fastgw_memory_steps_total")}
        assert all(steps.values()), steps
        assert metrics.total("fastgw_worker_memory_budget_bytes") == limit
        assert gateway.ready() and gateway.worker_pids() == worker
        for sock in uploads:
            sock.close()
    eventually(lambda: gateway.metrics().total("fastgw_worker_memory_step") == 0, "there is enough memory again")
    gateway.write("main.yaml", simple(HOST, origin.port))
    eventually(lambda: answers(gateway), "requests are served again")
    assert gateway.worker_pids() == worker
    eventually(lambda: "memory step 0, enough memory again" in gateway.said(), "the log says that it is over")
    assert re.search(r"worker 0: memory step [1-4], .*: \d+ of \d+ MiB in use", gateway.said())


def memory(gateway: Gateway) -> float:
    return gateway.metrics().total("fastgw_worker_memory_bytes")


def push(sock: socket.socket) -> None:
    """As much of an upload as is taken within a moment."""
    data = f"POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n".encode() + bytes(200_000)
    until = time.monotonic() + 0.02
    with contextlib.suppress(OSError):
        while data and time.monotonic() < until:
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                select.select([], [sock], [], 0.005)


def answers(gateway: Gateway) -> bool:
    try:
        return gateway.get("/", HOST).status == 200
    except OSError:
        return False


def test_a_log_that_nobody_reads_holds_nobody_up(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    """Requirement I6: a bounded queue, then lines are dropped and counted."""
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        gateway = start_gateway(simple(HOST, origin.port), options=["--access-log", str(path)], workers=1)
        (worker,) = gateway.worker_pids()
        target = "/" + "x" * 4000
        with gateway.client() as client:
            for _ in range(200):
                assert client.get(target, HOST).status == 200
        metrics = gateway.metrics()
        assert metrics.total("fastgw_access_log_lines_dropped_total") > 0
        assert metrics.total("fastgw_access_log_lines_total") + metrics.total("fastgw_access_log_lines_dropped_total") >= 200
        assert open_files(worker) < 100
    finally:
        os.close(reader)
    assert gateway.get("/", HOST).status == 200, "nor one whose reader is gone"
