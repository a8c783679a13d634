"""What goes wrong in one place stays there: a frozen worker, a full disk, no descriptors, no memory. Traffic goes on."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from .conftest import StartGateway
from .support.client import Client, Disconnected, request_bytes
from .support.config import Document, route, simple, virtual_service
from .support.config import gateway as server
from .support.load import Load
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.ports import listening_inodes
from .support.processes import alive, open_files

HOST = "webapp.test"
LINE = re.compile(r"/[a-z0-9/-]+ 200 end\n")


@contextlib.contextmanager
def limited(pid: int, which: int, soft: int) -> Iterator[None]:
    """A soft limit of another process, for a while."""
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, which, before)


def more() -> list[Document]:
    """Another host on the same port."""
    return [server("more", ["more.test"]), virtual_service("more", ["more.test"], [route("webapp", 8080)], gateways=["more"])]


def address_space(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_frozen_worker_is_replaced_and_its_queue_served(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    frozen, other = gateway.worker_pids()
    inodes = listening_inodes(gateway.port())
    os.kill(frozen, signal.SIGSTOP)
    clients = [Client(gateway.port(), timeout_s=60) for _ in range(20)]
    for client in clients:
        client.send(request_bytes("GET", "/", HOST))
    assert [client.response().status for client in clients] == [200] * 20, "those in the queue of the frozen one, too"
    for client in clients:
        client.close()
    eventually(
        lambda: not alive(frozen) and len(gateway.worker_pids()) == 2, "it is replaced", 120
    )  # the supervisor may stand still, too
    assert alive(other) and listening_inodes(gateway.port()) == inodes
    assert "has not turned its loop for 10 s: aborted" in gateway.said()
    assert gateway.metrics().total("fastgw_worker_restarts_total") == 1


def test_a_full_disk_costs_log_lines_only(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: what does not fit is dropped and counted, what is there are whole lines."""
    log = tmp_path / "access.log"
    words = ["--access-log", str(log), "--access-log-format", "%REQ(:PATH)% %RESPONSE_CODE% end\n"]
    gateway = start_gateway(simple(HOST, origin.port), workers=1, options=words)
    (worker,) = gateway.worker_pids()
    assert gateway.get("/first", HOST).status == 200
    size = eventually(lambda: log.stat().st_size)
    with limited(worker, resource.RLIMIT_FSIZE, size + 40):
        with gateway.client() as client:
            assert [client.get(f"/during/{turn}", HOST).status for turn in range(50)] == [200] * 50
        eventually(lambda: gateway.metrics().total("fastgw_access_log_lines_dropped_total") > 0, "dropped lines are counted")
    assert gateway.get("/after", HOST).status == 200
    eventually(lambda: "/after 200 end" in log.read_text(), log.read_text())
    broken = [line for line in log.read_text().splitlines(keepends=True) if not LINE.fullmatch(line)]
    assert not broken, broken
    metrics = gateway.metrics()
    lines = len(log.read_text().splitlines())
    assert metrics.total("fastgw_access_log_lines_dropped_total") == 52 - lines
    assert gateway.worker_pids() == [worker]


def test_a_full_disk_from_the_start(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--access-log", "/dev/full"])
    with Load(gateway.port(), HOST, clients=4) as load:
        load.more(200)
    assert not load.failures
    eventually(lambda: gateway.metrics().total("fastgw_access_log_lines_dropped_total") >= load.answers)


def test_a_worker_without_memory_harms_itself_alone(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """No more memory for one of two workers, under load that wants some. Afterwards all is well.

    It either serves on or is replaced. What it must not do is live on deaf: when an accepted connection could not be made for want
    of memory, the listener was closed with it, and the kernel went on to send that worker its share of new connections.
    """
    gateway = start_gateway(simple(HOST, origin.port))
    victim, other = gateway.worker_pids()
    head = request_bytes("GET", "/", HOST, [f"X-Fill-{n}: {'x' * 7000}" for n in range(8)])[:-2]
    with limited(victim, resource.RLIMIT_AS, address_space(victim) + (1 << 20)):
        clients = []
        for _ in range(200):
            with contextlib.suppress(OSError):
                clients.append(socket.create_connection(("127.0.0.1", gateway.port()), 5))
                clients[-1].sendall(head)
        answered = 0
        for _ in range(40):
            with contextlib.suppress(Disconnected, OSError), Client(gateway.port(), timeout_s=5) as client:
                answered += client.get("/", HOST).status == 200
        assert answered >= 5, "the other worker goes on"
        for sock in clients:
            sock.close()
    eventually(lambda: len(gateway.worker_pids()) == 2, "both are there", 60)
    assert alive(other) and "SIGSEGV" not in gateway.said()
    assert [gateway.get("/", HOST).status for _ in range(30)] == [200] * 30
    gateway.write(
        "more.yaml",
        [server("more", ["more.test"]), virtual_service("more", ["more.test"], [route("webapp", 8080)], gateways=["more"])],
    )
    eventually(lambda: {worker["generation"] for worker in gateway.admin("/workers")} == {2})
    assert gateway.get("/", "more.test").status == 200
    gateway.assert_no_leaks()
    gateway.signal(signal.SIGTERM)  # not stop(): connections that were closed for want of memory count as bugs
    assert gateway.wait_exit() == 0
    gateway.assert_nothing_left()


def test_a_supervisor_without_descriptors_serves_on_and_recovers(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    workers = gateway.worker_pids()
    with limited(gateway.pid, resource.RLIMIT_NOFILE, open_files(gateway.pid)):
        gateway.write(
            "more.yaml",
            [server("more", ["more.test"]), virtual_service("more", ["more.test"], [route("webapp", 8080)], gateways=["more"])],
        )
        eventually(lambda: "is not served" in gateway.said() or gateway.get("/", "more.test").status == 200, gateway.tail())
        assert [gateway.get("/", HOST).status for _ in range(10)] == [200] * 10
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.get("/", "more.test").status == 200, gateway.tail())
    assert gateway.worker_pids() == workers
