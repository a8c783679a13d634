"""Health checks: verdicts from results, who is asked how often, and which cells say so, on a clock that does not wait."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from virtual_clock import run_virtual

from fastgw.model.plan import HealthCheck, UpstreamTls
from fastgw.native._native import lib
from fastgw.supervisor.compile_protocol import HealthTarget
from fastgw.supervisor.health import HealthChecker, Streak
from fastgw.supervisor.health_probe import Asked
from fastgw.supervisor.state import UPPER_CELLS_FROM, DnsAddress, StateSegment

HTTP = HealthCheck("http", "/healthz", interval_ms=5_000, healthy=2, unhealthy=3)
REFUSED = "connection refused"


class Scene:
    """A checker whose checks are answered from ``answers``, by port; what is not there is well."""

    def __init__(self) -> None:
        self.state = StateSegment(1)
        self.answers: dict[int, str] = {}
        self.asked: dict[int, list[Asked]] = defaultdict(list)
        self.times_s: list[float] = []
        self.seconds = 0.0
        self.checker = HealthChecker(self.state, lambda: -1, self.ask)

    async def ask(self, asked: Asked) -> str:
        self.asked[asked.port].append(asked)
        self.times_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        return self.answers.get(asked.port, "")

    def unhealthy(self, *cells: int) -> list[bool]:
        return [bool(self.state.cell(cell).flags & lib.FGW_CELL_UNHEALTHY) for cell in cells]

    async def rounds(self, count: float) -> None:
        await asyncio.sleep(count * 5.0 * 1.1)


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene()
        try:
            await act(scene)
        finally:
            scene.checker.close()
            await asyncio.sleep(0)
            scene.state.close()

    run_virtual(main())


def target(*endpoints: tuple[str, int, int], check: HealthCheck = HTTP, **more: Any) -> HealthTarget:
    return HealthTarget("outbound|80||a.test", check, "a.test", False, endpoints=endpoints, **more)


ONE = ("10.0.0.1", 80, 7)


@pytest.mark.parametrize(
    ("results", "verdicts"),
    [
        ("+++", "+++"),
        ("-", "-"),
        ("+--+--+", "+++++++"),
        ("+---", "+++-"),
        ("+---+-++", "+++----+"),
        ("-+-++-", "----++"),
    ],
)
def test_so_many_results_in_a_row_change_a_verdict(results: str, verdicts: str) -> None:
    streak, seen, changes = Streak(healthy=2, unhealthy=3), "", 0
    for result in results:
        changes += streak.observe(result == "+")
        seen += {True: "+", False: "-", None: "?"}[streak.verdict]
    assert seen == verdicts
    assert changes == 1 + sum(one != other for one, other in pairwise(verdicts))


def test_an_endpoint_that_fails_is_given_up_and_taken_back() -> None:
    async def act(scene: Scene) -> None:
        scene.checker.follow([target(ONE, ("10.0.0.2", 81, 8))])
        assert scene.unhealthy(7, 8) == [False, False], "nothing is known yet"
        await scene.checker.wait_known(1.0)
        scene.answers[80] = "status 500, wanted 200-299"
        await scene.rounds(2)
        assert scene.unhealthy(7, 8) == [False, False]
        await scene.rounds(2)
        assert scene.unhealthy(7, 8) == [True, False]
        found = scene.checker.by_cell()
        assert (found[7].status, found[7].error, found[8].status) == ("unhealthy", "status 500, wanted 200-299", "healthy")
        assert found[7].checked > found[7].failed >= 3 and found[8].failed == 0
        scene.answers.clear()
        await scene.rounds(3)
        assert scene.unhealthy(7, 8) == [False, False]

    play(act)


def test_the_first_check_decides_at_once() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[80] = REFUSED
        scene.checker.follow([target(ONE)])
        await scene.checker.wait_known(1.0)
        assert scene.unhealthy(7) == [True]

    play(act)


def test_checks_keep_their_interval_however_long_they_take() -> None:
    async def act(scene: Scene) -> None:
        scene.seconds = 1.5
        scene.checker.follow([target(ONE)])
        await asyncio.sleep(500)
        pauses = [later - earlier for earlier, later in pairwise(scene.times_s)]
        assert min(pauses) >= 4.5 and max(pauses) <= 5.5 and max(pauses) > min(pauses)
        assert 91 <= len(scene.times_s) <= 112

    play(act)


def test_an_endpoint_of_several_clusters_is_checked_once() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[80] = REFUSED
        other = HealthTarget("outbound|80|v1|a.test", HTTP, "a.test", False, endpoints=(("10.0.0.1", 80, 9),))
        scene.checker.follow([target(ONE), other])
        await scene.checker.wait_known(1.0)
        assert (scene.unhealthy(7, 9), len(scene.asked[80])) == ([True, True], 1)
        scene.checker.retain([other])
        assert scene.unhealthy(7, 9) == [False, True]
        await scene.rounds(1)
        assert len(scene.asked[80]) == 2

    play(act)


def test_a_cluster_that_asks_in_another_way_has_a_check_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        tcp = HealthCheck("tcp")
        scene.checker.follow([target(ONE), target(("10.0.0.1", 80, 9), check=tcp)])
        await scene.checker.wait_known(1.0)
        assert sorted(asked.check.kind for asked in scene.asked[80]) == ["http", "tcp"]

    play(act)


def test_what_is_no_longer_wanted_is_asked_no_more_and_its_cell_is_free() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[80] = REFUSED
        scene.checker.follow([target(ONE)])
        await scene.checker.wait_known(1.0)
        assert scene.unhealthy(7) == [True]
        scene.checker.retain([])
        assert (scene.unhealthy(7), scene.checker.by_cell()) == ([False], {})
        await scene.rounds(5)
        assert len(scene.asked[80]) == 1

    play(act)


def test_the_verdict_of_a_predecessor_holds_until_the_first_check() -> None:
    async def act(scene: Scene) -> None:
        for cell in (7, 8, 9):
            scene.state.mark_cell(cell, lib.FGW_CELL_UNHEALTHY, True)
        scene.state.adopted = True
        scene.answers[81] = REFUSED
        scene.checker.follow([target(ONE, ("10.0.0.2", 81, 8))])
        scene.checker.go_on()
        assert scene.unhealthy(7, 8, 9) == [True, True, False], "nobody checks the last one any more"
        await scene.checker.wait_known(1.0)
        assert scene.unhealthy(7, 8, 9) == [False, True, False]

    play(act)


def test_a_changed_check_takes_over_without_a_gap() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[80] = REFUSED
        scene.checker.follow([target(ONE)])
        await scene.checker.wait_known(1.0)
        changed = target(ONE, check=HealthCheck("tcp"))
        scene.checker.follow([changed])
        assert scene.unhealthy(7) == [True]
        await scene.checker.wait_known(1.0)
        scene.checker.retain([changed])
        assert scene.unhealthy(7) == [True]
        assert scene.asked[80][-1].check.kind == "tcp"

    play(act)


def test_the_same_endpoints_again_change_nothing() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[80] = REFUSED
        scene.checker.follow([target(ONE)])
        await scene.checker.wait_known(1.0)
        for _ in range(3):
            scene.checker.follow([target(ONE)])
            scene.checker.retain([target(ONE)])
        await asyncio.sleep(0)
        assert (scene.unhealthy(7), len(scene.asked[80])) == ([True], 1)

    play(act)


def test_ejection_and_health_are_flags_of_their_own() -> None:
    async def act(scene: Scene) -> None:
        scene.state.mark_cell(7, lib.FGW_CELL_EJECTED, True)
        scene.answers[80] = REFUSED
        scene.checker.follow([target(ONE)])
        await scene.checker.wait_known(1.0)
        assert scene.state.cell(7).flags == lib.FGW_CELL_EJECTED | lib.FGW_CELL_UNHEALTHY
        scene.checker.retain([])
        assert scene.state.cell(7).flags == lib.FGW_CELL_EJECTED

    play(act)


def test_addresses_of_names_are_checked_as_they_come_and_go() -> None:
    async def act(scene: Scene) -> None:
        def resolve(*addresses: tuple[str, int, int]) -> None:
            found = [DnsAddress(ipaddress.ip_address(ip).packed, port, cell) for ip, port, cell in addresses]
            scene.state.write_dns(3, lib.FGW_DNS_OK, found)
            scene.checker.on_slot(3)

        first, second = UPPER_CELLS_FROM, UPPER_CELLS_FROM + 1
        scene.answers[81] = REFUSED
        scene.checker.follow([target(ONE, slot=3)])
        resolve(("10.0.0.9", 81, first), ("fd00::9", 82, second))
        await scene.checker.wait_known(1.0)
        assert scene.unhealthy(7, first, second) == [False, True, False]
        assert scene.asked[82][0].address == "fd00::9"
        resolve(("fd00::9", 82, second))
        assert (scene.unhealthy(first), len(scene.checker.by_cell())) == ([False], 2)
        scene.checker.retain([])
        resolve(("10.0.0.9", 81, first))
        await scene.rounds(2)
        assert len(scene.asked[81]) == 1

    play(act)


def test_a_port_of_its_own_is_asked_in_plain_text() -> None:
    async def act(scene: Scene) -> None:
        tls = UpstreamTls(verify="none")
        own_port = HealthCheck("http", "/", port=9000)
        scene.checker.follow([target(ONE, check=own_port, tls=tls), target(("10.0.0.1", 81, 8), tls=tls)])
        await scene.checker.wait_known(1.0)
        assert (scene.asked[9000][0].tls, scene.asked[81][0].tls is None) == (None, False)

    play(act)


def test_a_missing_credential_makes_an_endpoint_unhealthy_as_it_does_for_requests() -> None:
    async def act(scene: Scene) -> None:
        scene.checker.follow([target(ONE, tls=UpstreamTls(ca="file-ca:/nowhere"))])
        await scene.checker.wait_known(1.0)
        assert (scene.unhealthy(7), scene.asked[80]) == ([True], [])
        assert scene.checker.by_cell()[7].error == "TLS: no usable CA in file-ca:/nowhere"

    play(act)


def test_a_check_that_breaks_is_a_failure_and_goes_on() -> None:
    async def act(scene: Scene) -> None:
        async def broken(asked: Asked) -> str:
            scene.asked[asked.port].append(asked)
            raise RuntimeError("broken")

        scene.checker._ask = broken
        scene.checker.follow([target(ONE)])
        await scene.rounds(3)
        assert scene.unhealthy(7) == [True] and len(scene.asked[80]) >= 3

    play(act)


def test_waiting_is_bounded() -> None:
    async def act(scene: Scene) -> None:
        scene.seconds = 100.0
        scene.checker.follow([target(ONE)])
        began_s = asyncio.get_running_loop().time()
        await scene.checker.wait_known(1.0)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(1.0)

    play(act)
