"""The end as people see it: lame duck, drain, their progress, by signal, admin API and command."""

from __future__ import annotations

import json
import signal
import time

from .conftest import StartGateway
from .support.client import Disconnected, request_bytes
from .support.config import simple
from .support.gateway import Gateway, run_cli
from .support.origin import RecordingOrigin, Reply
from .support.poll import eventually, in_time

HOST = "webapp.test"


def drain(gateway: Gateway, *words: str) -> str:
    done = run_cli("drain", *words, "--admin", f"127.0.0.1:{gateway.admin_port}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_lame_duck_serves_as_before(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--lame-duck", "600"])
    assert drain(gateway, "status").startswith("serving: 0 connections")
    with gateway.client() as kept:
        assert kept.get("/", HOST).status == 200
        gateway.signal(signal.SIGTERM)
        eventually(lambda: gateway.health() == 503, "not ready at once")
        answer = kept.get("/", HOST)
        assert (answer.status, answer.value("connection")) == (200, None), "nobody is told to go yet"
        assert drain(gateway, "status").startswith("not ready any more, draining in")
        assert gateway.get("/", HOST).status == 200, "new connections are accepted"
        gateway.signal(signal.SIGTERM)
        assert gateway.wait_exit() == 0
    gateway.assert_nothing_left()


def test_a_lame_duck_drains_in_the_end(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--lame-duck", "1"])
    with gateway.client() as kept:
        assert kept.get("/", HOST).status == 200
        gateway.signal(signal.SIGTERM)
        assert gateway.wait_exit() == 0
        assert kept.wait_closed()
    gateway.assert_nothing_left()


def test_an_active_client_is_told_by_an_answer_not_by_a_closed_connection(
    start_gateway: StartGateway, origin: RecordingOrigin
) -> None:
    """It has a second for one more request, which a client on a busy machine may miss."""

    def told() -> bool:
        gateway = start_gateway(simple(HOST, origin.port), workers=1)
        with gateway.client() as kept:
            assert kept.get("/", HOST).status == 200
            gateway.signal(signal.SIGTERM)
            try:
                while (answer := kept.get("/last", HOST)).value("connection") is None:
                    assert answer.status == 200
            except (Disconnected, ConnectionError):
                return False
            assert (answer.status, (answer.value("connection") or "").lower()) == (200, "close")
        assert gateway.wait_exit() == 0
        return True

    in_time(told, late=lambda was_told: not was_told)


def test_progress_by_command(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply() if seen.message.target == "/held" else origin.echo(seen)
    gateway = start_gateway(simple(HOST, origin.port), options=["--drain-time", "300"])
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        (seen,) = eventually(lambda: [s for s in origin.seen if s.message.target == "/held"])
        assert "draining, at the most 300 s" in drain(gateway, "start")

        def held_alone() -> bool:
            status = json.loads(drain(gateway, "status", "-o", "json"))
            return (status["phase"], status["connections"], status["requests"], status["workers"]) == ("draining", 1, 1, 2)

        eventually(held_alone, "only what is under way is left")
        assert 0 < json.loads(drain(gateway, "status", "-o", "json"))["secondsLeft"] <= 300
        (connection,) = [c for c in origin.connections if c.number == seen.connection]
        origin.call(lambda: origin.send(connection, origin.echo(seen)))
        assert held.response().status == 200
    assert gateway.wait_exit() == 0
    gateway.assert_nothing_left()


def served_and_told(gateway: Gateway) -> bool:
    """A new connection is. A worker that stood still hears of the drain later; a client that did comes too late for a request."""
    try:
        with gateway.client() as client:
            answer = client.get("/", HOST)
    except (Disconnected, ConnectionResetError):
        return False
    return (answer.status, (answer.value("connection") or "").lower()) == (200, "close")


def test_new_connections_are_served_while_one_worker_has_something_left(
    start_gateway: StartGateway, origin: RecordingOrigin
) -> None:
    """Each worker has a queue of its own: none ends before all can."""
    origin.answer = lambda seen: Reply() if seen.message.target == "/held" else origin.echo(seen)
    gateway = start_gateway(simple(HOST, origin.port), options=["--drain-time", "300"])
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        (seen,) = eventually(lambda: [s for s in origin.seen if s.message.target == "/held"])
        drain(gateway, "start")
        time.sleep(2)  # a worker without connections has nothing left after 300 ms
        for _ in range(20):
            eventually(lambda: served_and_told(gateway), "it is served, and told that this is the end")
        assert json.loads(drain(gateway, "status", "-o", "json"))["workers"] == 2
        (connection,) = [c for c in origin.connections if c.number == seen.connection]
        origin.call(lambda: origin.send(connection, origin.echo(seen)))
        assert held.response().status == 200
    assert gateway.wait_exit() == 0
    gateway.assert_nothing_left()
