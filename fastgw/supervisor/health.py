"""Active health checks: once an endpoint by the supervisor, however many workers, clusters and routes lead to it.

The verdict is a flag of the endpoint's cells, which every worker sees at its next choice. Endpoints that two clusters ask about
in the same way are asked once for both. An endpoint that has not been checked yet counts as well, unless an earlier start of the
supervisor has found otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import msgspec

from fastgw.model.plan import HealthCheck, UpstreamTls
from fastgw.native._native import lib
from fastgw.supervisor.compile_protocol import HealthTarget
from fastgw.supervisor.health_probe import Asked, probe
from fastgw.supervisor.health_tls import ClientContexts, NotVerified
from fastgw.supervisor.state import StateSegment

log = logging.getLogger("fastgw.health")
PARALLEL = 256
JITTER = 0.1
"""Of an interval: checks that began together drift apart."""
SHORTEST_PAUSE_S = 0.01


class Question(NamedTuple):
    """What is asked of whom. Two with the same value are one check."""

    address: str
    port: int
    check: HealthCheck
    host: str
    http2: bool
    tls: UpstreamTls | None

    def text(self) -> str:
        if self.address.startswith("unix:"):
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class HealthStatus(msgspec.Struct):
    """What is known of an endpoint, for the admin API. status: unknown, healthy, unhealthy. ``error``: of the last check."""

    endpoint: str
    kind: str
    status: str = "unknown"
    error: str = ""
    checked: int = 0
    failed: int = 0


class Streak:
    """Turns results into a verdict: None before the first, which decides at once; then so many in a row change it."""

    def __init__(self, healthy: int, unhealthy: int) -> None:
        self.verdict: bool | None = None
        self._needed = {True: healthy, False: unhealthy}
        self._against = 0

    def observe(self, well: bool) -> bool:
        """Has the verdict changed?"""
        if well == self.verdict:
            self._against = 0
            return False
        self._against += 1
        if self.verdict is not None and self._against < self._needed[well]:
            return False
        self.verdict, self._against = well, 0
        return True


class _Checked:
    """One endpoint that is being checked. ``cells``: how many targets want each of them."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.status = HealthStatus(question.text(), question.check.kind)
        self.streak = Streak(question.check.healthy, question.check.unhealthy)
        self.cells: Counter[int] = Counter()
        self.first = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


Place = tuple[Question, int]
"""A question and the cell that its verdict is for."""


class HealthChecker:
    """``follow`` endpoints before an image needs them, ``retain`` only those once it is in use, as with names.

    ``credentials``: gives the descriptor of the credentials block in use. ``ask``: makes one check (tests have their own).
    """

    def __init__(self, state: StateSegment, credentials: Callable[[], int], ask: Callable[[Asked], Awaitable[str]] = probe) -> None:
        self._state = state
        self._ask = ask
        self._contexts = ClientContexts(credentials)
        self._checked: dict[Question, _Checked] = {}
        self._targets: dict[HealthTarget, Counter[Place]] = {}
        self._by_cell: dict[int, set[_Checked]] = {}
        self._by_slot: dict[int, set[HealthTarget]] = {}
        self._gate = asyncio.Semaphore(PARALLEL)

    def by_cell(self) -> dict[int, HealthStatus]:
        """What is known, by the number of the endpoint's cell: a copy."""
        found = [(cell, checked.status) for cell, several in list(self._by_cell.items()) for checked in tuple(several)[:1]]
        return {cell: msgspec.structs.replace(status) for cell, status in found}

    def follow(self, targets: Iterable[HealthTarget]) -> None:
        """Start checking what is new."""
        for target in targets:
            if target not in self._targets:
                self._targets[target] = Counter()
                if target.slot >= 0:
                    self._by_slot.setdefault(target.slot, set()).add(target)
                self._renew(target, self._places(target))

    def retain(self, targets: Iterable[HealthTarget]) -> None:
        """Forget every target but these."""
        wanted = set(targets)
        for target in [target for target in self._targets if target not in wanted]:
            self._renew(target, Counter())
            del self._targets[target]
            if target.slot >= 0:
                self._by_slot[target.slot].discard(target)
                if not self._by_slot[target.slot]:
                    del self._by_slot[target.slot]

    def on_slot(self, slot: int) -> None:
        """The addresses in a slot may have changed."""
        for target in self._by_slot.get(slot, ()):
            self._renew(target, self._places(target))

    async def wait_known(self, seconds: float) -> None:
        """Until every endpoint was checked once, at the most this long."""
        waits = [checked.first.wait() for checked in self._checked.values()]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waits), seconds)

    def go_on(self) -> None:
        """With a segment that was handed over: forget verdicts of a predecessor about endpoints that nobody checks any more."""
        if self._state.adopted:
            self._state.unmark_cells(int(lib.FGW_CELL_UNHEALTHY), self._by_cell.keys())

    def close(self) -> None:
        """Check no more. Verdicts stay as they are: a successor may go on with the segment."""
        for checked in self._checked.values():
            assert checked.task
            checked.task.cancel()

    def _places(self, target: HealthTarget) -> Counter[Place]:
        found = [(address, port, cell) for address, port, cell in target.endpoints]
        if target.slot >= 0:
            _, resolved = self._state.read_dns(target.slot)
            found += [(str(ipaddress.ip_address(each.ip)), each.port, each.cell) for each in resolved]
        return Counter((_question(target, address, port), cell) for address, port, cell in found)

    def _renew(self, target: HealthTarget, places: Counter[Place]) -> None:
        before, self._targets[target] = self._targets[target], places
        for place in places - before:
            self._add(*place)
        for place in before - places:
            self._remove(*place)

    def _add(self, question: Question, cell: int) -> None:
        checked = self._checked.get(question)
        if checked is None:
            checked = self._checked[question] = _Checked(question)
            checked.task = asyncio.create_task(self._keep_checking(checked))
        checked.cells[cell] += 1
        self._by_cell.setdefault(cell, set()).add(checked)
        if checked.streak.verdict is not None:  # else what a predecessor found out holds until the first check
            self._mark(cell)

    def _remove(self, question: Question, cell: int) -> None:
        checked = self._checked[question]
        checked.cells[cell] -= 1
        if checked.cells[cell]:
            return
        del checked.cells[cell]
        self._by_cell[cell].discard(checked)
        self._mark(cell)
        if not self._by_cell[cell]:
            del self._by_cell[cell]
        if not checked.cells:
            assert checked.task
            checked.task.cancel()
            del self._checked[question]

    def _mark(self, cell: int) -> None:
        """While a check is replaced by another, both have a say."""
        bad = any(checked.streak.verdict is False for checked in self._by_cell[cell])
        self._state.mark_cell(cell, int(lib.FGW_CELL_UNHEALTHY), bad)

    async def _keep_checking(self, checked: _Checked) -> None:
        loop = asyncio.get_running_loop()
        interval_s = checked.question.check.interval_ms / 1000
        while True:
            async with self._gate:
                began_s = loop.time()
                error = await self._check(checked.question)
            self._take(checked, error)
            checked.first.set()
            pause_s = interval_s * random.uniform(1 - JITTER, 1 + JITTER) - (loop.time() - began_s)
            await asyncio.sleep(max(pause_s, SHORTEST_PAUSE_S))

    async def _check(self, question: Question) -> str:
        try:
            tls = self._contexts.find(question.tls, question.host, question.http2) if question.tls is not None else None
        except NotVerified as error:
            return str(error)
        asked = Asked(question.address, question.port, question.check, question.host, question.http2, tls)
        try:
            return await self._ask(asked)
        except Exception as error:
            # one endpoint's strange answer must not end its checks
            log.exception("the check of %s failed in an unforeseen way", question.text())
            return f"{type(error).__name__}: {error}"

    def _take(self, checked: _Checked, error: str) -> None:
        status = checked.status
        status.checked += 1
        status.failed += bool(error)
        status.error = error
        if not checked.streak.observe(not error):
            return
        before, status.status = status.status, "unhealthy" if error else "healthy"
        for cell in checked.cells:
            self._mark(cell)
        if error:
            log.warning("%s is unhealthy: %s", status.endpoint, error)
        elif before == "unhealthy":
            log.info("%s is healthy again", status.endpoint)


def _question(target: HealthTarget, address: str, port: int) -> Question:
    check = target.check
    # a port of its own is for a server beside, which need not speak as the endpoint does
    tls, http2 = (target.tls, target.http2) if check.port in (0, port) else (None, False)
    wanted = check.port or port
    return Question(address, 0 if address.startswith("unix:") else wanted, check, target.host, http2, tls)
