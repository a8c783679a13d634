"""What the log says of limits: the first time at once, then at most once a minute."""

from __future__ import annotations

import os
import struct

import pytest

from fastgw.native._native import ffi, lib
from fastgw.supervisor.limit_notice import BETWEEN_S, LimitNotice
from fastgw.supervisor.state import StateSegment


def put(state: StateSegment, slot: int, field: str, index: int, value: int) -> None:
    offset = ffi.offsetof("fgw_state", "workers") + slot * ffi.sizeof("fgw_worker_state")
    os.pwrite(state.fd, struct.pack("=Q", value), offset + ffi.offsetof("fgw_worker_state", field) + 8 * index)


def test_refusals_are_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [100.0]
    state = StateSegment(2)
    put(state, 1, "rejected", lib.FGW_R_SOURCE_LIMIT, 7)  # of an earlier start
    notice = LimitNotice(state, lambda: now_s[0])
    said = []
    for passed_s, count in ((0, 7), (1, 9), (1, 30), (BETWEEN_S, 30), (1, 30), (BETWEEN_S, 31)):
        now_s[0] += passed_s
        put(state, 1, "rejected", lib.FGW_R_SOURCE_LIMIT, count)
        caplog.clear()
        notice.look()
        said.append([record.getMessage().split()[0] for record in caplog.records])
    assert said == [[], ["2"], [], ["21"], [], ["1"]]


def test_a_full_listener_is_told_when_it_becomes_full(caplog: pytest.LogCaptureFixture) -> None:
    state = StateSegment(2)
    notice = LimitNotice(state)
    said = []
    for full in (0, 1, 1, 0, 2):
        put(state, 0, "counters", lib.FGW_G_LISTENERS_FULL, full)
        caplog.clear()
        notice.look()
        said.append(len(caplog.records))
    assert said == [0, 1, 0, 0, 1]
