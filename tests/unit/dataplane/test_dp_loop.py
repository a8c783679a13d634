"""The event loop by itself: deadlines, watchers, and what a programming error costs."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator

import pytest
from dataplane_support import Gateway

from fastgw.dataplane.loop import CallbackTimer, CallbackWatcher, Loop

EPOLLIN, EPOLLRDHUP = 1, 0x2000
TICK_MS = 64


Pairs = Callable[[], tuple[socket.socket, socket.socket]]


class Clock:
    """A loop whose bugs are collected, and what its timers did."""

    def __init__(self) -> None:
        self.bugs: list[str] = []
        self.loop = Loop(self.bugs.append)
        self.fired: list[object] = []

    def timer(self, name: object, delay_ms: int) -> CallbackTimer:
        timer = CallbackTimer(self.loop, lambda: self.fired.append(name))
        timer.start(delay_ms)
        return timer

    def pass_ms(self, ms: int, step_ms: int = 50) -> list[object]:
        """What fired meanwhile."""
        before = len(self.fired)
        while ms > 0:
            self.loop.skip_ms(min(ms, step_ms))
            ms -= step_ms
            self.loop.turn(0)
        return self.fired[before:]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_timers_fire_in_order_and_not_early(clock: Clock) -> None:
    kept = [clock.timer(ms, ms) for ms in (3000, 1000, 2000)]
    assert clock.loop.timers == 3
    assert clock.pass_ms(900) == []
    assert clock.pass_ms(200 + TICK_MS) == [1000]
    assert clock.pass_ms(2000) == [2000, 3000]
    assert clock.loop.timers == 0 and kept


def test_a_timer_fires_once(clock: Clock) -> None:
    kept = clock.timer("a", 100)
    assert clock.pass_ms(100_000, 5_000) == ["a"] and kept


def test_a_deadline_moved_later_is_kept_later(clock: Clock) -> None:
    timer = clock.timer("a", 200)
    timer.start(2000)
    assert clock.pass_ms(1900) == []
    assert clock.pass_ms(100 + 2 * TICK_MS) == ["a"] and clock.loop.timers == 0


def test_a_deadline_moved_earlier_fires_earlier_and_once(clock: Clock) -> None:
    timer = clock.timer("a", 5000)
    timer.start(200)
    assert clock.pass_ms(200 + 2 * TICK_MS) == ["a"]
    assert clock.pass_ms(10_000) == []


def test_a_deadline_that_moves_all_the_time(clock: Clock) -> None:
    """Like the idle deadline of a busy connection."""
    timer = clock.timer("a", 1000)
    for _ in range(100):
        assert clock.pass_ms(500) == []
        timer.start(1000)
    assert clock.pass_ms(1000 + 2 * TICK_MS) == ["a"]


def test_a_stopped_timer_is_silent(clock: Clock) -> None:
    timer, other = clock.timer("a", 300), clock.timer("b", 300)
    timer.stop()
    assert clock.loop.timers == 1
    assert clock.pass_ms(1000) == ["b"] and other
    timer.start(100)
    assert clock.pass_ms(300) == ["a"]


def test_a_deadline_beyond_the_wheel(clock: Clock) -> None:
    kept = clock.timer("far", 200_000)
    assert clock.pass_ms(199_500, 500) == []
    assert clock.pass_ms(1_000) == ["far"] and kept


@pytest.mark.parametrize("slept_ms", [64_000, 66_000, 100_000, 600_000, 86_400_000])
def test_after_a_long_sleep_everything_that_is_due_fires_at_once(clock: Clock, slept_ms: int) -> None:
    due = [1, 1_000, 63_000, slept_ms // 2, slept_ms - 1_000]
    kept = [clock.timer(ms, ms) for ms in due] + [clock.timer("later", slept_ms + 5_000)]
    clock.loop.skip_ms(slept_ms)
    clock.loop.turn(0)
    assert sorted(clock.fired, key=str) == sorted(due, key=str)
    assert clock.pass_ms(4_500) == []
    assert clock.pass_ms(1_000) == ["later"] and kept


def test_a_timer_may_start_itself_again(clock: Clock) -> None:
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        timer.start(1)

    timer = CallbackTimer(clock.loop, tick)
    timer.start(1)
    clock.pass_ms(10 * TICK_MS, TICK_MS)
    assert 9 <= count <= 11
    timer.stop()


def test_a_timer_may_stop_another_of_the_same_slot(clock: Clock) -> None:
    others: list[CallbackTimer] = []
    first = CallbackTimer(clock.loop, lambda: others[0].stop())
    first.start(100)
    others.append(clock.timer("stopped", 100))
    clock.pass_ms(1000)
    assert clock.fired == [] and clock.loop.timers == 0


def test_a_timer_that_raises_is_reported_and_costs_no_other(clock: Clock) -> None:
    bad = CallbackTimer(clock.loop, lambda: 1 // 0)
    bad.start(100)
    kept = clock.timer("good", 100)
    assert clock.pass_ms(300) == ["good"] and kept
    assert len(clock.bugs) == 1 and "ZeroDivisionError" in clock.bugs[0]


def test_many_timers(clock: Clock) -> None:
    """Against a sorted list: each fires once, within a tick and a half of its deadline."""
    chance = random.Random(7)
    passed = 0
    fired: list[tuple[int, int]] = []
    kept = []
    for _ in range(3000):
        delay = chance.choice([chance.randint(1, 500), chance.randint(1, 70_000), chance.randint(60_000, 200_000)])
        timer = CallbackTimer(clock.loop, lambda delay=delay: fired.append((delay, passed)))
        timer.start(delay)
        kept.append((delay, timer))
    for _ in range(4000):
        passed += TICK_MS
        clock.loop.skip_ms(TICK_MS)
        clock.loop.turn(0)
    assert sorted(delay for delay, _ in fired) == sorted(delay for delay, _ in kept)
    assert all(at >= delay - 2 * TICK_MS for delay, at in fired) and all(at <= delay + 3 * TICK_MS for delay, at in fired)


# ---- watchers


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        a, b = socket.socketpair()
        made.extend((a, b))
        a.setblocking(False)
        return a, b

    yield make
    for sock in made:
        sock.close()


def watch(
    clock: Clock, sock: socket.socket, callback: Callable[[int], None], failure: Callable[[], None] = lambda: None
) -> CallbackWatcher:
    return CallbackWatcher(clock.loop, sock.fileno(), EPOLLIN | EPOLLRDHUP, callback, failure)


def test_a_watcher_is_told_and_turn_counts_events(clock: Clock, pairs: Pairs) -> None:
    (a, b), (c, d) = pairs(), pairs()
    seen: list[bytes] = []
    kept = [watch(clock, s, lambda _events, s=s: seen.append(s.recv(10))) for s in (a, c)]
    assert clock.loop.turn(0) == 0
    b.send(b"one")
    d.send(b"two")
    assert clock.loop.turn(0) == 2 and sorted(seen) == [b"one", b"two"]
    assert clock.loop.turn(0) == 0 and kept


def test_an_exception_closes_that_watcher_only(clock: Clock, pairs: Pairs) -> None:
    (a, b), (c, d) = pairs(), pairs()
    seen: list[bytes] = []
    failures: list[str] = []

    def bad(_events: int) -> None:
        raise KeyError("a bug")

    kept = [watch(clock, a, bad, lambda: failures.append("told")), watch(clock, c, lambda _e: seen.append(c.recv(10)))]
    b.send(b"x")
    d.send(b"y")
    clock.loop.turn(0)
    with pytest.raises(OSError):
        os.fstat(a.detach())
    d.send(b"z")
    clock.loop.turn(0)
    assert failures == ["told"] and seen == [b"y", b"z"] and kept
    assert len(clock.bugs) == 1 and "a bug" in clock.bugs[0]


def test_a_failure_handler_that_fails_is_reported_too(clock: Clock, pairs: Pairs) -> None:
    a, b = pairs()
    kept = watch(clock, a, lambda _e: 1 // 0, lambda: {}["missing"])
    b.send(b"x")
    clock.loop.turn(0)
    assert ["ZeroDivisionError" in clock.bugs[0], "KeyError" in clock.bugs[1]] == [True, True] and kept
    a.detach()


def test_bugs_go_to_stderr_without_a_handler(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    timer = CallbackTimer(loop, lambda: 1 // 0)
    timer.start(1)
    loop.skip_ms(200)
    loop.turn(0)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_forgetting_keeps_the_descriptor(clock: Clock, pairs: Pairs) -> None:
    a, b = pairs()
    seen: list[int] = []
    kept = watch(clock, a, seen.append)
    clock.loop.forget(kept)
    b.send(b"x")
    assert clock.loop.turn(0) == 0 and seen == []
    assert a.recv(10) == b"x"
    again = watch(clock, a, lambda events: seen.append(len(a.recv(10))))
    b.send(b"xy")
    clock.loop.turn(0)
    assert seen == [2] and again


def test_a_descriptor_is_watched_once(clock: Clock, pairs: Pairs) -> None:
    a, _ = pairs()
    kept = watch(clock, a, lambda events: None)
    with pytest.raises(RuntimeError):
        watch(clock, a, lambda events: None)
    assert kept


def test_a_stale_event_reaches_nobody(gateway: Gateway, pairs: Pairs) -> None:
    """A callback closes another ready descriptor, and its number is used again within the turn."""
    clock = Clock()
    clock.loop = gateway.loop
    (a, b), (c, d), (spare, _) = pairs(), pairs(), pairs()
    seen: list[str] = []
    watchers: dict[str, CallbackWatcher] = {}

    def replace(victim: socket.socket, name: str) -> None:
        seen.append(name)
        if len(seen) > 1:
            return
        number = victim.fileno()
        gateway.loop.forget(watchers["c" if victim is c else "a"])
        os.dup2(spare.fileno(), number)
        watchers["new"] = watch(clock, victim, lambda events: seen.append("new"))

    watchers["a"] = watch(clock, a, lambda events: replace(c, "a"))
    watchers["c"] = watch(clock, c, lambda events: replace(a, "c"))
    b.send(b"x")
    d.send(b"x")
    gateway.turn()
    assert len(seen) == 1 and "new" not in seen
    assert gateway.counter("FGW_C_STALE_EVENTS") == 1
    gateway.loop.forget(watchers["new"])
    gateway.loop.forget(watchers[seen[0]])


def test_hang_ups_come_first_within_a_turn(clock: Clock, pairs: Pairs) -> None:
    (a, b), (c, d) = pairs(), pairs()
    seen: list[str] = []
    kept = [watch(clock, a, lambda events: seen.append("data")), watch(clock, c, lambda events: seen.append("hang-up"))]
    b.send(b"x")
    d.close()
    clock.loop.turn(0)
    assert seen == ["hang-up", "data"] and kept


def test_run_ends_with_stop(clock: Clock) -> None:
    timer = CallbackTimer(clock.loop, clock.loop.stop)
    timer.start(1)
    clock.loop.run()
    assert clock.loop.timers == 0


def test_what_a_turn_tells_the_supervisor(gateway: Gateway) -> None:
    gateway.turn()
    first = int(gateway.stats.heartbeat_ns)
    gateway.turn(1)
    assert int(gateway.stats.heartbeat_ns) > first > 0
    gateway.client()
    assert gateway.counter("FGW_G_TIMERS_ALIVE") == gateway.loop.timers == 1
    gateway.client().send(b"GET / HTTP")
    gateway.turn()
    assert gateway.counter("FGW_G_BUFFER_BYTES") == gateway.alive()["buffer_bytes"] > 0
