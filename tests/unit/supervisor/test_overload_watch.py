"""What the supervisor says about overload, and what it tells the workers."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from fastgw.native._native import lib
from fastgw.supervisor.memory_group import MemoryGroup
from fastgw.supervisor.overload import OverloadWatch
from fastgw.supervisor.state import StateSegment

MIB = 1 << 20


def test_one_line_at_each_change(caplog: pytest.LogCaptureFixture) -> None:
    state = StateSegment(2)
    watch = OverloadWatch(state, state.stripes, None)
    counters = state._state.workers[1].counters
    caplog.set_level(logging.INFO)
    watch.look()
    assert caplog.messages == []
    counters[lib.FGW_G_MEMORY_BYTES], counters[lib.FGW_G_MEMORY_BUDGET] = 93 * MIB, 100 * MIB
    counters[lib.FGW_G_MEMORY_STEP] = 2
    watch.look()
    watch.look()
    assert caplog.messages == ["worker 1: memory step 2, connections end after the answer: 93 of 100 MiB in use"]
    assert caplog.records[0].levelno == logging.WARNING
    counters[lib.FGW_G_MEMORY_STEP] = 0
    watch.look()
    assert caplog.messages[1:] == ["worker 1: memory step 0, enough memory again: 93 of 100 MiB in use"]
    assert caplog.records[1].levelno == logging.INFO
    state.close()


def test_shedding_has_a_beginning_and_an_end(caplog: pytest.LogCaptureFixture) -> None:
    state = StateSegment(1)
    counters = state._state.workers[0].counters
    counters[lib.FGW_C_SHED_DELAY] = 1000
    watch = OverloadWatch(state, state.stripes, None)
    caplog.set_level(logging.INFO)
    watch.look(9.0)
    assert caplog.messages == [], "that was before this start"
    for now_s, share, refused in ((10.0, 100, 1000), (10.25, 50, 1300), (10.5, 0, 1300), (14.0, 20, 1500), (18.75, 0, 1500)):
        counters[lib.FGW_C_SHED_DELAY], counters[lib.FGW_G_SHED_SHARE] = refused, share
        watch.look(now_s)
    assert len(caplog.messages) == 1, "it goes on and off"
    watch.look(19.0)
    watch.look(30.0)
    counters[lib.FGW_C_SHED_DELAY] = 1501  # and gone again
    watch.look(40.0)
    watch.look(45.0)
    assert caplog.messages == [
        "worker 0: overloaded, it is late all the time; a share of new requests is refused",
        "worker 0: not overloaded any more; requests refused: 500",
        "worker 0: overloaded, it is late all the time; a share of new requests is refused",
        "worker 0: not overloaded any more; requests refused: 1",
    ]
    state.close()


def test_workers_learn_of_the_group(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("950\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\nsock 40\n")
    state = StateSegment(1)
    OverloadWatch(state, state.stripes, MemoryGroup(tmp_path, 2, 1000)).look()
    head = state._state
    assert (head.memory_limit, head.memory_used, head.memory_sockets) == (1000, 850, 40)
    assert abs(head.memory_read_ms - time.monotonic() * 1000) < 60_000
    state.close()


def test_a_limit_that_is_changed_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As by ``systemctl set-property``: lowered, and taken away."""
    state = StateSegment(1)
    (tmp_path / "memory.current").write_text(f"{50 * MIB}")
    found: list[MemoryGroup | None] = [MemoryGroup(tmp_path, 2, 60 * MIB), MemoryGroup(tmp_path, 2, 60 * MIB), None]
    watch = OverloadWatch(state, state.stripes, None, lambda: found.pop(0))
    caplog.set_level(logging.INFO)
    watch.look()
    assert (state._state.memory_limit, state._state.memory_used) == (0, 0)
    watch.look_for_group()
    watch.look_for_group()
    watch.look()
    assert state._state.memory_limit == 60 * MIB
    watch.look_for_group()
    watch.look()
    assert (state._state.memory_limit, state._state.memory_used) == (0, 0)
    assert caplog.messages == ["memory limit of the control group, from now on: " + text for text in ("60 MiB", "none")]
    state.close()
