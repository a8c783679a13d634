"""Tells the log, once in a while, that connections are refused or held back by limits: the metrics have each of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fastgw.native._native import lib
from fastgw.supervisor.state import StateSegment

log = logging.getLogger("fastgw.limits")

BETWEEN_S = 60.0


class LimitNotice:
    """``look()`` reads the counters of all workers. The first refusal is told at once, further ones a minute later."""

    def __init__(self, state: StateSegment, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        self._refused = self._count_refused()
        self._quiet_until_s = 0.0
        self._full = False

    def look(self) -> None:
        """Call about once a second."""
        now_s = self._clock()
        refused = self._count_refused()
        if refused != self._refused and now_s >= self._quiet_until_s:
            log.warning(
                "%d connections closed: their source address has as many as it may have (max-connections-per-source)",
                refused - self._refused,
            )
            self._refused = refused
            self._quiet_until_s = now_s + BETWEEN_S
        full = any(self._state.counters(slot)[lib.FGW_G_LISTENERS_FULL] for slot in range(self._state.workers))
        if full and not self._full:
            log.warning("a listener has all the connections that it may have (max-connections): further ones wait")
        self._full = full

    def _count_refused(self) -> int:
        return sum(self._state.rejected(slot)[lib.FGW_R_SOURCE_LIMIT] for slot in range(self._state.workers))
