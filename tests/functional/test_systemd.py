"""systemd's protocols, spoken by the tests: notifications, watchdog, passed sockets, the store of descriptors, credentials."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.certificates import Authority
from .support.client import Client, Disconnected, request_bytes
from .support.config import gateway_of, http_server, route, service_entry, simple, virtual_service
from .support.gateway import Gateway
from .support.load import Quiet
from .support.origin import RecordingOrigin, Reply
from .support.poll import eventually
from .support.ports import free_port, listening_inodes
from .support.processes import socket_inodes
from .support.systemd import NotifySocket, passing

HOST = "webapp.test"
PATIENT_S = 120
"""A supervisor that stood still itself gives its workers another ten seconds, each time."""


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as made:
        yield made


def variables(notify: NotifySocket, watchdog_s: float = 0) -> dict[str, str]:
    found = {"NOTIFY_SOCKET": str(notify.path)}
    return {**found, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))} if watchdog_s else found


def test_what_the_service_manager_hears(start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket) -> None:
    gateway = start_gateway(simple(HOST, origin.port), variables=variables(notify))
    notify.wait("READY", "1")
    assert notify.last("STATUS") == "serving 1 listener, 1 host, generation 1"
    before_us = time.monotonic_ns() // 1000
    gateway.signal(signal.SIGHUP)
    notify.wait("RELOADING", "1")
    notify.wait("READY", "1", more_than=1)
    (stamp,) = notify.values("MONOTONIC_USEC")
    assert before_us <= int(stamp) <= time.monotonic_ns() // 1000
    assert notify.last("STATUS") == "serving 1 listener, 1 host, generation 2"
    gateway.write("main.yaml", "")
    eventually(lambda: "generation 2" in notify.last("STATUS") and "is not served" in notify.last("STATUS"), notify.last("STATUS"))
    gateway.write("main.yaml", simple(HOST, origin.port))
    eventually(
        lambda: notify.last("STATUS").startswith("serving 1 listener, 1 host, generation") and "not" not in notify.last("STATUS")
    )
    notify.empty()
    gateway.stop()
    names = [next(iter(message)) for _, message in notify.messages if not message.keys() & {"FDSTORE", "FDSTOREREMOVE"}]
    assert names.index("READY") < names.index("RELOADING") < names.index("STOPPING")
    assert not notify.values("WATCHDOG"), "nobody asked for it"


def test_drain_is_told(start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket) -> None:
    origin.answer = lambda seen: Reply()
    gateway = start_gateway(simple(HOST, origin.port), variables=variables(notify), options=["--drain-time", "600"])
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        eventually(lambda: origin.seen)
        gateway.signal(signal.SIGTERM)
        notify.wait("STOPPING", "1")
        eventually(lambda: "1 connections, 1 requests under way" in notify.last("STATUS"), notify.last("STATUS"))
        assert int(notify.last("EXTEND_TIMEOUT_USEC")) > 600_000_000
        gateway.signal(signal.SIGTERM)
        gateway.wait_exit()


def test_the_watchdog_is_fed_only_while_all_workers_turn(
    start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket
) -> None:
    gateway = start_gateway(simple(HOST, origin.port), variables=variables(notify, watchdog_s=1.5))
    notify.wait("WATCHDOG", more_than=2)
    frozen = gateway.worker_pids()[0]
    os.kill(frozen, signal.SIGSTOP)

    def last_fed() -> float:
        return max(at for at, message in notify.messages if "WATCHDOG" in message)

    eventually(lambda: time.monotonic() - last_fed() > 2, "not fed any more")
    assert frozen in gateway.worker_pids()
    eventually(lambda: frozen not in gateway.worker_pids() and len(gateway.worker_pids()) == 2, "the worker is replaced", PATIENT_S)
    eventually(lambda: time.monotonic() - last_fed() < 1, "fed again")
    assert gateway.get("/", HOST).status == 200


def listening(port: int = 0, **options: bool) -> socket.socket:
    """A socket as a unit of systemd's has it: inherited, and with SO_REUSEPORT only when asked for."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if options.get("reuseport"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(64)
    sock.set_inheritable(True)
    return sock


@pytest.mark.parametrize("reuseport", [False, True])
def test_a_socket_by_the_name_of_the_port(start_gateway: StartGateway, origin: RecordingOrigin, reuseport: bool) -> None:
    """The client connects before the gateway is there; every worker serves the socket."""
    documents = simple(HOST, origin.port)
    with listening(reuseport=reuseport) as sock:
        port = sock.getsockname()[1]
        early = Client(port)
        early.send(request_bytes("GET", "/early", HOST))
        gateway = start_gateway(
            documents, ports=(), prefix=passing([("http-80", sock.fileno())]), pass_fds=[sock.fileno()], bind=None,
        )  # fmt: skip
        assert early.response().status == 200
        early.close()
        inodes = listening_inodes(port)
        assert len(inodes) == (2 if reuseport else 1)
        assert all(socket_inodes(pid) & inodes for pid in gateway.worker_pids(port))
        assert [Client(port).get("/", HOST).status for _ in range(20)] == [200] * 20
        (entry,) = gateway.admin("/listeners")
        assert entry["addresses"] == [f"127.0.0.1:{port}"]
        gateway.stop()
        assert listening_inodes(port), "the socket is its unit's"


def test_a_socket_by_its_port(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
        gateway = start_gateway(
            simple(HOST, origin.port), ports=(), options=["--listen-map", f"80={port}"],
            prefix=passing([("anything", sock.fileno())]), pass_fds=[sock.fileno()],
        )  # fmt: skip
        assert gateway.get("/", HOST, wanted=port).status == 200
        assert len(listening_inodes(port)) == 1


def test_a_socket_for_both_families(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """As ListenStream=80 makes it. A client of IPv4 has its IPv4 address everywhere."""
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        sock.listen(64)
        sock.set_inheritable(True)
        port = sock.getsockname()[1]
        log = ["--access-log", "-", "--access-log-format", "client %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n"]
        gateway = start_gateway(
            simple(HOST, origin.port), ports=(), prefix=passing([("http-80", sock.fileno())]), pass_fds=[sock.fileno()], options=log
        )
        assert gateway.get("/", HOST, wanted=port).status == 200
        eventually(lambda: gateway.stdout.read_text() == "client 127.0.0.1\n", gateway.stdout.read_text())


def test_a_listener_that_goes_and_comes_back_finds_its_socket(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    one = gateway_of("one", [http_server(["*"], 80)])
    two = gateway_of("two", [http_server(["*"], 81)])
    rest = [
        virtual_service("v", ["*"], [route("webapp", 8080)], gateways=["one", "two"]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    with listening() as sock:
        port = sock.getsockname()[1]
        gateway = start_gateway([one, two, *rest], prefix=passing([("http-81", sock.fileno())]), pass_fds=[sock.fileno()])
        assert gateway.get("/", HOST, wanted=port).status == 200
        gateway.write("main.yaml", [one, *rest])
        eventually(lambda: len(gateway.admin("/listeners")) == 1)
        gateway.write("main.yaml", [one, two, *rest])
        eventually(lambda: len(gateway.admin("/listeners")) == 2)
        assert gateway.get("/", HOST, wanted=port).status == 200


def test_a_socket_that_no_listener_wants_is_named(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    with listening() as sock:
        gateway = start_gateway(simple(HOST, origin.port), prefix=passing([("https", sock.fileno())]), pass_fds=[sock.fileno()])
        eventually(lambda: f"the socket https (127.0.0.1 port {sock.getsockname()[1]})" in gateway.said())


def test_status_and_admin_by_name(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    with listening() as status, listening() as admin:
        fds = [status.fileno(), admin.fileno()]
        gateway = Gateway(
            start_gateway(simple(HOST, origin.port)).directory / "second", simple(HOST, origin.port),
            prefix=passing([("status", fds[0]), ("admin", fds[1])]), pass_fds=fds,
        )  # fmt: skip
        gateway.status_port, gateway.admin_port = status.getsockname()[1], admin.getsockname()[1]
        gateway.start()
        assert gateway.health() == 200 and len(gateway.admin("/workers")) == 2
        gateway.signal(signal.SIGTERM)
        assert gateway.wait_exit() == 0


def restart(gateway: Gateway, notify: NotifySocket) -> Gateway:
    """What ``systemctl restart`` does: end the old one, start a new one with what is in the store."""
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    named = notify.stored()
    for _, fd in named:
        os.set_inheritable(fd, True)
    successor = Gateway(
        gateway.directory / "next", (), prefix=passing(named), pass_fds=[fd for _, fd in named], variables=gateway.variables
    )
    successor.ports, successor.config = gateway.ports, gateway.config
    return successor


def test_a_restart_keeps_queue_counters_and_sessions(
    start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket
) -> None:
    first = start_gateway(simple(HOST, origin.port), variables=variables(notify))
    for _ in range(5):
        assert first.get("/", HOST).status == 200
    eventually(lambda: first.metrics().total("istio_requests_total", response_code="200") == 5)
    successor = restart(first, notify)
    inodes = listening_inodes(first.port())
    assert len(inodes) == 2, "the store holds the sockets of both workers"
    waiting = [Client(first.port()) for _ in range(10)]
    for client in waiting:
        client.send(request_bytes("GET", "/waiting", HOST))
    with successor:
        assert [client.response().status for client in waiting] == [200] * 10
        for client in waiting:
            client.close()
        assert listening_inodes(first.port()) == inodes
        eventually(
            lambda: successor.metrics().total("istio_requests_total", response_code="200", destination_service="webapp") == 15
        )
        assert successor.metrics().total("fastgw_endpoint_requests_total") == 15
        successor.assert_no_leaks()
        notify.empty()


def test_a_restart_fails_no_new_connection(start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket) -> None:
    """Clients that never pause do not hold up its end, and each of their connections is answered: by the old gateway when it has
    accepted it, else by the new one."""
    first = start_gateway(simple(HOST, origin.port), variables=variables(notify), options=["--drain-time", "600"])
    stop, failures, answered = threading.Event(), [], collections.Counter[str]()

    def ask(name: str) -> None:
        while not stop.is_set():
            quiet = Quiet()
            try:
                with contextlib.closing(Client(first.port(), timeout_s=120)) as client:
                    client.send(request_bytes("GET", "/", HOST))
                    quiet.ends()
                    answer = client.response()
                    assert answer.status == 200, answer
                answered[name] += 1
            except (Disconnected, ConnectionError) as error:
                if not quiet.too_long(error):
                    failures.append(repr(error))
            except Exception as error:
                failures.append(repr(error))
            time.sleep(0.01)

    threads = [threading.Thread(target=ask, args=(f"client {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(answered) == 4)
        with restart(first, notify) as successor:
            before = answered.copy()
            eventually(lambda: all(answered[name] > before[name] for name in before), "each has an answer of the new one", 60)
            stop.set()
            for thread in threads:
                thread.join()
            assert not failures, failures[:5]
            successor.assert_no_leaks()
            notify.empty()
    finally:
        stop.set()


def test_a_restart_with_fewer_workers_closes_no_queue(
    start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket
) -> None:
    first = start_gateway(simple(HOST, origin.port), variables=variables(notify), workers=3)
    successor = restart(first, notify)
    successor.settings["workers"] = successor.workers_wanted = 1
    waiting = [Client(first.port()) for _ in range(12)]
    for client in waiting:
        client.send(request_bytes("GET", "/waiting", HOST))
    with successor:
        assert [client.response().status for client in waiting] == [200] * 12
        for client in waiting:
            client.close()
        successor.assert_no_leaks()
        notify.empty()


def test_what_another_version_stored_is_dropped(start_gateway: StartGateway, origin: RecordingOrigin, notify: NotifySocket) -> None:
    strange = os.memfd_create("strange")
    os.write(strange, b"not a state segment")
    os.set_inheritable(strange, True)
    with listening(free_port()) as sock:
        named = [("fastgw.state.1.1", strange), ("fastgw.listener.0.0.0.0_9", sock.fileno())]
        gateway = start_gateway(
            simple(HOST, origin.port), prefix=passing(named), pass_fds=[fd for _, fd in named], variables=variables(notify)
        )
        assert gateway.get("/", HOST).status == 200
        notify.wait("FDNAME", "fastgw.state.1.1")
        notify.wait("FDNAME", "fastgw.listener.0.0.0.0_9")
    os.close(strange)


def test_credentials_of_the_service(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    """LoadCredential=web:DIRECTORY makes web_tls.crt and web_tls.key in $CREDENTIALS_DIRECTORY."""
    from .support.config import https_server
    from .support.tls_client import client_context, fetch_tls

    credentials = tmp_path / "credentials"
    credentials.mkdir()
    pair = authority.issue(HOST)
    (credentials / "web_tls.crt").write_text(pair.chain)
    (credentials / "web_tls.key").write_text(pair.key)
    (credentials / "ticket-keys").write_bytes(os.urandom(80))
    documents = [
        gateway_of("gw", [https_server([HOST], "web")]),
        virtual_service("v", [HOST], [route("webapp", 8080)], gateways=["gw"]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    gateway = start_gateway(documents, ports=(443,), variables={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert fetch_tls(gateway.port(443), HOST, client_context(authority)).status == 200
