"""The supervisor's part in overload: reads the control group's memory for all workers, and says what workers do about theirs.

Workers decide by themselves (``fastgw/dataplane/overload.pyx``), four times a second; here is one line of log at each change.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from fastgw.native._native import lib
from fastgw.supervisor.memory_group import MemoryGroup
from fastgw.supervisor.state import StateSegment

log = logging.getLogger("fastgw.overload")
LOOK_S = 0.25
STEPS = (
    "enough memory again",
    "idle connections have less time",
    "connections end after the answer",
    "no new connections or requests",
    "the largest streams are reset",
)
MIB = 1 << 20


class Seen(NamedTuple):
    """Of one worker."""

    step: int = 0
    sheds: bool = False


class OverloadWatch:
    """``stripes``: of our workers, in the order of their slots. ``group``: None when no limit is known."""

    def __init__(self, state: StateSegment, stripes: list[int], group: MemoryGroup | None) -> None:
        self._state = state
        self._stripes = stripes
        self._group = group
        self._seen = [Seen() for _ in stripes]
        self._refused_from = [0 for _ in stripes]

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        group_text = ""
        if self._group is not None:
            used = self._group.used()
            self._state.write_memory(self._group.limit, used)
            group_text = f", {used // MIB} of {self._group.limit // MIB} MiB of the control group"
        for slot, stripe in enumerate(self._stripes):
            counters = self._state.counters(stripe)
            step, sheds = int(counters[lib.FGW_G_MEMORY_STEP]), counters[lib.FGW_G_SHED_SHARE] > 0
            seen = self._seen[slot]
            if step != seen.step:
                used, budget = counters[lib.FGW_G_MEMORY_BYTES] // MIB, counters[lib.FGW_G_MEMORY_BUDGET] // MIB
                level = logging.WARNING if step > seen.step else logging.INFO
                place = f"{used} of {budget} MiB in use{group_text}"
                log.log(level, "worker %d: memory step %d, %s: %s", slot, step, STEPS[min(step, 4)], place)
            if sheds != seen.sheds:
                self._tell_shedding(slot, sheds, counters)
            self._seen[slot] = Seen(step, sheds)

    def _tell_shedding(self, slot: int, sheds: bool, counters: tuple[int, ...]) -> None:
        refused = counters[lib.FGW_C_SHED_DELAY]
        if sheds:
            self._refused_from[slot] = refused
            delay_ms = counters[lib.FGW_G_LOOP_DELAY_US] / 1000
            log.warning("worker %d: overloaded, requests wait %.0f ms; a share of new ones is refused", slot, delay_ms)
        else:
            log.info("worker %d: not overloaded any more, %d requests were refused", slot, refused - self._refused_from[slot])
