"""Admin and status servers over real sockets, in front of a supervisor that is not started."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastgw.admin import guards
from fastgw.admin.admin_server import AdminServer
from fastgw.admin.metrics import listen_overflows, render
from fastgw.admin.status_server import StatusServer
from fastgw.native._native import ffi, lib
from fastgw.supervisor.settings import Settings
from fastgw.supervisor.supervisor import Supervisor


class Scene:
    def __init__(self, admin: str) -> None:
        self.supervisor = Supervisor(Settings(paths=["x"], workers=2, admin=admin, status="127.0.0.1:0"))
        self.admin = AdminServer(self.supervisor)
        self.status = StatusServer(self.supervisor)

    async def ask(self, server: Any, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connector = None
        url = f"http://{server.address}{path}"
        if server.address.startswith("unix:"):
            connector, url = aiohttp.UnixConnector(server.address[5:]), f"http://anything{path}"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, url, headers={name.replace("_", "-"): value for name, value in headers.items()}) as response,
        ):
            return response.status, await response.text()


def play(act: Callable[[Scene], Awaitable[None]], admin: str = "127.0.0.1:0") -> None:
    async def main() -> None:
        scene = Scene(admin)
        await scene.status.start("127.0.0.1:0")
        await scene.admin.start(admin)
        try:
            await act(scene)
        finally:
            await scene.admin.stop()
            await scene.status.stop()
            await scene.supervisor._close()

    asyncio.run(main())


def test_readiness_says_why_not() -> None:
    async def act(scene: Scene) -> None:
        status, text = await scene.ask(scene.status, "/healthz/ready")
        assert status == 503 and "first configuration" in text
        assert await scene.ask(scene.status, "/healthz/live") == (200, "live\n")
        scene.supervisor.drain()
        assert (await scene.ask(scene.status, "/healthz/ready")) == (503, "not ready: draining\n")

    play(act)


def test_the_status_server_has_no_commands() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.ask(scene.status, "/drain", "POST"))[0] == 404
        assert (await scene.ask(scene.status, "/config/plan"))[0] == 404

    play(act)


def test_foreign_hosts_and_pages_are_refused() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.ask(scene.admin, "/version", Host="evil.example"))[0] == 403
        assert (await scene.ask(scene.admin, "/version"))[0] == 200
        assert (await scene.ask(scene.admin, "/drain", "POST", Origin="http://evil.example"))[0] == 403
        assert (await scene.ask(scene.admin, "/drain", "POST", Sec_Fetch_Site="cross-site"))[0] == 403
        assert (await scene.ask(scene.admin, "/drain"))[0] == 405
        assert not scene.supervisor.draining
        assert (await scene.ask(scene.admin, "/drain", "POST"))[0] == 200
        assert scene.supervisor.draining

    play(act)


def test_commands_of_other_users_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(scene: Scene) -> None:
        for user, status in ((54321, 403), (None, 200), (0, 200)):
            monkeypatch.setattr(guards, "user_of_peer", lambda sock, user=user: user)
            assert (await scene.ask(scene.admin, "/reopen-logs", "POST"))[0] == status
            assert (await scene.ask(scene.admin, "/workers"))[0] == 200

    play(act)


def test_what_is_not_there_yet_is_a_503() -> None:
    async def act(scene: Scene) -> None:
        for path in ("/config/plan", "/config/image", "/clusters"):
            assert (await scene.ask(scene.admin, path))[0] == 503
        assert (await scene.ask(scene.admin, "/reload", "POST"))[0] == 503
        for path in ("/", "/workers", "/listeners", "/dns", "/config/diagnostics", "/config/generation"):
            assert (await scene.ask(scene.admin, path))[0] == 200

    play(act)


def test_the_unix_socket_is_for_this_user_only_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def act(scene: Scene) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert (await scene.ask(scene.admin, "/version"))[0] == 200

    play(act, f"unix:{path}")
    assert not path.exists()


def test_a_live_unix_socket_is_not_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        async def act(scene: Scene) -> None:
            assert scene.admin.address == ""

        play(act, f"unix:{path}")
    assert "in use" in caplog.text and path.exists()


def test_a_port_in_use_is_a_warning_that_names_the_holder(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        async def act(scene: Scene) -> None:
            assert scene.admin.address == ""
            assert (await scene.ask(scene.status, "/healthz/live"))[0] == 200

        with caplog.at_level(logging.WARNING):
            play(act, address)
    assert f"{address} is in use by" in caplog.text and f"pid {os.getpid()}" in caplog.text and "--admin" in caplog.text


def test_metrics_are_read_from_the_state_segment() -> None:
    async def act(scene: Scene) -> None:
        block = scene.supervisor.state._state
        for worker, number in ((0, 3), (1, 4)):
            block.workers[worker].counters[lib.FGW_C_CLIENT_CONNECTIONS] = number
            block.workers[worker].counters[lib.FGW_C_LENIENT_FRAGMENT] = number
            block.workers[worker].counters[lib.FGW_C_CLIENT_TIMEOUTS_IDLE] = number
            block.workers[worker].counters[lib.FGW_G_CLIENT_ACTIVE] = number
            block.workers[worker].counters[lib.FGW_G_LOOP_LAG_US] = number * 1000
            block.workers[worker].rejected[lib.FGW_R_BARE_LF] = number
            series = lib.fgw_series_of(block.workers + worker, lib.fgw_series_key(0, 404, lib.FGW_F_NR, 1))
            lib.fgw_series_add(series, 1000, 1, 1)
        _, text = await scene.ask(scene.status, "/stats/prometheus", Accept_Encoding="identity")
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("fastgw_")
        }
        assert samples["fastgw_client_connections_total", ()] == 7
        assert samples["fastgw_client_connections_active", ()] == 7
        assert samples["fastgw_lenient_total", (("leniency", "fragment"),)] == 7
        assert samples["fastgw_client_timeouts_total", (("timeout", "idle"),)] == 7
        assert samples["fastgw_rejected_requests_total", (("reason", "bare_lf"),)] == 7
        assert samples["fastgw_loop_lag_seconds", ()] == 0.004
        assert samples["fastgw_workers", ()] == 2 and samples["fastgw_ready", ()] == 0
        assert "istio_requests_total{" in text and 'response_flags="NR"' in text

    play(act)


def test_every_counter_and_gauge_of_the_header_is_exposed() -> None:
    async def act(scene: Scene) -> None:
        exposed = render(scene.supervisor).decode()
        constants = ffi.typeof("enum fgw_counter").relements
        block = scene.supervisor.state._state
        for name, index in constants.items():
            if name.endswith("_END") or name in ("FGW_G_ACCEPT_HELD", "FGW_G_SHED_SHARE"):  # see the next tests
                continue
            block.workers[1].counters[index] += 1_234_000_000
            after = render(scene.supervisor).decode()
            assert after != exposed and ("1.234e+09" in after or "1234.0" in after), name
            block.workers[1].counters[index] -= 1_234_000_000

    play(act)


def test_why_workers_accept_nothing() -> None:
    async def act(scene: Scene) -> None:
        block = scene.supervisor.state._state
        block.workers[0].counters[lib.FGW_G_ACCEPT_HELD] = 1 | 8
        block.workers[1].counters[lib.FGW_G_ACCEPT_HELD] = 2 | 8
        text = render(scene.supervisor).decode()
        held = dict(re.findall(r'fastgw_accept_held{reason="(\w+)"} (\S+)', text))
        assert held == {"connections": "1.0", "descriptors": "1.0", "pause": "0.0", "memory": "2.0"}

    play(act)


def test_lost_connections_are_read_from_the_kernel(tmp_path: Path) -> None:
    table = tmp_path / "netstat"
    table.write_text("TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 23 45\nIpExt: A\nIpExt: 7\n")
    assert listen_overflows(str(table)) == 23
    table.write_text("TcpExt: ListenOverflows\n")
    assert listen_overflows(str(table)) == 0
    assert listen_overflows(str(tmp_path / "none")) == 0
    assert listen_overflows() >= 0


def test_what_workers_do_in_overload() -> None:
    async def act(scene: Scene) -> None:
        counters = scene.supervisor.state._state.workers[1].counters
        counters[lib.FGW_G_SHED_SHARE], counters[lib.FGW_G_LOOP_DELAY_US] = lib.FGW_SHEDDER_ALL // 4, 150_000
        counters[lib.FGW_C_SHED_DELAY], counters[lib.FGW_C_MEMORY_STEP_RESET] = 7, 3
        lines = render(scene.supervisor).decode().splitlines()
        assert 'fastgw_worker_shed_share{worker="1"} 0.25' in lines
        assert 'fastgw_worker_loop_delay_seconds{worker="1"} 0.15' in lines
        assert 'fastgw_overload_refused_requests_total{cause="delay"} 7.0' in lines
        assert 'fastgw_memory_steps_total{step="reset"} 3.0' in lines

    play(act)


def test_metrics_are_zipped_for_those_who_take_it() -> None:
    async def act(scene: Scene) -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            url = f"http://{scene.status.address}/stats/prometheus"
            async with session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
                assert response.headers["Content-Encoding"] == "gzip"
                assert b"fastgw_build_info" in gzip.decompress(await response.read())
                assert response.headers["Content-Type"].startswith("text/plain")

    play(act)
