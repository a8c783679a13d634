"""The state segment: series, buckets, DNS slots, and what a dead worker leaves behind."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fastgw.image.layout import ffi, lib


@pytest.fixture
def state() -> Any:
    block = ffi.new("char[]", lib.fgw_state_bytes(2))
    lib.fgw_state_init(ffi.cast("fgw_state *", block), 2)
    return block, ffi.cast("fgw_state *", block)


def test_the_block_says_what_it_is(state: Any) -> None:
    _, s = state
    assert (s.magic.to_bytes(8, "little"), s.version, s.worker_slots) == (b"FGWSTATE", lib.FGW_STATE_VERSION, 2)
    assert s.total_bytes == lib.fgw_state_bytes(2) == ffi.sizeof("fgw_state") + 2 * ffi.sizeof("fgw_worker_state")


BOUNDS = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000]


@pytest.mark.parametrize("value", [0, 1, 2, *(int(b * f) + d for b in BOUNDS for f in (1, 1000) for d in (-1, 0, 1))])
def test_buckets_hold_values_up_to_their_bound(value: int) -> None:
    value = max(value, 0)
    expected_us = sum(1 for bound in BOUNDS if bound * 1000 < value)
    assert lib.fgw_bucket_of_us(value) == expected_us
    assert lib.fgw_bucket_of_bytes(value) == sum(1 for bound in BOUNDS if bound < value)


def test_series_keys_are_distinct_and_never_zero() -> None:
    labels = [(m, s, f, p) for m in (0, 1, 2**20) for s in (0, 200, 503, 599) for f in (0, 1, 32768, 65535) for p in (0, 1, 2)]
    keys = {lib.fgw_series_key(*label) for label in labels}
    assert len(keys) == len(labels) and 0 not in keys


def test_a_series_is_found_again_and_counts(state: Any) -> None:
    _, s = state
    worker = s.workers + 1
    key = lib.fgw_series_key(5, 200, 0, 1)
    series = lib.fgw_series_of(worker, key)
    assert lib.fgw_series_of(worker, key) == series
    assert lib.fgw_series_of(worker, lib.fgw_series_key(5, 404, 0, 1)) != series
    lib.fgw_series_add(series, 700, 0, 300)
    lib.fgw_series_add(series, 10**12, 5, 10**9)
    assert (series.requests, series.duration_us_sum) == (2, 10**12 + 700)
    assert (series.request_bytes_sum, series.response_bytes_sum) == (5, 10**9 + 300)
    assert (series.duration[1], series.duration[19], series.request_bytes[0], series.response_bytes[8]) == (1, 1, 1, 1)
    assert lib.fgw_series_of(s.workers, key).requests == 0


def test_a_full_table_overflows_into_the_last_series(state: Any) -> None:
    _, s = state
    for i in range(lib.FGW_STATE_SERIES + 500):
        series = lib.fgw_series_of(s.workers, lib.fgw_series_key(i, 200, 0, 1))
        assert series.key != 0
        series.requests += 1
    last = s.workers[0].series[lib.FGW_STATE_SERIES - 1]
    assert last.requests >= 500
    assert sum(s.workers[0].series[i].requests for i in range(lib.FGW_STATE_SERIES)) == lib.FGW_STATE_SERIES + 500


def dns_slot(*ports: int) -> Any:
    slot = ffi.new("fgw_dns_slot *")
    slot.status, slot.count = lib.FGW_DNS_OK, len(ports)
    for i, port in enumerate(ports):
        slot.addresses[i].family, slot.addresses[i].cell, slot.addresses[i].port = 4, port, port
    return slot


def test_a_dns_slot_reads_as_written(state: Any) -> None:
    _, s = state
    slot, out = s.dns + 7, ffi.new("fgw_dns_slot *")
    assert lib.fgw_dns_read(slot, out) == lib.FGW_DNS_UNKNOWN
    lib.fgw_dns_write(slot, dns_slot(1, 2, 3))
    assert lib.fgw_dns_read(slot, out) == lib.FGW_DNS_OK
    assert (out.count, [out.addresses[i].cell for i in range(3)], slot.sequence) == (3, [1, 2, 3], 2)


def test_a_writer_that_died_half_way_leaves_the_slot_unresolved_until_the_next(state: Any) -> None:
    _, s = state
    slot, out = s.dns + 7, ffi.new("fgw_dns_slot *")
    lib.fgw_dns_write(slot, dns_slot(1))
    slot.sequence += 1
    assert lib.fgw_dns_read(slot, out) == lib.FGW_DNS_UNKNOWN
    assert out.count == 0
    lib.fgw_dns_write(slot, dns_slot(2, 3))
    assert lib.fgw_dns_read(slot, out) == lib.FGW_DNS_OK
    assert (out.count, slot.sequence % 2) == (2, 0)


def test_readers_never_see_half_of_a_slot(state: Any) -> None:
    _, s = state
    slot, done = s.dns + 7, threading.Event()
    whole = [dns_slot(*[n] * (n * 16)) for n in range(1, 9)]

    def write() -> None:
        for i in range(30_000):
            lib.fgw_dns_write(slot, whole[i % 8])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    out, seen = ffi.new("fgw_dns_slot *"), 0
    while not done.is_set():
        if lib.fgw_dns_read(slot, out) == lib.FGW_DNS_OK:
            assert {out.addresses[i].cell for i in range(out.count)} == {out.addresses[0].port} == {out.count // 16}
            seen += 1
    writer.join()
    assert seen > 0


def test_what_a_dead_worker_held_is_taken_off(state: Any) -> None:
    _, s = state
    s.cells[3].active = 5
    s.workers[0].active[3], s.workers[1].active[3] = 2, 3
    s.workers[0].counters[lib.FGW_G_CLIENT_ACTIVE] = 4
    s.workers[0].counters[lib.FGW_C_CLIENT_REQUESTS] = 9
    lib.fgw_state_forget_worker(s, 0)
    assert (s.cells[3].active, s.workers[0].active[3], s.workers[1].active[3]) == (3, 0, 3)
    assert (s.workers[0].counters[lib.FGW_G_CLIENT_ACTIVE], s.workers[0].counters[lib.FGW_C_CLIENT_REQUESTS]) == (0, 9)
    lib.fgw_state_forget_worker(s, 99)
    assert s.cells[3].active == 3
