"""Processes and sockets: drain, crash, what is inherited, ports in use, no orphans."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from .conftest import StartGateway
from .support.client import Client, Disconnected, request_bytes
from .support.config import simple
from .support.gateway import Gateway
from .support.origin import RecordingOrigin, Reply
from .support.poll import eventually
from .support.ports import listening_inodes
from .support.processes import alive, command_of, holders, in_session, parent_of, socket_inodes

HOST = "webapp.test"


def test_workers_are_children_that_hold_the_socket(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=3)
    workers = gateway.worker_pids()
    assert len(workers) == 3
    assert all(parent_of(pid) == gateway.pid for pid in workers)
    assert sorted(w["pid"] for w in gateway.admin("/workers")) == workers
    others = [pid for pid in in_session(gateway.pid) if pid not in workers and pid != gateway.pid]
    listening = listening_inodes(gateway.port()) | listening_inodes(gateway.admin_port) | listening_inodes(gateway.status_port)
    for pid in others:
        assert not socket_inodes(pid) & listening, f"{command_of(pid)} holds a listening socket"
    for pid in workers:
        own = listening_inodes(gateway.admin_port) | listening_inodes(gateway.status_port)
        assert not socket_inodes(pid) & own, "a worker holds a socket of the supervisor's own servers"


def test_each_worker_has_a_socket_of_its_own(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=3)
    inodes = listening_inodes(gateway.port())
    assert len(inodes) == 3
    assert sorted(len(socket_inodes(pid) & inodes) for pid in gateway.worker_pids()) == [1, 1, 1]


def test_workers_have_not_loaded_the_control_side(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    (worker,) = gateway.worker_pids()
    with open(f"/proc/{worker}/maps") as maps:
        text = maps.read()
    for library in ("libyaml", "_yaml", "yamldoc", "_asyncio", "watchfiles", "_cares"):
        assert library not in text, f"a worker has {library} loaded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_exits_at_once(start_gateway: StartGateway, origin: RecordingOrigin, number: int) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    gateway.get("/", HOST)
    with gateway.client() as idle:
        assert idle.get("/", HOST).status == 200
        began = time.monotonic()
        gateway.signal(number)
        assert gateway.wait_exit() == 0
        assert time.monotonic() - began < 15, "waited for the drain time although nothing was in flight"
        assert idle.wait_closed()
    gateway.assert_nothing_left()


def test_drain_lets_requests_finish(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply() if seen.message.target == "/held" else origin.echo(seen)
    gateway = start_gateway(simple(HOST, origin.port))
    with gateway.client() as held, gateway.client() as kept:
        assert kept.get("/", HOST).status == 200
        held.send(request_bytes("GET", "/held", HOST))
        eventually(lambda: [s for s in origin.seen if s.message.target == "/held"])
        gateway.signal(signal.SIGTERM)
        eventually(lambda: gateway.health() == 503, "not ready any more")
        assert_answered_or_ended(kept)
        (seen,) = [s for s in origin.seen if s.message.target == "/held"]
        (connection,) = [c for c in origin.connections if c.number == seen.connection]
        origin.call(lambda: origin.send(connection, origin.echo(seen)))
        answer = held.response()
        assert (answer.status, (answer.value("connection") or "").lower()) == (200, "close")
        assert held.wait_closed()
    assert gateway.wait_exit() == 0
    gateway.assert_nothing_left()


def assert_answered_or_ended(kept: Client) -> None:
    """A kept-alive connection of a draining gateway: a last answer that says close, or the end before the request was taken. Its
    worker hears of the drain a moment after the health endpoint has told of it."""

    def told() -> bool:
        try:
            answer = kept.get("/last", HOST)
        except (Disconnected, ConnectionError):
            return True
        assert answer.status == 200
        return (answer.value("connection") or "").lower() == "close"

    eventually(told, "the end")
    assert kept.wait_closed()


def test_drain_ends_at_its_time(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply()
    gateway = start_gateway(simple(HOST, origin.port), options=["--drain-time", "1"])
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        eventually(lambda: origin.seen)
        gateway.signal(signal.SIGTERM)
        assert gateway.wait_exit() == 0
        assert held.wait_closed()
    assert "the drain time is over, 1 connections are cut" in gateway.said()
    gateway.assert_nothing_left()


def test_a_second_signal_ends_at_once(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply()
    gateway = start_gateway(simple(HOST, origin.port), options=["--drain-time", "600"])
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        eventually(lambda: origin.seen)
        gateway.signal(signal.SIGTERM)
        eventually(lambda: gateway.health() == 503)
        gateway.signal(signal.SIGTERM)
        gateway.wait_exit()
    gateway.assert_nothing_left()


def replaced(gateway: Gateway, dead: int) -> int:
    def probe() -> int:
        pids = gateway.worker_pids()
        return next((pid for pid in pids if pid != dead and not alive(dead)), 0) if len(pids) == gateway.workers_wanted else 0

    return eventually(probe, "a new worker holds the dead one's socket")


def test_a_killed_worker_is_replaced(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    before = gateway.worker_pids()
    inodes = listening_inodes(gateway.port())
    os.kill(before[0], signal.SIGKILL)
    replaced(gateway, before[0])
    assert before[1] in gateway.worker_pids(), "the other worker was not touched"
    assert listening_inodes(gateway.port()) == inodes, "the sockets are the same"
    for i in range(20):
        assert gateway.get(f"/{i}", HOST).status == 200
    assert gateway.ready()
    restarts = [w["restarts"] for w in gateway.admin("/workers")]
    assert sorted(restarts) == [0, 1]


def test_the_accept_queue_outlives_the_worker(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Clients that connect while no worker accepts are served by the successor."""
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    (worker,) = gateway.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    clients = [gateway.client() for _ in range(20)]
    try:
        for i, client in enumerate(clients):
            client.send(request_bytes("GET", f"/{i}", HOST))
        os.kill(worker, signal.SIGKILL)
        assert [client.response().status for client in clients] == [200] * 20
    finally:
        for client in clients:
            client.close()


def test_a_killed_worker_cuts_only_its_own_connections(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    clients = [gateway.client() for _ in range(30)]
    for client in clients:
        assert client.get("/", HOST).status == 200
    victim = gateway.worker_pids()[0]
    inodes = socket_inodes(victim)
    os.kill(victim, signal.SIGKILL)
    replaced(gateway, victim)
    survivors = 0
    for client in clients:
        try:
            survivors += client.get("/", HOST).status == 200
        except (Disconnected, ConnectionError):
            continue
        finally:
            client.close()
    assert inodes and 0 < survivors < 30


def test_workers_end_when_the_supervisor_is_killed(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    gateway.get("/", HOST)
    gateway.signal(signal.SIGKILL)
    gateway.wait_exit()
    eventually(lambda: not in_session(gateway.pid), "no orphan is left")
    assert not listening_inodes(gateway.port())


def test_a_port_in_use_is_named_with_its_holder(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = start_gateway(simple(HOST, origin.port), ports=(), options=["--listen-map", f"80={port}"], wait=False)
        assert gateway.wait_exit() == 1
        (line,) = [line for line in gateway.said().splitlines() if str(port) in line]
        assert "in use" in line and str(os.getpid()) in line, line
        gateway.assert_nothing_left()


def test_a_port_in_use_does_not_stop_the_others(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    from .support.config import gateway_of, http_server, route, service_entry, virtual_service

    documents = [
        gateway_of("gw", [http_server(["*"], 80), http_server(["*"], 81)]),
        virtual_service("v", ["*"], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    try:
        gateway = start_gateway(documents, options=["--listen-map", f"81={port}"])
        assert gateway.get("/", HOST).status == 200
        assert [entry["open"] for entry in sorted(gateway.admin("/listeners"), key=lambda e: e["port"])] == [True, False]
    finally:
        taken.close()
    eventually(lambda: holders(port, gateway.pid), "the port is opened once it is free")
    eventually(lambda: Client(port).request(request_bytes("GET", "/", HOST, ["Connection: close"])).status == 200)


def test_admin_stays_on_loopback() -> None:
    from .support.gateway import run_cli

    done = run_cli("run", "/nonexistent", "--admin", "0.0.0.0:0")
    assert done.returncode == 2
    assert "--admin" in done.stderr and "loopback" in done.stderr


def test_admin_on_a_unix_socket(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    from .support.curl import curl

    gateway = Gateway(start_gateway(simple(HOST, origin.port)).directory / "second", simple(HOST, origin.port))
    path = gateway.directory / "admin.sock"
    gateway.options = ["--admin", f"unix:{path}"]
    with gateway:
        answer = curl("--unix-socket", str(path), "http://localhost/workers")
        assert answer.status == 200 and '"pid"' in answer.body
        assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert not path.exists()


def test_health_and_liveness(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    assert (gateway.health("/healthz/ready"), gateway.health("/healthz/live"), gateway.health("/nothing")) == (200, 200, 404)
