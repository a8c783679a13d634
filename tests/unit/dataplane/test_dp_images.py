"""Images that change while requests are under way; listeners; limits of connections and descriptors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, make_plan

from fastgw.dataplane import context
from fastgw.model.plan import Cluster, Endpoint

MakeGateway = Callable[..., Gateway]
FULL = 16  # HOLD_LISTENER
"""The hold of a worker with all the connections it may have."""


def test_an_exchange_keeps_the_image_it_began_with(gateway: Gateway) -> None:
    first, second = gateway.upstream(), gateway.upstream()
    gateway.serve(first)
    client = gateway.client().send(GET)
    up = first.accept(gateway)
    assert context.images_alive() == 1
    gateway.serve(second)
    assert context.images_alive() == 2
    for _ in range(3):
        gateway.serve(second)
    assert context.images_alive() == 2, "images that nobody used are gone at once"
    up.send(OK)
    assert client.response().status == 200
    assert context.images_alive() == 1 and gateway.context.image.generation == 5
    client.send(GET)
    second.accept(gateway).send(OK)
    assert client.response().status == 200
    assert gateway.counter("FGW_G_IMAGES_ALIVE") >= 1


def test_a_retry_after_the_change_stays_with_the_old_image(gateway: Gateway) -> None:
    first, second = gateway.upstream(), gateway.upstream()
    gateway.serve(first)
    client = gateway.client().send(GET)
    up = first.accept(gateway)
    up.request()
    up.send(OK)
    client.response()
    client.send(GET)
    up.request()
    gateway.serve(second)
    up.close()
    first.accept(gateway).send(OK)
    assert client.response().status == 200 and context.images_alive() == 1


@pytest.mark.parametrize("broken", ["magic", "size", "empty"])
def test_something_else_than_an_image_is_refused(gateway: Gateway, broken: str) -> None:
    gateway.serve(gateway.upstream())
    fd = os.memfd_create("image")
    os.write(fd, b"FGWIMAGE" + bytes(4096) if broken == "size" else bytes(4096))
    with pytest.raises((ValueError, OSError)):
        context.Image(fd, 0 if broken == "empty" else 4096)
    os.close(fd)
    assert context.images_alive() == 1


def two(make_gateway: MakeGateway) -> Gateway:
    return make_gateway(listeners=["one", "two"])


def plan_for(gateway: Gateway, names: list[str]) -> None:
    upstream = gateway.upstream()
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", upstream.port)])], listeners=names))


def test_a_listener_that_disappears_from_the_image(make_gateway: MakeGateway) -> None:
    gateway = two(make_gateway)
    plan_for(gateway, ["one", "two"])
    kept, gone, busy = gateway.client("one"), gateway.client("two"), gateway.client("two").send(GET)
    up = gateway.upstreams[0].accept(gateway)
    plan_for(gateway, ["one"])
    up.send(OK)
    answer = busy.response()
    assert (answer.body, answer["connection"]) == (b"ok", "close"), "what is under way is answered"
    gone.send(GET)
    answer = gone.response()
    assert (answer.status, answer["connection"]) == (404, "close")
    kept.send(GET)
    gateway.upstreams[1].accept(gateway).send(OK)
    assert kept.response().values("connection") == []
    plan_for(gateway, ["one", "two"])
    back = gateway.client("two").send(GET)
    gateway.upstreams[2].accept(gateway).send(OK)
    assert back.response().status == 200


def test_listen_with_fewer_and_more_sockets(make_gateway: MakeGateway) -> None:
    """As the supervisor hands them over: each time new descriptors of the same sockets."""
    gateway = two(make_gateway)
    plan_for(gateway, ["one", "two", "three"])
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(8)
        held.setblocking(False)
        gateway.addresses["three"] = held.getsockname()
        old = gateway.client("two")
        gateway.server.listen([("three", os.dup(held.fileno()))])
        gateway.settle()
        assert [one.name for one in gateway.server.listeners] == ["three"]
        with socket.socket() as nobody:
            assert nobody.connect_ex(gateway.addresses["one"]) != 0, "its socket is closed"
        for client in (gateway.client("three"), old):  # a connection outlives its listening socket
            client.send(GET)
            gateway.upstreams[0].accept(gateway).send(OK + b"burnt")
            assert client.response().status == 200
        for _ in range(3):  # the same socket again and again, as other listeners come and go
            gateway.server.listen([("three", os.dup(held.fileno())), ("four", gateway.open_listener("four"))])
            assert gateway.client("three").send(b"BAD\r\n\r\n").response().status == 400
            assert gateway.client("four").send(GET).response().status == 404, "not in the image"
        gateway.server.listen([])
        waiting = socket.socket()
        waiting.connect(gateway.addresses["three"])  # the supervisor still holds the socket: its queue takes it
        gateway.settle()
        assert gateway.server.listeners == []
        gateway.server.listen([("three", os.dup(held.fileno()))])
        waiting.send(b"BAD\r\n\r\n")
        gateway.settle()
        waiting.settimeout(10)
        assert waiting.recv(100).startswith(b"HTTP/1.1 400")
        waiting.close()


def test_the_connection_limit_pauses_accepting_and_resumes(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"max_connections": 3})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    inside = [gateway.client() for _ in range(3)]
    assert gateway.server.listeners[0].holds == FULL and gateway.counter("FGW_C_ACCEPT_PAUSED") == 1
    outside = [gateway.client().send(GET) for _ in range(2)]
    assert gateway.alive()["clients"] == 3 and not outside[0].poll().data
    assert not upstream.has_connection(gateway)
    assert gateway.turn(0) == 0, "a full house does not spin"
    inside[0].close()
    up = upstream.accept(gateway)
    up.send(OK)
    assert outside[0].response().status == 200 and gateway.server.listeners[0].holds == FULL
    assert not outside[1].poll().data
    inside[1].close()
    up.request()
    up.request()
    up.send(OK)
    assert outside[1].response().status == 200


def test_new_sockets_while_full_stay_paused(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"max_connections": 1})
    first = gateway.client()
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER))])
    second = gateway.client().send(b"BAD\r\n\r\n")
    assert gateway.alive()["clients"] == 1
    first.close()
    assert second.response().status == 400


EXHAUSTED = """
    import resource, socket, sys
    from dataplane_support import GET, OK, Gateway

    gateway = Gateway()
    upstream = gateway.upstream()
    gateway.serve(upstream)
    crowd = [socket.socket() for _ in range(40)]
    held = [socket.socket() for _ in range(2)]
    used = max(sock.fileno() for sock in crowd + held)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 6, used + 6))
    for sock in crowd:
        sock.connect(gateway.addresses["0.0.0.0_80"])
    for _ in range(50):
        gateway.turn(0)
    accepted = gateway.alive()["clients"]
    assert 0 < accepted < 40, accepted
    assert gateway.counter("FGW_C_ACCEPT_ERRORS") == 1, "one is told, then accepting pauses"
    assert gateway.counter("FGW_C_ACCEPT_PAUSED") == 1
    assert gateway.turn(0) == 0, "no spinning"
    crowd[0].send(GET)
    gateway.settle()
    gateway.pass_ms(500)  # pauses between the tries
    crowd[0].settimeout(10)
    assert crowd[0].recv(1000).startswith(b"HTTP/1.1 503"), "no descriptor for the upstream"
    for round in range(3):
        gateway.pass_ms(200)
    assert 2 <= gateway.counter("FGW_C_ACCEPT_ERRORS") <= 5
    for sock in crowd[:accepted]:
        sock.close()
    gateway.settle()
    gateway.pass_ms(300)
    assert 0 < gateway.alive()["clients"] < 40
    assert gateway.bugs == []
    for sock in crowd:
        sock.close()
    gateway.close()
    print("served")
"""


def test_running_out_of_descriptors(tmp_path: Path) -> None:
    code = textwrap.dedent(EXHAUSTED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("served\n", 0), done.stderr


def test_a_burst_of_connections_is_taken_over_several_turns(gateway: Gateway) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(512)
        held.setblocking(False)
        gateway.server.listen([(LISTENER, os.dup(held.fileno()))])
        crowd = [socket.socket() for _ in range(150)]
        for sock in crowd:
            sock.connect(held.getsockname())
        sizes = []
        for _ in range(3):
            gateway.turn(0)
            sizes.append(gateway.alive()["clients"])
        assert sizes == [64, 128, 150]
        for sock in crowd:
            sock.close()
        gateway.server.listen([])
