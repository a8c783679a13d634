"""Settings that loosen or tighten what is accepted, and limits of resources: memory, descriptors, processor."""

from __future__ import annotations

import json
import os
import select
import time

import pytest

from .conftest import StartGateway
from .support.client import Client, Disconnected, fetch, request_bytes
from .support.config import simple
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.processes import open_files, private_kib

HOST = "webapp.test"
LENIENT = {
    "lf-in-head": "GET /a HTTP/1.1\nHost: webapp.test\nX-A: b\n\n",
    "fragment": "GET /a#frag HTTP/1.1\r\nHost: webapp.test\r\n\r\n",
    "equal-lengths": "GET /a HTTP/1.1\r\nHost: webapp.test\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "absolute-host": "GET http://webapp.test/a HTTP/1.1\r\nHost: other.test\r\n\r\n",
}


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", LENIENT)
def test_each_leniency_is_named_counted_and_normalised(start_gateway: StartGateway, origin: RecordingOrigin, name: str) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--lenient", name], workers=1)
    for other, raw in LENIENT.items():
        with gateway.client() as client:
            answer = client.request(raw)
            assert answer.status == (200 if other == name else 400), other
    (seen,) = origin.seen
    assert seen.message.target == "/a", "upstream gets the strict form"
    assert seen.message.value("host") == "webapp.test"
    metrics = gateway.metrics()
    assert {s.labels["leniency"]: s.value for s in metrics.find("fastgw_lenient_total")} == {n: float(n == name) for n in LENIENT}


@pytest.mark.parametrize(
    ("form", "sent", "wanted"),
    [
        ("none", "/a/../b//c/%61", "/a/../b//c/%61"),
        ("base", "/a/../b//c/%61", "/b//c/a"),
        ("merge-slashes", "/a/../b//c/%61", "/b/c/a"),
        ("merge-slashes", "/a%2F%2Fb", "/a%2F%2Fb"),
        ("decode-and-merge-slashes", "/a%2F%2fb//c", "/a/b/c"),
        ("decode-and-merge-slashes", "/a%5Cb", "/a/b"),
    ],
)
def test_path_normalisation(start_gateway: StartGateway, origin: RecordingOrigin, form: str, sent: str, wanted: str) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--path-normalization", form], workers=1)
    assert json.loads(gateway.get(f"{sent}?q=/../x", HOST).body)["target"] == f"{wanted}?q=/../x"


def test_limits_of_heads_can_be_set(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    settings = {"head-bytes": 2048, "target-bytes": 256, "fields": 10}
    gateway = start_gateway(simple(HOST, origin.port), settings=settings, workers=1)
    with gateway.client() as client:
        assert client.get("/" + "a" * 200, HOST, *(f"X-{i}: v" for i in range(9))).status == 200
    for status, target, headers in ((414, "/" + "a" * 300, []), (431, "/", ["X-A: v"] * 10), (431, "/", ["X-A: " + "v" * 2100])):
        with gateway.client() as client:
            assert client.get(target, HOST, *headers).status == status
            assert client.wait_closed()


def test_pipelining_without_reading_is_held_back(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """The client sends request after request and takes no answer: the gateway stops reading, and holds little."""
    origin.answer = lambda seen: b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000)
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    gateway.get("/", HOST)
    (worker,) = gateway.worker_pids()
    before = private_kib(worker)
    request = request_bytes("GET", "/p", HOST)
    with gateway.client(receive_buffer=16384) as client:
        client.socket.setblocking(False)
        sent = 0
        block = request * 500
        while sent < 200_000_000 and select.select([], [client.socket], [], 0.5)[1]:
            sent += client.socket.send(block[sent % len(request) :])
        client.socket.settimeout(60)
        assert sent < 200_000_000, "the gateway swallows any number of requests"
        assert private_kib(worker) - before < 1024
        assert len(origin.seen) < 1000
        assert client.response().status == 200, "what was held back goes on"


def test_many_connections_within_few_descriptors(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """More clients than descriptors: some wait or are closed, nothing spins or dies, and all is well when they go.

    Of 100 descriptors, 16 and those of three pipes are kept back; the rest is for 39 clients and their upstreams.
    """
    gateway = start_gateway(simple(HOST, origin.port), workers=1, prefix=["prlimit", "--nofile=100:100"])
    (worker,) = gateway.worker_pids()
    clients = [Client(gateway.port()) for _ in range(250)]
    try:
        served = 0
        for client in clients[:39]:
            served += client.get("/", HOST).status == 200
        assert served == 39
        eventually(
            lambda: open_files(worker) >= 78 or gateway.metrics().total("fastgw_accept_paused_total") > 0, "the limit is met"
        )
        began = cpu_seconds(worker)
        time.sleep(1)
        assert cpu_seconds(worker) - began < 0.5, "the worker spins at the limit of descriptors"
        metrics = gateway.metrics()
        held = {sample.labels["reason"]: sample.value for sample in metrics.find("fastgw_accept_held")}
        assert held["connections"] + held["descriptors"] >= 1 and held["memory"] == 0
        assert metrics.total("fastgw_worker_descriptors_limit") == 100
        assert metrics.total("fastgw_worker_descriptors") <= open_files(worker)
        assert gateway.ready()
    finally:
        for client in clients:
            client.close()
    eventually(lambda: served_again(gateway), "served again once the others are gone")
    assert gateway.worker_pids() == [worker]


def test_sixty_four_descriptors(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Requirement I2. Kept-alive connections on both sides use them up; nine tenths is where accepting ends."""
    gateway = start_gateway(
        simple(HOST, origin.port), workers=1, prefix=["prlimit", "--nofile=64:64"], options=["--upstream-idle-timeout", "600"]
    )
    (worker,) = gateway.worker_pids()
    clients = [Client(gateway.port()) for _ in range(100)]
    try:
        for client in clients:
            client.send(request_bytes("GET", "/", HOST))
        answered = sum(client.response().status == 200 for client in clients[:15])
        assert answered == 15
        eventually(lambda: gateway.metrics().total("fastgw_accept_held") > 0, "no more are accepted")
        assert open_files(worker) <= 58 and gateway.ready()
        assert gateway.metrics().total("fastgw_accept_errors_total") == 0, "accept() is not asked in vain"
    finally:
        for client in clients:
            client.close()
    eventually(lambda: served_again(gateway), "served again once the others are gone")
    eventually(lambda: gateway.metrics().total("fastgw_accept_held") == 0, "nothing holds it back")
    assert gateway.worker_pids() == [worker]


def served_again(gateway: Gateway) -> bool:
    try:
        return gateway.get("/", HOST).status == 200
    except (Disconnected, ConnectionError):
        return False


def test_waiting_costs_no_processor_time(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Idle, half-sent, half-read and half-closed connections: none of them keeps a loop turning."""
    origin.answer = lambda seen: b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + bytes(5_000_000)
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    (worker,) = gateway.worker_pids()
    with (
        gateway.client() as idle,
        gateway.client() as slow,
        gateway.client(receive_buffer=16384) as unread,
        gateway.client() as body,
    ):
        idle.socket.settimeout(60)
        slow.send("GET / HTTP/1.1\r\nHost:")
        unread.send(request_bytes("GET", "/", HOST))
        body.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.5)
        began = cpu_seconds(worker)
        time.sleep(1)
        assert cpu_seconds(worker) - began < 0.2
        body.half_close()
        slow.half_close()
        time.sleep(0.3)
        began = cpu_seconds(worker)
        time.sleep(1)
        assert cpu_seconds(worker) - began < 0.2


def test_admin_refuses_pages_from_elsewhere(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    assert fetch(gateway.admin_port, "/workers", "evil.example").status == 403
    assert fetch(gateway.admin_port, "/reload", "localhost", "Origin: http://evil.example", method="POST", body=b"").status == 403
    assert fetch(gateway.admin_port, "/reload", "localhost").status == 405, "commands are POST only"
    assert fetch(gateway.status_port, "/workers", "localhost").status == 404, "the status server has no commands"
