"""Counts of client connections over all workers: never more than the limit, and nothing left of a worker that is gone."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from wire.native import ffi, lib

WORKERS = 3
PLACE = 7


@pytest.fixture
def state() -> Iterator[Any]:
    block = ffi.new("char[]", lib.fgw_state_bytes(WORKERS))
    made = ffi.cast("fgw_state *", block)
    lib.fgw_state_init(made, WORKERS)
    lib.fgw_holder_seed(made, 42)
    yield made
    del block


def ip(text: str) -> Any:
    address = ipaddress.ip_address(text)
    number = int(address) if address.version == 6 else 0xFFFF << 32 | int(address)
    return {"high": number >> 64, "low": number & (1 << 64) - 1}


def key(state: Any, text: str, place: int = PLACE) -> int:
    return int(lib.fgw_holder_key(state, place, ip(text)))


def enter(state: Any, worker: int, text: str, limit: int) -> int:
    return int(lib.fgw_holder_enter(state, state.workers + worker, key(state, text), limit))


def test_a_listener_keeps_its_place(state: Any) -> None:
    places = {}
    for i in range(lib.FGW_STATE_LISTENERS):
        name = f"0.0.0.0_{i}".encode()
        places[name] = lib.fgw_listener_place(state, name, len(name))
    assert sorted(places.values()) == list(range(lib.FGW_STATE_LISTENERS)), "each has one of its own"
    assert all(lib.fgw_listener_place(state, name, len(name)) == place for name, place in places.items())
    none_left = lib.fgw_listener_place(state, b"new", 3)
    assert none_left == lib.FGW_STATE_LISTENERS
    assert lib.fgw_listener_enter(state, state.workers, none_left, 1) == 1, "not counted, and so not limited"
    lib.fgw_listener_leave(state, state.workers, none_left)


def test_a_listener_has_one_limit_for_all_workers(state: Any) -> None:
    assert [lib.fgw_listener_enter(state, state.workers + w, PLACE, 2) for w in (0, 1, 2, 0)] == [1, 1, 0, 0]
    assert lib.fgw_listener_total(state, PLACE) == 2
    lib.fgw_listener_leave(state, state.workers + 1, PLACE)
    lib.fgw_listener_leave(state, state.workers + 1, PLACE)  # it has none any more
    assert lib.fgw_listener_total(state, PLACE) == 1
    assert lib.fgw_listener_enter(state, state.workers + 2, PLACE, 2) == 1
    assert lib.fgw_listener_enter(state, state.workers + 2, PLACE, 0) == 1, "no limit"
    lib.fgw_state_forget_worker(state, 2)
    assert lib.fgw_listener_total(state, PLACE) == 1


def test_an_address_has_one_limit_for_all_workers(state: Any) -> None:
    assert [enter(state, w, "192.0.2.1", 3) for w in (0, 1, 2, 0, 2)] == [1, 1, 1, 0, 0]
    assert enter(state, 0, "192.0.2.2", 3) == 1
    assert lib.fgw_holder_enter(state, state.workers, key(state, "192.0.2.1", PLACE + 1), 3) == 1, "at another listener"
    lib.fgw_holder_leave(state.workers + 1, key(state, "192.0.2.1"))
    assert [enter(state, 0, "192.0.2.1", 3) for _ in range(2)] == [1, 0]
    lib.fgw_state_forget_worker(state, 0)
    assert [enter(state, 1, "192.0.2.1", 3) for _ in range(3)] == [1, 1, 0]


def test_one_customer_of_ipv6_is_one_source(state: Any) -> None:
    assert key(state, "2001:db8:0:1::1") == key(state, "2001:db8:0:1:ffff::9") != key(state, "2001:db8:0:2::1")
    assert key(state, "::ffff:192.0.2.1") == key(state, "192.0.2.1") != key(state, "192.0.2.2")


def test_keys_depend_on_a_secret(state: Any) -> None:
    before = key(state, "192.0.2.1")
    lib.fgw_holder_seed(state, 98)
    assert key(state, "192.0.2.1") == before, "the first one counts"
    state.holder_seed = 99
    assert key(state, "192.0.2.1") != before


def test_a_full_set_lets_in_what_it_cannot_count(state: Any) -> None:
    ways, sets = lib.FGW_HOLDER_WAYS, lib.FGW_STATE_HOLDERS // lib.FGW_HOLDER_WAYS
    same_set = [5 + sets * i for i in range(ways + 2)]
    answers = [lib.fgw_holder_enter(state, state.workers, each, 1) for each in same_set]
    assert answers == [1] * ways + [-1, -1]
    lib.fgw_holder_leave(state.workers, same_set[-1])  # it was never counted
    lib.fgw_holder_leave(state.workers, same_set[0])
    assert lib.fgw_holder_enter(state, state.workers, same_set[-1], 1) == 1, "a place that is free again"
    assert [lib.fgw_holder_enter(state, state.workers, each, 1) for each in same_set[1:ways]] == [0] * (ways - 1)


def test_many_at_once_never_exceed_a_limit(state: Any) -> None:
    """Calls into C run side by side; each worker is one thread, as it is one process."""
    limit, most = 5, []
    inside, lock = [0, 0], threading.Lock()
    number = key(state, "192.0.2.1")

    def work(worker: int) -> None:
        own = state.workers + worker
        for _ in range(3_000):
            if lib.fgw_listener_enter(state, own, PLACE, limit):
                with lock:
                    inside[0] += 1
                    most.append(inside[0])
                with lock:
                    inside[0] -= 1
                lib.fgw_listener_leave(state, own, PLACE)
            if lib.fgw_holder_enter(state, own, number, limit) == 1:
                with lock:
                    inside[1] += 1
                    most.append(inside[1])
                with lock:
                    inside[1] -= 1
                lib.fgw_holder_leave(own, number)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < max(most) <= limit
    assert lib.fgw_listener_total(state, PLACE) == 0 and enter(state, 0, "192.0.2.1", 1) == 1


def test_of_many_at_once_for_the_last_place_one_gets_it(state: Any) -> None:
    numbers = [key(state, f"192.0.2.{i}") for i in range(100)]
    together = threading.Barrier(WORKERS)
    winners: list[list[int]] = [[] for _ in range(WORKERS)]

    def work(worker: int) -> None:
        own = state.workers + worker
        for _ in range(100):
            together.wait()
            got = [number for number in numbers if lib.fgw_holder_enter(state, own, number, 1) == 1]
            winners[worker] += got
            together.wait()
            for number in got:
                lib.fgw_holder_leave(own, number)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for got in winners for number in got) == sorted(numbers * 100)
