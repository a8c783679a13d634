"""Request series: keys unpacked as state.c packs them, stripes of all workers summed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fastgw.native._native import ffi, lib
from fastgw.supervisor.compile_protocol import MetricLabels
from fastgw.supervisor.metric_series import (
    BOUNDS,
    UNKNOWN,
    SeriesKey,
    collect,
    collect_connections,
    cumulative,
    flags_text,
    unpack_key,
)
from fastgw.supervisor.state import StateSegment

WEB = MetricLabels("web.default.svc.cluster.local", "web", "default")


@pytest.fixture
def state() -> Iterator[StateSegment]:
    made = StateSegment(3)
    yield made
    made.close()


def count(state: StateSegment, worker: int, key: int, us: int = 700, received: int = 10, sent: int = 300) -> None:
    series = lib.fgw_series_of(state._state.workers + worker, key)
    lib.fgw_series_add(series, us, received, sent)


@pytest.mark.parametrize("metric_id", [0, 1, 2**20, 2**27 - 1])
@pytest.mark.parametrize("status", [0, 200, 599, 999])
@pytest.mark.parametrize("flags", [0, 1, 32768, 65536, 0x3FFFF])
@pytest.mark.parametrize("protocol", [0, 1, 3])
def test_keys_are_unpacked_as_they_are_packed(metric_id: int, status: int, flags: int, protocol: int) -> None:
    key = lib.fgw_series_key(metric_id, status, flags, protocol)
    assert unpack_key(key) == SeriesKey(metric_id, status, flags, protocol, -1)
    for grpc_status in (-1, 0, 16):
        with_status = lib.fgw_series_key_grpc(key, grpc_status)
        assert unpack_key(with_status) == SeriesKey(metric_id, status, flags, protocol, grpc_status)


def test_flags_have_envoys_names() -> None:
    assert flags_text(0) == "-"
    assert flags_text(lib.FGW_F_NR) == "NR"
    assert flags_text(lib.FGW_F_UF | lib.FGW_F_URX) == "UF,URX"


def test_stripes_are_summed_over_workers(state: StateSegment) -> None:
    key = lib.fgw_series_key(1, 200, 0, 1)
    for worker in (0, 2, 2):
        count(state, worker, key)
    count(state, 1, lib.fgw_series_key(0, 404, lib.FGW_F_NR, 1))
    unmatched, served = collect(state, {1: WEB})
    assert (unmatched.service.host, unmatched.response_code, unmatched.response_flags) == ("unknown", "404", "NR")
    assert (served.service, served.response_code, served.response_flags) == (WEB, "200", "-")
    sums = served.sums
    assert (sums.requests, sums.duration_us_sum, sums.request_bytes_sum, sums.response_bytes_sum) == (3, 2100, 30, 900)
    n = len(BOUNDS)
    assert cumulative(sums.buckets[:n])[1] == 3 and cumulative(sums.buckets[:n])[0] == 0
    assert cumulative(sums.buckets[n : 2 * n])[3] == 3 and cumulative(sums.buckets[2 * n :])[8] == 3


def test_grpc_calls_have_their_statuses(state: StateSegment) -> None:
    key = lib.fgw_series_key(1, 200, 0, lib.FGW_PROTOCOL_GRPC)
    for status in (-1, 0, 0, 14):
        count(state, 0, lib.fgw_series_key_grpc(key, status))
    count(state, 0, lib.fgw_series_key(1, 200, 0, lib.FGW_PROTOCOL_HTTP))
    found = {(one.protocol, one.grpc_status): one.sums.requests for one in collect(state, {1: WEB})}
    assert found == {("grpc", ""): 1, ("grpc", "0"): 2, ("grpc", "14"): 1, ("http", ""): 1}


def test_forgotten_services_are_merged(state: StateSegment) -> None:
    for _ in range(2):
        count(state, 0, lib.fgw_series_key(1, 200, 0, 1))
    for gone in (8, 9):
        count(state, 0, lib.fgw_series_key(gone, 200, 0, 1))
    found = {one.service.host: one.sums.requests for one in collect(state, {1: WEB})}
    assert found == {WEB.host: 2, "unknown": 2}


def test_relayed_connections_are_summed_over_workers(state: StateSegment) -> None:
    def relayed(worker: int, key: int, *sums: int) -> None:
        one = lib.fgw_tcp_series_of(state._state.workers + worker, key)
        one.opened, one.closed, one.sent_bytes, one.received_bytes = sums

    relayed(0, lib.fgw_series_key(1, 0, 0, 0), 3, 2, 1 << 40, 5)
    relayed(2, lib.fgw_series_key(1, 0, 0, 0), 1, 1, 7, 6)
    relayed(1, lib.fgw_series_key(1, 0, lib.FGW_F_UF | lib.FGW_F_URX, 0), 2, 2, 0, 0)
    relayed(1, lib.fgw_series_key(8, 0, lib.FGW_F_NR, 0), 1, 1, 0, 0)
    assert collect_connections(state, {1: WEB}) == [
        (UNKNOWN, "NR", (1, 1, 0, 0)),
        (WEB, "-", (4, 3, (1 << 40) + 7, 11)),
        (WEB, "UF,URX", (2, 2, 0, 0)),
    ]
    for number in range(2, lib.FGW_STATE_TCP_SERIES + 200):
        relayed(0, lib.fgw_series_key(number, 0, 0, 0), 1, 0, 0, 0)
    assert "other" in {one.service.host for one in collect_connections(state, {})}


def test_what_the_table_had_no_place_for_is_counted_as_other(state: StateSegment) -> None:
    for number in range(lib.FGW_STATE_SERIES + 200):
        count(state, 0, lib.fgw_series_key(number, 200, 0, 1))
    found = collect(state, {})
    assert sum(one.sums.requests for one in found) == lib.FGW_STATE_SERIES + 200
    assert [one.sums.requests > 0 for one in found if one.service.host == "other"] == [True]


def test_looking_costs_the_sparse_block_no_memory(state: StateSegment) -> None:
    before = os.fstat(state.fd).st_blocks
    collect(state, {})
    for slot in range(3):
        state.counters(slot)
        state.rejected(slot)
        state.worker(slot)
    state.cell(100_000)
    assert os.fstat(state.fd).st_blocks == before


def test_the_segment_is_shaped_and_shared(state: StateSegment) -> None:
    assert state.total_bytes == lib.fgw_state_bytes(3) == os.fstat(state.fd).st_size
    assert (state._state.worker_slots, state._state.version) == (3, lib.FGW_STATE_VERSION)
    assert not os.get_inheritable(state.fd)
    state._state.workers[2].counters[lib.FGW_C_BUGS] = 7
    state._state.workers[1].rejected[lib.FGW_R_BARE_LF] = 5
    state._state.cells[5].failures = 3
    assert (state.counters(2)[lib.FGW_C_BUGS], state.counters(1)[lib.FGW_C_BUGS]) == (7, 0)
    assert (state.rejected(1)[lib.FGW_R_BARE_LF], state.cell(5).failures) == (5, 3)
    state.clear_cell(5)
    assert set(state.cell(5)) == {0}
    assert ffi.sizeof("fgw_cell") == 64
