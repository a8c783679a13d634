"""Every single allocation in the life of a connection fails once: that connection is lost, everything else goes on as before."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.connection
import pytest
from dataplane_support import GET, LISTENER, OK, Gateway

from fastgw.dataplane import buffers
from fastgw.model.plan import RoutePolicy

TURNS = 12
"""Of the loop, in the life of a connection as it is led here."""


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.PyDLL]:
    """The interpreter's allocators with a hook in them: arm(n) fails the n-th allocation, disarm() says whether it did."""
    library = tmp_path_factory.mktemp("memory") / "no_memory.so"
    source = Path(__file__).with_name("no_memory.c")
    include = sysconfig.get_path("include")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", f"-I{include}", str(source), "-o", str(library)], check=True)
    hook = ctypes.PyDLL(str(library))
    hook.install()
    yield hook
    hook.uninstall()


def http2_request() -> bytes:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop.test")]
    client.send_headers(1, fields)
    client.send_data(1, b"x" * 5000, end_stream=True)
    return client.data_to_send()


def send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it may be the one that was lost
        sock.sendall(data)


class Attempt:
    """One connection, in whose turn number ``turn`` allocation number ``n`` fails. Bare sockets: the support's own take memory."""

    def __init__(self, gateway: Gateway, memory: ctypes.PyDLL, turn: int, n: int) -> None:
        self.gateway, self.memory, self.turn, self.n = gateway, memory, turn, n
        self.turns = 0
        self.hit = False
        self.told: bytes | None = b""
        """What the client got, b"" for the end of its connection; None when it was left waiting."""

    def step(self) -> None:
        turn = self.gateway.loop.turn
        buffers.give_back_spare()
        for _ in range(2):
            if self.turns == self.turn:
                self.memory.arm(self.n)
            try:
                turn(1)
            finally:
                self.hit = bool(self.memory.disarm()) or self.hit
            self.turns += 1

    def lead(self, upstream: socket.socket, request: bytes) -> None:
        with socket.create_connection(self.gateway.addresses[LISTENER]) as client:
            self.step()
            send(client, request)
            self.step()
            self.step()
            try:
                answering, _ = upstream.accept()
            except BlockingIOError:
                answering = None
            if answering is not None:
                with answering:
                    self.step()
                    send(answering, OK)
                    self.step()
            if self.hit:
                self.step()
                client.setblocking(False)
                try:
                    self.told = client.recv(100)
                except BlockingIOError:
                    self.told = None
                except ConnectionError:
                    self.told = b""
        self.step()


@pytest.mark.parametrize(
    ("serve", "request_bytes"),
    [(Gateway.serve, GET), (Gateway.serve, http2_request()), (Gateway.relay, GET)],
    ids=["http1", "http2", "tunnel"],
)
def test_an_allocation_that_fails_costs_its_connection_alone(
    memory: ctypes.PyDLL, serve: Callable[..., None], request_bytes: bytes
) -> None:
    failed = 0
    for turn in range(TURNS):
        n = 0
        hit = True
        while hit:
            n += 1
            gateway = Gateway()
            upstream = gateway.upstream()
            serve(gateway, upstream)
            attempt = Attempt(gateway, memory, turn, n)
            attempt.lead(upstream.sock, request_bytes)
            hit = attempt.hit
            assert attempt.told is not None, (turn, n, gateway.bugs)
            failed += hit
            client = gateway.client().send(GET)
            answering = upstream.accept(gateway)
            answering.request()
            answering.send(OK)
            assert client.response().status == 200, (turn, n, gateway.bugs)
            gateway.server.drain()
            gateway.close()  # asserts that nothing is left
            assert len(gateway.bugs) <= hit, gateway.bugs
    assert failed > 10, "allocations are made, and they fail"


def test_an_allocation_that_fails_when_time_is_over_leaves_nobody_waiting(memory: ctypes.PyDLL) -> None:
    """The answer to a request whose time is over comes out of a deadline, where no event follows."""
    n, told = 0, b""
    while b"504" not in told:
        n += 1
        gateway = Gateway()
        upstream = gateway.upstream()
        gateway.serve(upstream, route=RoutePolicy(timeout_ms=500))
        client = gateway.client().send(GET)
        upstream.accept(gateway).request()
        buffers.give_back_spare()
        gateway.loop.skip_ms(600)
        arm, disarm, turn = memory.arm, memory.disarm, gateway.loop.turn
        arm(n)
        try:
            turn(0)
        finally:
            disarm()
        gateway.until(lambda client=client: bool(client.poll().data) or client.end != "", lambda: "an answer or the end")
        told = bytes(client.data)
        client.close()
        gateway.close()
    assert n > 2, "some have failed on the way"
