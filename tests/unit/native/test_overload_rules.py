"""The rules of overload on a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest
from wire.native import ffi, lib

MS = 1_000_000
TARGET_MS = 100
ALL = int(lib.FGW_SHEDDER_ALL)


class Loop:
    """A loop whose turns take as long as the test says, one right after the other."""

    def __init__(self, target_ms: int = TARGET_MS) -> None:
        self.rule: Any = ffi.new("fgw_shedder *")
        lib.fgw_shedder_start(self.rule, target_ms * MS)
        self.now_ms = 5_000

    def turn(self, delay_ms: float, idle_ms: int = 0) -> bool:
        self.now_ms += int(delay_ms) + idle_ms
        return bool(lib.fgw_shedder_note(self.rule, self.now_ms * MS, int(delay_ms * MS)))

    def turns(self, count: int, delay_ms: float, idle_ms: int = 0) -> list[int]:
        """The share after each interval that ended."""
        return [self.rule.share for _ in range(count) if self.turn(delay_ms, idle_ms)]


def test_a_quick_loop_refuses_nothing() -> None:
    loop = Loop()
    assert set(loop.turns(10_000, 99)) == {0} and loop.rule.late == 0
    assert loop.rule.last_ns == 99 * MS


def test_a_loop_that_is_slow_all_the_time_refuses_more_and_more() -> None:
    loop = Loop()
    shares = loop.turns(60, 150)
    assert shares[:3] == [0, ALL // 4, ALL // 4 + (ALL - ALL // 4) // 4]
    assert shares == sorted(shares) and shares[-1] > ALL * 9 // 10
    assert loop.turns(10_000, 150)[-1] == ALL // 32 * 31, "some always get through"


def test_one_slow_interval_is_a_warning() -> None:
    loop = Loop()
    assert loop.turns(5, 150) == [0]
    assert loop.rule.late == 1
    assert loop.turns(5, 20, idle_ms=100) == [0] and loop.rule.late == 0


def test_one_quick_turn_in_an_interval_is_enough() -> None:
    loop = Loop()
    for _ in range(100):
        loop.turns(3, 150)
        loop.turn(1)
        assert (loop.rule.share, loop.rule.late) == (0, 0)


def test_a_process_that_stood_still_has_not_been_slow() -> None:
    """One turn of any length, wherever in an interval, and what piled up meanwhile is done in ordinary turns."""
    for before in range(8):
        loop = Loop()
        loop.turns(before, 1, idle_ms=60)
        loop.turn(60_000)
        loop.turns(2, 40)
        loop.turn(30_000)
        loop.turns(20, 40)
        assert (loop.rule.share, loop.rule.late) == (0, 0), before


def test_it_is_over_within_a_few_quick_intervals() -> None:
    loop = Loop()
    loop.turns(200, 150)
    shares = loop.turns(60, 0, idle_ms=100)
    assert shares[:6] == [ALL * 31 // 32 // 2, ALL * 31 // 32 // 4, ALL * 31 // 32 // 8, ALL * 31 // 32 // 16, 0, 0]
    assert loop.turns(5, 150)[-1] == 0, "it begins with a warning again"


def test_an_idle_loop_forgets_with_its_next_turns() -> None:
    loop = Loop()
    loop.turns(200, 150)
    loop.now_ms += 3_600_000
    loop.turns(40, 0, idle_ms=64)
    assert loop.rule.share == 0


@pytest.mark.parametrize("delay_ms", [0, 100, 10_000])
def test_without_a_target_nothing_is_refused(delay_ms: int) -> None:
    loop = Loop(target_ms=0)
    assert loop.turns(1000, delay_ms) == [] and loop.rule.share == 0


def test_steps_of_memory_begin_and_end() -> None:
    budget, step, seen = 1_000_000, 0, []
    for percent in (*range(80, 101), *range(99, 78, -1)):
        now = lib.fgw_memory_step(step, budget * percent // 100, budget)
        if now != step:
            seen.append((percent, now))
        step = now
    assert seen == [(85, 1), (92, 2), (95, 3), (98, 4), (94, 3), (91, 2), (88, 1), (81, 0)]


def test_a_jump_takes_all_steps_at_once() -> None:
    assert lib.fgw_memory_step(0, 2_000_000, 1_000_000) == 4
    assert lib.fgw_memory_step(4, 100_000, 1_000_000) == 0
    assert lib.fgw_memory_step(4, 2**63, 0) == 0, "without a budget"
    assert lib.fgw_memory_step(0, 2**63, 2**64 - 1) == 0


def test_idle_time_shrinks_along_a_line() -> None:
    def idle(percent: float, full_ms: int = 75_000) -> int:
        return int(lib.fgw_memory_idle_ms(full_ms, int(10_000_000 * percent / 100), 10_000_000))

    assert [idle(percent) for percent in (0, 84, 85)] == [75_000] * 3
    assert idle(90) == 2_000 + 73_000 // 2 and idle(87.5) == 2_000 + 73_000 * 3 // 4
    assert [idle(percent) for percent in (95, 99, 300)] == [2_000] * 3
    assert idle(95, 500) == 500 and idle(95, 0) == 0
    assert lib.fgw_memory_idle_ms(75_000, 5, 0) == 75_000
