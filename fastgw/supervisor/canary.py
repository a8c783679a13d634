"""A new configuration on a few workers first: the kernel gives them their share of connections, and their answers are counted."""

from __future__ import annotations

import asyncio
import time

import msgspec

from fastgw.model.worker_protocol import Image
from fastgw.supervisor.fleet import Fleet
from fastgw.supervisor.metric_series import unpack_key
from fastgw.supervisor.state import StateSegment
from fastgw.supervisor.worker import WorkerSlot

LOOK_S = 0.5
ACK_S = 10.0


class Rules(msgspec.Struct, frozen=True):
    """``workers`` get it first, for ``seconds``; more than ``max_5xx`` (a share) of their answers being 5xx ends it."""

    workers: int
    seconds: float
    max_5xx: float


class Tally(msgspec.Struct, rename="camel"):
    """What the workers that try a configuration have answered since they have it."""

    requests: int = 0
    errors: int = 0

    @property
    def share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


class CanaryFailed(Exception):
    """The new configuration is not to be served; the text says why."""


class Canary:
    """One trial. ``tally`` is right while it runs."""

    def __init__(self, fleet: Fleet, state: StateSegment, rules: Rules) -> None:
        self._fleet = fleet
        self._state = state
        self._rules = rules
        self._slots = fleet.slots[: rules.workers]
        self.tally = Tally()
        self.until_s = 0.0

    async def run(self, message: Image, fds: list[int]) -> None:
        """Returns when the time is over and nothing spoke against it. Raises CanaryFailed; the workers still have it then."""
        pids = [slot.pid for slot in self._slots]
        for slot in self._slots:
            slot.tell_image((message, fds))
        if not await self._fleet.wait_image(message.generation, ACK_S, self._slots):
            raise CanaryFailed(f"the workers did not take it within {ACK_S:g} s")
        before = self._count()
        self.until_s = time.monotonic() + self._rules.seconds
        while (left_s := self.until_s - time.monotonic()) > 0:
            await asyncio.sleep(min(LOOK_S, left_s))
            self._judge(before, pids)

    def restore(self) -> None:
        """Back to what the others serve."""
        for slot in self._slots:
            slot.tell_image()

    def _judge(self, before: Tally, pids: list[int]) -> None:
        if [slot.pid for slot in self._slots] != pids:
            raise CanaryFailed("a worker that had it ended")
        now = self._count()
        self.tally = Tally(now.requests - before.requests, now.errors - before.errors)
        if self.tally.share > self._rules.max_5xx:
            raise CanaryFailed(
                f"{self.tally.errors} of {self.tally.requests} answers were 5xx, more than {self._rules.max_5xx:.3g} of them"
            )

    def _count(self) -> Tally:
        return add_up(self._state, self._slots)


def add_up(state: StateSegment, slots: list[WorkerSlot]) -> Tally:
    """All requests that these workers have ever finished, and those answered 5xx."""
    tally = Tally()
    for slot in slots:
        for key, series in state.series(slot.stripe):
            found = unpack_key(key)
            tally.requests += series.requests
            if found is not None and found.status >= 500:
                tally.errors += series.requests
    return tally
