"""Outlier detection on a clock that the test moves: what counts, who is ejected, for how long, and how many."""

from __future__ import annotations

import threading

import pytest
from balance_support import World, addresses

from fastgw.image.layout import lib
from fastgw.model.plan import Outlier, Policy

EJECTED = lib.FGW_CELL_EJECTED


def detecting(count: int = 10, **outlier: int | bool | tuple[int, ...]) -> World:
    return World(addresses(count), policy=Policy(outlier=Outlier(**outlier)))  # type: ignore[arg-type]


def answers(world: World, place: int, *statuses: int) -> list[bool]:
    """After which answers the endpoint would be ejected."""
    return [bool(lib.fgw_outlier_answer(world.policy, world.cell(place), status)) for status in statuses]


def eject(world: World, place: int) -> int:
    return int(lib.fgw_outlier_eject(world.data, world.state, 0, world.cell_number(place), world.now_ms))


def usable(world: World, place: int) -> bool:
    return bool(lib.fgw_cell_usable(world.cell(place), world.now_ms))


def test_five_errors_in_a_row_are_too_many() -> None:
    world = detecting()
    assert answers(world, 0, 500, 503, 504, 599) == [False] * 4
    assert answers(world, 0, 200, 500, 500, 500, 500) == [False] * 5
    assert answers(world, 0, 500) == [True]
    assert answers(world, 0, 500, 500, 500, 500, 500) == [False] * 4 + [True], "the count begins anew"


@pytest.mark.parametrize("status", [100, 200, 301, 404, 499])
def test_what_is_no_error_ends_the_row(status: int) -> None:
    assert answers(detecting(consecutive_errors=2), 0, 500, status, 500, 500) == [False, False, False, True]


def test_zero_never_ejects() -> None:
    assert not any(answers(detecting(consecutive_errors=0), 0, *[500] * 50))


def test_statuses_that_are_named_are_the_only_errors() -> None:
    """Q9. Failures of connections are no answers, and count all the same."""
    world = detecting(consecutive_errors=2, consecutive_gateway_errors=1, error_codes=(429, 503))
    assert answers(world, 0, 429, 500, 429, 429) == [False, False, False, True]
    assert answers(world, 0, 502, 504, 503) == [False, False, True]
    world = detecting(consecutive_errors=2, error_codes=(429,))
    assert [lib.fgw_outlier_local(world.policy, world.cell(0)) for _ in range(2)] == [0, 1]


def test_gateway_errors_are_counted_by_themselves() -> None:
    world = detecting(consecutive_errors=0, consecutive_gateway_errors=3)
    assert answers(world, 0, 502, 503, 500, 504, 502, 503) == [False] * 5 + [True]


def test_failures_of_connections_count_as_503_unless_split() -> None:
    world = detecting(consecutive_errors=3)
    assert [lib.fgw_outlier_local(world.policy, world.cell(0)) for _ in range(3)] == [0, 0, 1]
    split = detecting(consecutive_errors=3, split_local=True, consecutive_local_errors=2)
    assert [lib.fgw_outlier_local(split.policy, split.cell(0)) for _ in range(2)] == [0, 1]
    assert answers(split, 0, 500, 500) == [False, False]
    lib.fgw_outlier_local(split.policy, split.cell(0))
    lib.fgw_outlier_connected(split.policy, split.cell(0), 0)
    assert [lib.fgw_outlier_local(split.policy, split.cell(0)) for _ in range(2)] == [0, 1]


def test_a_whole_connection_ends_the_row_at_layer_4() -> None:
    world = detecting(consecutive_errors=2)
    lib.fgw_outlier_local(world.policy, world.cell(0))
    lib.fgw_outlier_connected(world.policy, world.cell(0), 0)
    assert lib.fgw_outlier_local(world.policy, world.cell(0)) == 1
    lib.fgw_outlier_local(world.policy, world.cell(0))
    lib.fgw_outlier_connected(world.policy, world.cell(0), 1)
    assert lib.fgw_outlier_local(world.policy, world.cell(0)) == 0


def test_an_ejection_ends_by_itself_and_the_next_is_longer() -> None:
    world = detecting(base_ejection_ms=1000, interval_ms=10_000, max_ejection_percent=100)
    for times in (1, 2, 3):
        assert eject(world, 0) == 1 and not usable(world, 0)
        world.now_ms += 1000 * times - 1
        assert not usable(world, 0)
        world.now_ms += 1
        assert usable(world, 0) and not world.cell(0).flags & EJECTED


def test_time_without_ejections_makes_the_next_shorter_again() -> None:
    world = detecting(base_ejection_ms=1000, interval_ms=500, max_ejection_percent=100)
    for _ in range(4):
        eject(world, 0)
        world.now_ms = world.cell(0).ejected_until_ms
    world.now_ms += 1000  # two intervals
    assert eject(world, 0) == 1 and world.cell(0).ejected_until_ms - world.now_ms == 3000
    world.now_ms = world.cell(0).ejected_until_ms + 60_000
    assert eject(world, 0) == 1 and world.cell(0).ejected_until_ms - world.now_ms == 1000


def test_an_ejection_lasts_five_minutes_at_the_most_or_the_base() -> None:
    world = detecting(base_ejection_ms=200_000, interval_ms=10**9)
    eject(world, 0)
    world.now_ms = world.cell(0).ejected_until_ms
    eject(world, 0)
    assert world.cell(0).ejected_until_ms - world.now_ms == 300_000
    long = detecting(base_ejection_ms=900_000)
    eject(long, 0)
    assert long.cell(0).ejected_until_ms - long.now_ms == 900_000


@pytest.mark.parametrize(
    ("count", "percent", "most"), [(10, 10, 1), (10, 30, 3), (10, 39, 3), (3, 10, 1), (1, 1, 1), (4, 100, 4), (5, 0, 0)]
)
def test_no_more_than_max_ejection_percent_but_one_always(count: int, percent: int, most: int) -> None:
    world = detecting(count, max_ejection_percent=percent)
    assert [eject(world, place) for place in range(count)] == [1] * most + [-1] * (count - most)
    assert world.state.clusters[world.cluster.state].ejections == most
    world.now_ms += 30_000
    assert eject(world, count - 1) == (1 if most else -1), "those whose time is over do not count"


def test_who_is_ejected_is_not_ejected_again() -> None:
    world = detecting(max_ejection_percent=100)
    assert (eject(world, 0), eject(world, 0)) == (1, 0)


def test_workers_agree_on_one_verdict() -> None:
    """Eight threads report failures of every endpoint at once: never more are out than may be."""
    world = detecting(20, max_ejection_percent=25, consecutive_errors=3)
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(30):
            for place in range(20):
                if any(answers(world, place, 503)):
                    eject(world, place)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out = sum(bool(world.cell(place).flags & EJECTED) for place in range(20))
    assert 1 <= out <= 5 and world.state.clusters[world.cluster.state].ejections == out
    for place in range(20):
        eject(world, place)
    assert sum(bool(world.cell(place).flags & EJECTED) for place in range(20)) == 5


def test_a_lease_of_a_dead_worker_ends() -> None:
    world = detecting()
    world.state.clusters[world.cluster.state].eject_lease_ms = world.now_ms + 200
    assert eject(world, 0) == 0
    world.now_ms += 200
    assert eject(world, 0) == 1


def test_a_dead_workers_shares_are_taken_off() -> None:
    world = detecting()
    shared, worker = world.state.clusters[7], world.state.workers[0]
    for name, number in (("connections", 5), ("pending", 2), ("requests", 9), ("retries", 1)):
        setattr(shared.all, name, number + 10)
        setattr(worker.shares[7], name, number)
    worker.shares_used = 8
    lib.fgw_state_forget_worker(world.state, 0)
    assert {getattr(shared.all, name) for name in ("connections", "pending", "requests", "retries")} == {10}
    assert (worker.shares[7].requests, worker.shares_used) == (0, 0)
