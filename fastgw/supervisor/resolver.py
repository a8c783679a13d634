"""Keeps the DNS slots of the state segment true: every name that clusters need, refreshed by its TTL.

Workers read the slots without a new image. A refresh that fails leaves the last good answer in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Iterable

import msgspec

from fastgw.native._native import lib
from fastgw.supervisor.cells import CellPool, CellsExhausted
from fastgw.supervisor.compile_protocol import DnsTarget
from fastgw.supervisor.dns_lookup import Answer, Lookup, LookupFailed, NameNotFound
from fastgw.supervisor.state import UPPER_CELLS_FROM, StateSegment

log = logging.getLogger("fastgw.dns")
MIN_TTL_S = 1.0
MAX_TTL_S = 300.0
MAX_RETRY_S = 30.0
GONE_AFTER_S = 60.0
"""How long a server must keep saying "no such name" before an answer it once gave is dropped: zones are reloaded with gaps."""
PARALLEL = 1024


class NameStatus(msgspec.Struct):
    """What is known of a name, for the admin API."""

    name: str
    status: str = "unknown"
    addresses: list[str] = []
    ttl_s: float = 0.0
    error: str = ""
    asked: int = 0
    failed: int = 0


class _Name:
    """One name, all slots that want it, and its refresh task."""

    def __init__(self, name: str) -> None:
        self.status = NameStatus(name)
        self.targets: set[DnsTarget] = set()
        self.answer: Answer | None = None
        self.missing_since_s: float | None = None
        self.retry_s = 0.0
        self.first = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Resolver:
    """``follow`` names before an image needs them, ``retain`` only those once it is in use."""

    def __init__(self, state: StateSegment, lookup: Lookup) -> None:
        self._state = state
        self._lookup = lookup
        self._names: dict[str, _Name] = {}
        cells_end = int(lib.FGW_STATE_CELLS)
        self._cells = CellPool(UPPER_CELLS_FROM, cells_end, lambda cell: state.cell(cell).active == 0, state.clear_cell)
        self._gate = asyncio.Semaphore(PARALLEL)

    def statuses(self) -> list[NameStatus]:
        return [name.status for name in list(self._names.values())]

    def follow(self, targets: Iterable[DnsTarget]) -> None:
        """Start resolving what is new; a slot of a name already known gets its answer at once."""
        for target in targets:
            name = self._names.get(target.name)
            if name is None:
                name = self._names[target.name] = _Name(target.name)
                name.task = asyncio.create_task(self._keep_fresh(name))
            if target not in name.targets:
                name.targets.add(target)
                self._write_slot(name, target)

    def retain(self, targets: Iterable[DnsTarget]) -> None:
        """Forget every target but these."""
        wanted = set(targets)
        kept_slots = {target.slot for target in wanted}
        for key, name in list(self._names.items()):
            for target in name.targets - wanted:
                self._forget(name, target, target.slot not in kept_slots)
            if not name.targets:
                assert name.task
                name.task.cancel()
                del self._names[key]

    async def wait_known(self, seconds: float) -> None:
        """Until every name was asked once, at the most this long."""
        waits = [name.first.wait() for name in self._names.values()]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waits), seconds)

    def close(self) -> None:
        self.retain(())

    async def _keep_fresh(self, name: _Name) -> None:
        while True:
            try:
                pause_s = await self._refresh(name)
            except CellsExhausted as error:
                log.error("%s: %s", name.status.name, error)
                pause_s = MAX_RETRY_S
            name.first.set()
            await asyncio.sleep(pause_s)

    async def _refresh(self, name: _Name) -> float:
        """Ask once; seconds until the next time."""
        name.status.asked += 1
        try:
            async with self._gate:
                answer = literal(name.status.name) or await self._lookup(name.status.name)
        except LookupFailed as error:
            return self._on_failure(name, error)
        name.retry_s = 0.0
        name.missing_since_s = None
        if name.status.status == "failed":
            log.info("%s is resolved again", name.status.name)
        name.status.ttl_s = max(MIN_TTL_S, min(MAX_TTL_S, answer.ttl_s))
        name.status.status = "ok"
        name.status.error = ""
        self._store(name, answer)
        return name.status.ttl_s

    def _on_failure(self, name: _Name, error: LookupFailed) -> float:
        name.status.failed += 1
        if not name.status.error:
            kept = "; its last answer is kept" if name.answer else ""
            log.warning("%s cannot be resolved: %s%s", name.status.name, error, kept)
        name.status.error = str(error)
        now_s = time.monotonic()
        if not isinstance(error, NameNotFound):
            name.missing_since_s = None
        elif name.missing_since_s is None:
            name.missing_since_s = now_s
        gone = name.missing_since_s is not None and now_s - name.missing_since_s >= GONE_AFTER_S
        if name.answer is None or gone:
            name.status.status = "failed"
            self._store(name, None)
        name.retry_s = min(MAX_RETRY_S, name.retry_s * 2 or 1.0)
        return name.retry_s

    def _store(self, name: _Name, answer: Answer | None) -> None:
        before, name.answer = name.answer, answer
        name.status.addresses = [str(ipaddress.ip_address(ip)) for ip in answer.addresses] if answer else []
        for target in name.targets:
            self._write_slot(name, target)
            for ip in before.addresses if before else ():
                if answer is None or ip not in answer.addresses:
                    self._cells.release((target.cluster, ip, target.port))

    def _write_slot(self, name: _Name, target: DnsTarget) -> None:
        status = {"ok": lib.FGW_DNS_OK, "failed": lib.FGW_DNS_FAILED}.get(name.status.status, lib.FGW_DNS_UNKNOWN)
        addresses = [
            (_family(ip), ip, self._cells.take((target.cluster, ip, target.port)))
            for ip in (name.answer.addresses[: lib.FGW_STATE_DNS_ADDRESSES] if name.answer else ())
        ]
        self._state.write_dns(target.slot, status, target.port, addresses)

    def _forget(self, name: _Name, target: DnsTarget, clear_slot: bool) -> None:
        name.targets.discard(target)
        for ip in name.answer.addresses if name.answer else ():
            self._cells.release((target.cluster, ip, target.port))
        if clear_slot:
            self._state.write_dns(target.slot, lib.FGW_DNS_UNKNOWN, 0, [])


def literal(name: str) -> Answer | None:
    """The answer for a name that is an address already."""
    try:
        return Answer((ipaddress.ip_address(name).packed,), int(MAX_TTL_S))
    except ValueError:
        return None


def _family(ip: bytes) -> int:
    return int(lib.FGW_FAMILY_IPV4 if len(ip) == 4 else lib.FGW_FAMILY_IPV6)
