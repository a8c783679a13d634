"""Keeps the DNS slots of the state segment true: every name that clusters need, refreshed by its TTL.

Workers read the slots without a new image. A refresh that fails leaves the last good answer in place. A slot holds the addresses
of all names of its cluster; a name that several clusters want is asked once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from fastgw.native._native import lib
from fastgw.supervisor.cells import CellPool, CellsExhausted, Key
from fastgw.supervisor.compile_protocol import DnsTarget
from fastgw.supervisor.dns_lookup import ADDRESSES, SERVICES, Answer, Lookup, LookupFailed, NameNotFound, Service
from fastgw.supervisor.state import UPPER_CELLS_FROM, DnsAddress, StateSegment

log = logging.getLogger("fastgw.dns")
MIN_TTL_S = 1.0
MAX_TTL_S = 300.0
MAX_RETRY_S = 30.0
GONE_AFTER_S = 60.0
"""How long a server must keep saying "no such name" before an answer it once gave is dropped: zones are reloaded with gaps."""
PARALLEL = 1024


class NameStatus(msgspec.Struct):
    """What is known of a name, for the admin API. kind: "address", or "srv" for its SRV records."""

    name: str
    status: str = "unknown"
    addresses: list[str] = []
    ttl_s: float = 0.0
    error: str = ""
    asked: int = 0
    failed: int = 0
    kind: str = ADDRESSES


class _Name:
    """One name, all slots that want it, and its refresh task."""

    def __init__(self, name: str, kind: str) -> None:
        self.status = NameStatus(name, kind=kind)
        self.targets: set[DnsTarget] = set()
        self.answer: Answer | None = None
        self.missing_since_s: float | None = None
        self.retry_s = 0.0
        self.first = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def services(self, target: DnsTarget) -> list[Service]:
        """What the answer means for one who wants it."""
        if self.answer is None:
            return []
        if self.answer.services:
            return [each._replace(weight=each.weight * target.weight) for each in self.answer.services]
        addresses = self.answer.addresses if target.lookup != "first" else self.answer.in_order[:1]
        return [Service(ip, target.port, target.weight) for ip in addresses]


class Resolver:
    """``follow`` names before an image needs them, ``retain`` only those once it is in use."""

    def __init__(self, state: StateSegment, lookup: Lookup) -> None:
        self.on_change: Callable[[int], None] = lambda slot: None
        """Called with the number of a slot that has been changed."""
        self._state = state
        self._lookup = lookup
        self._names: dict[tuple[str, str], _Name] = {}
        self._slots: dict[int, dict[DnsTarget, None]] = {}
        """the targets of each slot, in the order in which they came"""
        self._inherits = False
        """names that are followed may have had answers from a predecessor"""
        self._written: dict[int, tuple[int, list[DnsAddress]]] = {}
        """what each slot holds: most answers are those of before"""
        self._held: dict[int, set[Key]] = {}
        """the cells that each slot keeps"""
        self._holders: Counter[Key] = Counter()
        """how many slots keep a cell"""
        cells_end = int(lib.FGW_STATE_CELLS)
        self._cells = CellPool(UPPER_CELLS_FROM, cells_end, lambda cell: state.cell(cell).active == 0, state.clear_cell)
        self._gate = asyncio.Semaphore(PARALLEL)

    def statuses(self) -> list[NameStatus]:
        return [name.status for name in list(self._names.values())]

    def follow(self, targets: Iterable[DnsTarget]) -> None:
        """Start resolving what is new; a slot of a name already known gets its answer at once. What was followed before stays until
        ``retain``, with slots of its own: workers go over to the new image one after the other."""
        touched = set()
        for target in targets:
            name = self._names.get(_key(target))
            if name is None:
                name = self._names[_key(target)] = _Name(*_key(target))
                name.task = asyncio.create_task(self._keep_fresh(name))
            if target not in name.targets:
                if self._inherits and name.status.status == "unknown":
                    self._inherit(name, target)
                name.targets.add(target)
                self._slots.setdefault(target.slot, {})[target] = None
                touched.add(target.slot)
        for slot in touched:
            self._write_known(slot)

    def retain(self, targets: Iterable[DnsTarget]) -> None:
        """Forget every target but these."""
        wanted = set(targets)
        touched = set()
        for key, name in list(self._names.items()):
            for target in name.targets - wanted:
                name.targets.discard(target)
                del self._slots[target.slot][target]
                touched.add(target.slot)
            if not name.targets:
                assert name.task
                name.task.cancel()
                del self._names[key]
        for slot in touched:
            self._write_known(slot)
            if not self._slots[slot]:
                del self._slots[slot], self._held[slot]
                self._written.pop(slot, None)

    async def wait_known(self, seconds: float) -> None:
        """Until every name was asked once, at the most this long."""
        self._inherits = False
        waits = [name.first.wait() for name in self._names.values()]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waits), seconds)

    def cells_json(self) -> bytes:
        """Which address has which cell of the state segment, for a successor."""
        return self._cells.to_json()

    def restore_cells(self, data: bytes) -> None:
        """What a predecessor wrote. Its answers are good until those of our own, too. Raises ValueError."""
        self._cells.restore(data)
        self._inherits = True

    def close(self) -> None:
        """Ask no more. Slots stay as they are: a successor may go on with the segment."""
        for name in self._names.values():
            assert name.task
            name.task.cancel()

    def _inherit(self, name: _Name, target: DnsTarget) -> None:
        """The answer that the slot holds from before, when its cells say that it was this cluster's."""
        _, found = self._state.read_dns(target.slot)
        own = [
            each for each in found
            if each.endpoint == target.endpoint and self._cells.has((target.cluster, each.ip, each.port), each.cell)
        ]  # fmt: skip
        if not own:
            return
        services = tuple(Service(each.ip, each.port, max(each.weight // target.weight, 1), each.priority) for each in own)
        is_service = target.lookup == "srv"
        name.answer = Answer(tuple(sorted({each.ip for each in own})), 0, services=services if is_service else ())
        name.status.status, name.status.addresses = "ok", name.answer.texts()

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
                answer = literal(name.status) or await self._lookup(name.status.name, name.status.kind)
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
        now_s = asyncio.get_running_loop().time()
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
        name.answer = answer
        name.status.addresses = answer.texts() if answer else []
        for slot in sorted({target.slot for target in name.targets}):
            self._write_slot(slot)

    def _write_known(self, slot: int) -> None:
        """Write a slot; what finds no cell is tried again when its name is."""
        try:
            self._write_slot(slot)
        except CellsExhausted as error:
            log.error("%s", error)

    def _write_slot(self, slot: int) -> None:
        """All addresses of all names of a slot. One that two names have counts once, as the later target has it."""
        names = {target: self._names[_key(target)] for target in self._slots[slot]}
        found = {
            (service.ip, service.port): (target, service) for target, name in names.items() for service in name.services(target)
        }
        keys = {(target.cluster, *place) for place, (target, _) in found.items()}
        self._hold(slot, keys | self._held.get(slot, set()))  # what has been taken when cells run out is not lost
        addresses = [
            DnsAddress(each.ip, each.port, self._cell(target, each), each.weight, target.endpoint, each.priority)
            for target, each in sorted(found.values(), key=_place)[: lib.FGW_STATE_DNS_ADDRESSES]
        ]
        self._hold(slot, keys)
        content = (_status([name.status.status for name in names.values()]), addresses)
        if self._written.get(slot) != content:
            self._written[slot] = content
            self._state.write_dns(slot, *content)
            self.on_change(slot)

    def _hold(self, slot: int, keys: set[Key]) -> None:
        """A slot keeps these cells, and no others any more. Two slots of a cluster may share some."""
        before = self._held.get(slot, set())
        self._held[slot] = keys
        self._holders.update(keys - before)
        for key in before - keys:
            self._holders[key] -= 1
            if not self._holders[key]:
                del self._holders[key]
                self._cells.release(key)

    def _cell(self, target: DnsTarget, service: Service) -> int:
        return self._cells.take((target.cluster, service.ip, service.port))


def _key(target: DnsTarget) -> tuple[str, str]:
    return target.name, SERVICES if target.lookup == "srv" else ADDRESSES


def _place(found: tuple[DnsTarget, Service]) -> tuple[int, int, bytes, int]:
    """The order within a slot. What has no place in it is the worst."""
    target, service = found
    return target.endpoint, service.priority, service.ip, service.port


def _status(words: list[str]) -> int:
    """Of a slot: as good as its best name; while one has not been asked and none has an answer, nothing is known."""
    if "ok" in words:
        return int(lib.FGW_DNS_OK)
    return int(lib.FGW_DNS_UNKNOWN if "unknown" in words or not words else lib.FGW_DNS_FAILED)


def literal(status: NameStatus) -> Answer | None:
    """The answer for a name that is an address already."""
    try:
        return Answer((ipaddress.ip_address(status.name).packed,), int(MAX_TTL_S))
    except ValueError:
        return None
