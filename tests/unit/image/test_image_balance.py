"""The choice of an endpoint, simulated: many workers, a clock that the test moves, shares counted."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from balance_support import World, addresses

from fastgw.image.layout import lib
from fastgw.model.plan import Endpoint, Outlier, Policy, Warmup

EJECTED = lib.FGW_CELL_EJECTED


def simulate(world: World, workers: int, requests: int, in_flight: int) -> Counter[int]:
    """Requests by endpoint. Every worker picks in turn; each request lasts a random while, ``in_flight`` at a time on average."""
    chance, found, running = Random(7), Counter[int](), []
    for number in range(requests):
        place = world.pick(worker=number % workers)
        assert place is not None
        found[place] += 1
        world.cell(place).active += 1
        running.append(place)
        if len(running) > in_flight:
            world.cell(running.pop(chance.randrange(len(running)))).active -= 1
    return found


@pytest.mark.parametrize("in_flight", [1, 80, 400])
def test_least_request_of_eight_workers_is_fair(in_flight: int) -> None:
    """Wanted: shares of 100 endpoints within 1.3 of each other. Counts of 400 each are within 1.5 by chance alone when nothing is
    in flight, so that is what is asked for there."""
    found = simulate(World(addresses(100)), 8, 40_000, in_flight)
    assert len(found) == 100
    assert max(found.values()) / min(found.values()) <= (1.3 if in_flight > 1 else 1.5)


def test_what_other_workers_have_in_flight_counts() -> None:
    world = World(addresses(2))
    world.cell(0).active = 50
    assert {world.pick(worker=worker) for worker in range(8) for _ in range(20)} == {1}


@pytest.mark.parametrize("lb", ["least_request", "round_robin", "random"])
@pytest.mark.parametrize("in_flight", [0, 60])
def test_weights_are_shares_whatever_the_load(lb: str, in_flight: int) -> None:
    """5 standard deviations of a binomial with 8000 draws are less than 2.8 %."""
    endpoints = [Endpoint("10.0.0.1", 80, 1), Endpoint("10.0.0.2", 80, 2), Endpoint("10.0.0.3", 80, 7)]
    found = simulate(World(endpoints, lb), 4, 8000, in_flight)
    assert [found[i] / 8000 for i in range(3)] == pytest.approx([0.1, 0.2, 0.7], abs=0.03)


WEIGHTS = [(1, 2), (5, 1, 1), (1, 2, 7), (100, 200, 300), (10, 10, 15), (1, 1000), (3,) * 9 + (4,), (64, 65, 1), (1, 1, 1, 2)]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("begin", [0, 7, 2**30])
def test_round_robin_by_weight_is_exact_over_a_cycle(weights: tuple[int, ...], begin: int) -> None:
    """Each worker gives everybody as many picks of a cycle as it weighs, and is never far from its share within one: three at the
    most, where one drawn at random would be off by the root of the picks."""
    world = World([Endpoint(f"10.0.0.{i + 1}", 80, weight) for i, weight in enumerate(weights)], "round_robin")
    total = sum(weights)
    for worker in (0, 1):
        world.positions[worker] = begin * (worker + 1)
        for _ in range(2):
            found: Counter[int | None] = Counter()
            for picks in range(1, total + 1):
                found[world.pick(worker=worker)] += 1
                assert all(abs(found[i] - picks * weight / total) < 3 for i, weight in enumerate(weights)), found
            assert [found[i] for i in range(len(weights))] == list(weights)


def test_round_robin_by_weight_goes_on_with_those_that_are_left() -> None:
    world = World([Endpoint(f"10.0.0.{i + 1}", 80, weight) for i, weight in enumerate((2, 3, 5))], "round_robin")
    world.pick()
    world.cell(2).flags = EJECTED
    found = Counter(world.pick() for _ in range(10))
    assert [found[i] for i in range(3)] == [4, 6, 0]


def test_avoided_endpoints_are_taken_only_when_no_other_is_left() -> None:
    world = World(addresses(3))
    assert {world.pick(avoid=(0, 2)) for _ in range(50)} == {1}
    assert world.pick(avoid=(0, 1, 2)) is not None
    world.cell(1).flags = EJECTED
    assert {world.pick(avoid=(0, 2)) for _ in range(50)} <= {0, 2}


# --- levels of priority ---


def levels(*counts: int) -> list[Endpoint]:
    places = [(level, n) for level, count in enumerate(counts) for n in range(1, count + 1)]
    return [Endpoint(f"10.{level}.{n // 250}.{n % 250}", 80, priority=level) for level, n in places]


def shares(world: World, picks: int = 3000) -> list[float]:
    found = Counter(None if (place := world.pick()) is None else world.endpoints[place].priority for _ in range(picks))
    return [found[level] / picks for level in range(max(each.priority for each in world.endpoints) + 1)]


def test_the_first_level_has_everything_while_most_of_it_is_well() -> None:
    world = World(levels(10, 10))
    assert shares(world) == [1, 0]
    for place in range(2):
        world.cell(place).flags = EJECTED
    assert shares(world) == [1, 0]  # 80 % of 1.4


def test_what_the_first_level_cannot_bear_goes_to_the_next() -> None:
    world = World(levels(10, 10, 10))
    for place in range(6):
        world.cell(place).flags = EJECTED
    assert shares(world) == pytest.approx([0.56, 0.44, 0], abs=0.05)
    for place in range(10):
        world.cell(place).flags = EJECTED
    assert shares(world) == [0, 1, 0]
    for place in range(20):
        world.cell(place).flags = EJECTED
    assert shares(world) == [0, 0, 1]
    for place in range(30):
        world.cell(place).flags = EJECTED
    assert world.pick() is None


def test_levels_that_bear_too_little_together_share_it() -> None:
    world = World(levels(10, 10))
    for place in [*range(8), *range(10, 18)]:
        world.cell(place).flags = EJECTED
    assert shares(world) == pytest.approx([0.5, 0.5], abs=0.05)


def test_many_endpoints_on_a_level_are_all_reached() -> None:
    world = World(levels(500, 300))
    found = Counter(world.pick() for _ in range(20_000))
    assert set(found) == set(range(500))


# --- too few healthy ones ---


def test_below_min_health_percent_all_endpoints_count() -> None:
    world = World(addresses(10), policy=Policy(outlier=Outlier(min_health_percent=50)))
    for place in range(5):
        world.cell(place).flags = EJECTED
    assert {world.pick() for _ in range(300)} == set(range(5, 10))
    world.cell(5).flags = EJECTED
    assert {world.pick() for _ in range(1000)} == set(range(10))


def test_without_it_nobody_is_left() -> None:
    world = World(addresses(3), policy=Policy(outlier=Outlier()))
    for place in range(3):
        world.cell(place).flags = EJECTED
    assert world.pick() is None


# --- slow start ---


@pytest.mark.parametrize("lb", ["least_request", "round_robin"])
def test_a_new_endpoint_warms_up(lb: str) -> None:
    policy = Policy(warmup=Warmup(10_000))
    world = World(addresses(4), lb, policy)
    assert len(Counter(world.pick() for _ in range(400))) == 4
    world.now_ms += 60_000
    world.use(addresses(5), lb, policy)

    def share() -> float:
        return Counter(world.pick() for _ in range(6000))[4] / 6000

    assert share() == pytest.approx(0.1 / 4.1, abs=0.015)
    world.now_ms += 5000
    assert share() == pytest.approx(0.5 / 4.5, abs=0.02)
    world.now_ms += 5000
    assert share() == pytest.approx(1 / 5, abs=0.03)


@pytest.mark.parametrize("by_check", [True, False])
def test_an_endpoint_that_was_not_well_warms_up_again(by_check: bool) -> None:
    policy = Policy(warmup=Warmup(10_000))
    world = World(addresses(2), "round_robin", policy)
    world.pick()
    world.now_ms += 60_000
    ill = [addresses(2)[0], Endpoint(addresses(2)[1].address, 8080, healthy=False)]
    if by_check:
        world.cell(1).flags = lib.FGW_CELL_UNHEALTHY
    else:
        world.use(ill, "round_robin", policy)
    assert {world.pick() for _ in range(50)} == {0}
    world.cell(1).flags = 0
    world.use(addresses(2), "round_robin", policy)
    assert Counter(world.pick() for _ in range(3000))[1] / 3000 == pytest.approx(0.1 / 1.1, abs=0.03)


def test_all_that_are_new_at_once_are_equal_and_random_knows_no_warmup() -> None:
    found = Counter(World(addresses(3), "round_robin", Policy(warmup=Warmup(10_000))).pick() for _ in range(300))
    assert max(found.values()) - min(found.values()) <= 1
    world = World(addresses(2), "random", Policy(warmup=Warmup(10_000)))
    world.pick()
    world.now_ms += 60_000
    world.use(addresses(3), "random", Policy(warmup=Warmup(10_000)))
    assert Counter(world.pick() for _ in range(3000))[2] / 3000 == pytest.approx(1 / 3, abs=0.05)
