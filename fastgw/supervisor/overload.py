"""The supervisor's part in overload: reads the control group's memory for all workers, and says what workers do about theirs.

Workers decide by themselves (``fastgw/dataplane/overload.pyx``), four times a second; here is one line of log at each change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastgw.native._native import lib
from fastgw.supervisor.memory_group import MemoryGroup, find_group
from fastgw.supervisor.state import StateSegment

log = logging.getLogger("fastgw.overload")
LOOK_S = 0.25
NEAR_S = 0.05
"""When more than NEAR of the limit is in use: a flood of uploads fills some ten MiB in a second."""
NEAR = 0.8
GROUP_S = 5.0
"""The limit may be changed (``systemctl set-property``), and so may which group has the lowest."""
QUIET_S = 5.0
STEPS = (
    "enough memory again",
    "idle connections have less time",
    "connections end after the answer",
    "no new connections or requests",
    "the largest streams are reset",
)
MIB = 1 << 20


@dataclass
class Seen:
    """Of one worker."""

    step: int = 0
    sheds: bool = False
    shed_s: float = 0.0
    """when it was last seen to refuse requests for being late"""
    refused: int = 0
    """so far, for being late"""
    refused_before: int = 0
    """that began"""


class OverloadWatch:
    """``stripes``: of our workers, in the order of their slots. ``group``: None when no limit is known."""

    def __init__(
        self, state: StateSegment, stripes: list[int], group: MemoryGroup | None,
        find: Callable[[], MemoryGroup | None] = find_group,
    ) -> None:  # fmt: skip
        self._state = state
        self._stripes = stripes
        self._group = group
        self._find = find
        self._near = False
        self._seen = [Seen(refused=state.counters(stripe)[lib.FGW_C_SHED_DELAY]) for stripe in stripes]

    async def run(self) -> None:
        group_at_s = time.monotonic() + GROUP_S
        while True:
            if time.monotonic() >= group_at_s:
                group_at_s = time.monotonic() + GROUP_S
                self.look_for_group()
            self.look()
            await asyncio.sleep(NEAR_S if self._near else LOOK_S)

    def look_for_group(self) -> None:
        before, self._group = self._group, self._find()
        limits = [group.limit // MIB if group else 0 for group in (before, self._group)]
        if limits[0] != limits[1]:
            log.info("memory limit of the control group, from now on: %s", f"{limits[1]} MiB" if limits[1] else "none")
            if self._group is None:
                self._state.write_memory(0, 0, 0)

    def look(self, now_s: float | None = None) -> None:
        group_text = ""
        if self._group is not None:
            used, sockets = self._group.used()
            self._near = used > self._group.limit * NEAR
            self._state.write_memory(self._group.limit, used, sockets)
            group_text = f", {used // MIB} of {self._group.limit // MIB} MiB of the control group"
        for slot, stripe in enumerate(self._stripes):
            counters = self._state.counters(stripe)
            self._look_at_memory(slot, counters, group_text)
            self._look_at_shedding(slot, counters, time.monotonic() if now_s is None else now_s)

    def _look_at_memory(self, slot: int, counters: tuple[int, ...], group_text: str) -> None:
        seen, step = self._seen[slot], int(counters[lib.FGW_G_MEMORY_STEP])
        if step == seen.step:
            return
        used, budget = counters[lib.FGW_G_MEMORY_BYTES] // MIB, counters[lib.FGW_G_MEMORY_BUDGET] // MIB
        level = logging.WARNING if step > seen.step else logging.INFO
        place = f"{used} of {budget} MiB in use{group_text}"
        log.log(level, "worker %d: memory step %d, %s: %s", slot, step, STEPS[min(step, 4)], place)
        seen.step = step

    def _look_at_shedding(self, slot: int, counters: tuple[int, ...], now_s: float) -> None:
        """At the edge of what a worker can do it begins and ends all the time: the end is said when it has lasted."""
        seen, refused = self._seen[slot], int(counters[lib.FGW_C_SHED_DELAY])
        if counters[lib.FGW_G_SHED_SHARE] or refused != seen.refused:  # it may have come and gone between two looks
            seen.shed_s = now_s
            if not seen.sheds:
                seen.sheds, seen.refused_before = True, seen.refused
                log.warning("worker %d: overloaded, it is late all the time; a share of new requests is refused", slot)
        elif seen.sheds and now_s - seen.shed_s >= QUIET_S:
            seen.sheds = False
            log.info("worker %d: not overloaded any more; requests refused: %d", slot, refused - seen.refused_before)
        seen.refused = refused
