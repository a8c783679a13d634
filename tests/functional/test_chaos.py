"""Reloads, killed workers and load at once: every answer is right, or its connection was cut by the killed worker."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from functools import partial

from .conftest import StartGateway
from .support.config import gateway, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.load import Load
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.processes import alive, private_kib

HOST = "webapp.test"
KILLS, RELOADS_A_KILL, CLIENTS = 3, 5, 8


def replaced(running: Gateway, dead: int) -> bool:
    return not alive(dead) and len(running.worker_pids()) == running.workers_wanted


def test_reloads_and_crashes_under_load(start_gateway: StartGateway, make_origin: Callable[..., RecordingOrigin]) -> None:
    origins = [make_origin("one"), make_origin("two")]
    services = [service_entry(o.name, [("127.0.0.1", o.port)]) for o in origins]
    running = start_gateway([gateway(hosts=["*"]), *services])
    turn = 0

    def reload() -> None:
        nonlocal turn
        turn += 1
        running.write("route.yaml", [virtual_service("v", [HOST], [route(origins[turn % 2].name, 8080)])])

    reload()
    eventually(lambda: running.get("/", HOST).status == 200)
    with Load(running.port(), HOST, clients=CLIENTS, cut_is_failure=False) as load:
        for _ in range(KILLS):
            for _ in range(RELOADS_A_KILL):
                reload()
                load.more(50)
            victim = running.worker_pids()[turn % 2]
            os.kill(victim, signal.SIGKILL)
            load.more(50)
            eventually(partial(replaced, running, victim), "the worker is replaced")
    assert not load.failures, load.failures[:5]
    assert load.cuts <= KILLS * CLIENTS, f"{load.cuts} connections were cut by {KILLS} killed workers"
    assert set(load.origins) == {"one", "two"}
    generation = running.admin("/config/generation")["generation"]
    eventually(
        lambda: {w["generation"] for w in running.admin("/workers")} == {generation}, "all workers serve the last configuration"
    )
    assert running.metrics().total("istio_requests_total", response_code="200") >= load.answers


def test_short_connections_of_every_kind(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Clients that leave at any byte of a request: nothing stays alive, memory does not grow."""
    from .support.client import Client
    from .support.config import simple

    running = start_gateway(simple(HOST, origin.port), workers=1)
    (worker,) = running.worker_pids()
    request = f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode()

    def leave_at_every_byte() -> None:
        for cut in range(len(request) + 1):
            with Client(running.port()) as client:
                client.send(request[:cut])
                if cut % 3 == 1:
                    client.half_close()
                if cut % 3 == 2:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    leave_at_every_byte()
    running.assert_no_leaks()
    before = private_kib(worker)
    for _ in range(5):
        leave_at_every_byte()
    running.assert_no_leaks()
    assert private_kib(worker) - before < 512
    assert running.get("/", HOST).status == 200
    assert not [s for s in origin.seen if s.message.target == "/x" and bytes(s.message.body) != b"hello"]
