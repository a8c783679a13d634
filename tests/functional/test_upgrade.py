"""SIGUSR2: another version of the supervisor takes over in the same process; nothing is lost, and what fails changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import yaml

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import dns_entry, gateway_of, http_server, route, service_entry, simple, virtual_service
from .support.config import gateway as server
from .support.curl import curl
from .support.gateway import Gateway, run_cli
from .support.load import Load
from .support.name_server import NameServer
from .support.origin import RecordingOrigin, Reply, ok
from .support.poll import eventually
from .support.ports import listening_inodes
from .support.processes import alive, in_session, open_files, parent_of
from .support.systemd import NotifySocket
from .support.websocket import WebSocketOrigin, websocket

HOST = "webapp.test"


def upgraded(gateway: Gateway, times: int = 1) -> None:
    """Until the new version's workers serve, and it has told the old ones to end."""
    eventually(lambda: gateway.said().count("upgraded from") == times, gateway.tail())


def upgrade(gateway: Gateway, times: int = 1) -> None:
    gateway.signal(signal.SIGUSR2)
    upgraded(gateway, times)


def new_workers(gateway: Gateway, before: list[int]) -> list[int]:
    """All workers that hold the port, when they are as many as there should be and none is one of ``before``."""
    pids = gateway.worker_pids()
    return pids if len(pids) == gateway.workers_wanted and not set(pids) & set(before) else []


def test_five_upgrades_under_load(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    inodes = listening_inodes(gateway.port())
    pid, workers = gateway.pid, gateway.worker_pids()
    with Load(gateway.port(), HOST, clients=8, close_is_cut=False) as load:
        files = 0
        for turn in range(1, 6):
            load.more(50)
            upgrade(gateway, turn)
            assert gateway.ready(), "ready all the while"
            files = files or open_files(pid)
            load.more(50)
            workers = eventually(lambda before=workers: new_workers(gateway, before), "other workers")
    assert not load.failures, load.failures[:5]
    assert gateway.pid == pid and all(parent_of(worker) == pid for worker in workers)
    assert listening_inodes(gateway.port()) == inodes
    eventually(lambda: len(in_session(pid)) <= len(workers) + 2, "old workers are gone")
    assert open_files(pid) <= files + 3, "descriptors of earlier versions are left open"
    eventually(lambda: gateway.metrics().total("istio_requests_total", response_code="200") >= load.answers, "counters go on")
    eventually(lambda: gateway.metrics().total("fastgw_endpoint_requests_active") == 0, "none is under way")


def test_old_workers_stay_for_what_is_open(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply() if seen.message.target == "/held" else origin.echo(seen)
    gateway = start_gateway(simple(HOST, origin.port))
    before = gateway.worker_pids()
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        (seen,) = eventually(lambda: [s for s in origin.seen if s.message.target == "/held"])
        upgrade(gateway)
        eventually(lambda: new_workers(gateway, before), "the old ones do not accept")
        eventually(lambda: sum(map(alive, before)) == 1, "the one without a connection has ended")
        assert gateway.get("/", HOST).status == 200
        (connection,) = [c for c in origin.connections if c.number == seen.connection]
        origin.call(lambda: origin.send(connection, origin.echo(seen)))
        answer = held.response()
        assert (answer.status, (answer.value("connection") or "").lower()) == (200, "close")
    eventually(lambda: not any(map(alive, before)), "it ends after its last connection")
    eventually(lambda: "the last worker of the version before has ended" in gateway.said())


def test_a_websocket_lives_through_upgrades(start_gateway: StartGateway) -> None:
    with WebSocketOrigin() as echoes:
        documents = [
            server(hosts=["*"]),
            virtual_service("ws", [HOST], [route("ws", 8080)]),
            service_entry("ws", [("127.0.0.1", echoes.port)]),
        ]
        gateway = start_gateway(documents)
        before = gateway.worker_pids()
        with websocket(gateway.port(), HOST) as open_one:
            for turn in (1, 2):
                upgrade(gateway, turn)
                open_one.send(f"turn {turn}")
                assert open_one.recv(timeout=60) == f"turn {turn}"
            eventually(lambda: sum(map(alive, before)) == 1, "only the one with the WebSocket is left")
            eventually(lambda: "1 worker of the version before" in status(gateway), "the others have ended")
        eventually(lambda: not any(map(alive, before)), "and it ends with it")


def status(gateway: Gateway) -> str:
    done = run_cli("drain", "status", "--admin", f"127.0.0.1:{gateway.admin_port}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_drain_time_bounds_old_workers(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply()
    gateway = start_gateway(simple(HOST, origin.port), workers=1, options=["--drain-time", "1"])
    (before,) = gateway.worker_pids()
    with gateway.client() as held:
        held.send(request_bytes("GET", "/held", HOST))
        eventually(lambda: origin.seen)
        upgrade(gateway)
        assert held.wait_closed()
        eventually(lambda: not alive(before), "cut at the drain time")


def test_a_new_version_that_cannot_start_changes_nothing(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    workers = gateway.worker_pids()
    settings = gateway.directory / "settings.yaml"
    good = settings.read_text()
    settings.write_text(yaml.safe_dump({**gateway.settings, "no-such-setting": 1}))
    gateway.signal(signal.SIGUSR2)
    eventually(
        lambda: "not upgraded, everything stays as it is" in gateway.said() and "no-such-setting" in gateway.said(),
        gateway.tail(),
        60,
    )
    gateway.write("main.yaml", "")
    settings.write_text(good)
    eventually(lambda: gateway.admin("/config/generation")["error"])
    gateway.signal(signal.SIGUSR2)
    eventually(lambda: gateway.said().count("not upgraded") == 2, gateway.tail())
    assert gateway.worker_pids() == workers and gateway.ready()
    assert gateway.get("/", HOST).status == 200
    gateway.write("main.yaml", simple(HOST, origin.port))
    upgrade(gateway)
    eventually(lambda: new_workers(gateway, workers), "and then it works")


def test_settings_of_the_new_version_hold(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Fewer workers: each has two of the sockets. More: there are new ones."""
    gateway = start_gateway(simple(HOST, origin.port), workers=3)
    inodes = listening_inodes(gateway.port())
    settings = gateway.directory / "settings.yaml"
    for turn, count in enumerate((1, 4), 1):
        settings.write_text(yaml.safe_dump({**gateway.settings, "workers": count}))
        before = gateway.worker_pids()
        gateway.workers_wanted = count
        upgrade(gateway, turn)
        eventually(lambda before=before: new_workers(gateway, before), f"{count} workers")
        assert [gateway.get("/", HOST).status for _ in range(20)] == [200] * 20
        assert listening_inodes(gateway.port()) >= inodes
    assert len(listening_inodes(gateway.port())) == 4


def test_the_end_during_an_upgrade(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Signals wait until the new version listens for them; old and new workers end."""
    gateway = start_gateway(simple(HOST, origin.port))
    gateway.signal(signal.SIGUSR2)
    eventually(lambda: "passed its rehearsal" in gateway.said(), gateway.tail())
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    gateway.assert_nothing_left()
    assert "Traceback" not in gateway.said(), gateway.tail()


def test_unix_sockets_go_on(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    """The listener's own, and the admin API's: the files stay, and who connects to them is answered."""
    web, admin = tmp_path / "web.sock", tmp_path / "admin.sock"
    unix = {"bind": f"unix://{web}", "port": {"number": 0, "name": "unix", "protocol": "HTTP"}, "hosts": ["*"]}
    documents = [
        gateway_of("gw", [http_server(["*"], 80), unix]),
        virtual_service("v", ["*"], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    gateway = start_gateway(documents)
    second = Gateway(gateway.directory / "second", simple(HOST, origin.port), options=["--admin", f"unix:{admin}"])
    with second:
        files = [path.stat().st_ino for path in (web, admin)]
        upgrade(gateway)
        upgrade(second)
        assert [path.stat().st_ino for path in (web, admin)] == files
        assert curl("--unix-socket", str(web), f"http://{HOST}/").status == 200
        assert curl("--unix-socket", str(admin), "http://localhost/workers").status == 200
    assert not admin.exists()


def test_what_the_service_manager_hears_of_an_upgrade(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path) -> None:
    with NotifySocket(tmp_path) as notify:
        gateway = start_gateway(simple(HOST, origin.port), variables={"NOTIFY_SOCKET": str(notify.path)})
        notify.wait("READY", "1")
        gateway.signal(signal.SIGUSR2)
        notify.wait("RELOADING", "1")
        notify.wait("READY", "1", more_than=1)
        assert not notify.values("MAINPID"), "it is the same process"
        stored = [name for name in notify.store if name.startswith("fastgw.listener")]
        assert len(stored) == 1 and len(notify.store[stored[0]]) == 2
        notify.empty()
        gateway.stop()


def test_what_is_known_of_endpoints_goes_on(start_gateway: StartGateway, make_origin: Callable[..., RecordingOrigin]) -> None:
    """DNS is down and an endpoint is sick while the gateway is upgraded: no request notices."""
    fine = make_origin("fine", address="127.0.0.1")
    sick = make_origin("sick", address="127.0.0.2", port=fine.port)
    sick.answer = lambda seen: ok(b"", status="500 Oops")
    with NameServer({"app.example": ["127.0.0.1", "127.0.0.2"]}) as dns:
        entry = dns_entry("app.example", "app.example", fine.port)
        entry["metadata"]["annotations"] = {"gateway.fastgw.io/health-check": "http:/;interval=200ms;timeout=5s"}
        documents = [
            gateway_of("gw", [http_server([HOST])]),
            virtual_service("webapp", [HOST], [route("app.example", 8080)]),
            entry,
        ]
        gateway = start_gateway(documents, options=dns.option)
        eventually(lambda: {gateway.get("/", HOST).status for _ in range(20)} == {200}, "both have been checked")
        dns.zone["app.example"] = None
        eventually(lambda: gateway.admin("/dns")[0]["error"])
        with Load(gateway.port(), HOST, clients=4, close_is_cut=False) as load:
            load.more(50)
            upgrade(gateway)
            load.more(50)
        assert not load.failures, load.failures[:5]
        assert gateway.admin("/dns")[0]["error"]
        assert {gateway.get("/", HOST).status for _ in range(20)} == {200}
