"""The state segment as the supervisor sees it: made once, mapped, and read for metrics, heartbeats and the admin API.

Layout and rules: ``ext/include/fgw/state.h``. Everything that only reads goes through ``pread``, because a read through the
mapping would give memory to every untouched page of the sparse block.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Collection, Container, Iterator
from typing import Any, NamedTuple

from fastgw.native._native import ffi, lib

_WORKER = "fgw_worker_state"
_SERIES_BYTES = ffi.sizeof("fgw_series")
_SERIES_WORDS = _SERIES_BYTES // 8
_TCP_SERIES_BYTES = ffi.sizeof("fgw_tcp_series")
_TCP_SERIES_STRUCT = struct.Struct("=5Q")
_BUCKETS = int(lib.FGW_STATE_BUCKETS)
_SERIES_STRUCT = struct.Struct(f"={_SERIES_WORDS}Q")
_CELL = struct.Struct("=IIIIQQIIQ")
_CLUSTER = struct.Struct("=IIIIQQQ")
_HEADER = struct.Struct("=QIIQ")
_MAGIC = int.from_bytes(b"FGWSTATE", "little")
UPPER_CELLS_FROM = int(lib.FGW_STATE_CELLS) // 2
"""Cells from here on belong to the resolver; those below to the image writer (endpoints known when a config is compiled)."""


class Series(NamedTuple):
    """Sums of one label set. Histogram buckets are not cumulative."""

    requests: int
    duration_us_sum: int
    request_bytes_sum: int
    response_bytes_sum: int
    buckets: tuple[int, ...]
    """duration, request_bytes, response_bytes, FGW_STATE_BUCKETS each"""


class TcpSeries(NamedTuple):
    """Relayed connections of one label set. Bytes: sent to clients, received from clients."""

    opened: int
    closed: int
    sent_bytes: int
    received_bytes: int


class WorkerView(NamedTuple):
    heartbeat_ns: int
    generation: int
    pid: int
    draining: bool


class Cell(NamedTuple):
    """``ejected_until_ms``: CLOCK_MONOTONIC; the flag of an ejection that is over stays until somebody picks the endpoint."""

    active: int
    flags: int
    errors_in_a_row: int
    gateway_errors_in_a_row: int
    requests: int
    failures: int
    local_errors_in_a_row: int
    ejections: int
    ejected_until_ms: int

    def ejected(self, now_ms: float) -> bool:
        """``ejected_until_ms`` 0: until somebody says otherwise."""
        return bool(self.flags & lib.FGW_CELL_EJECTED) and (not self.ejected_until_ms or self.ejected_until_ms > now_ms)


class DnsAddress(NamedTuple):
    """One address of a name: fgw_dns_address. ``ip`` in network order."""

    ip: bytes
    port: int
    cell: int
    weight: int = 1
    endpoint: int = 0
    """place of the name among the cluster's endpoints"""
    priority: int = 0
    """levels below that of the name"""


class ClusterCounts(NamedTuple):
    """Of all workers together. What a cluster has no limit of is not counted."""

    connections: int
    pending: int
    requests: int
    retries: int
    overflows: int
    ejections: int


class StateSegment:
    """Owns the memory file and its mapping. ``fd`` is handed to workers.

    A stripe is written by one process alone. Those of our workers are ``stripes``; a segment that an earlier start left has others
    beside them, with sums that still count, or with workers that are about to end. All methods want a stripe's number.
    """

    def __init__(self, workers: int, inherited: int = -1, busy: Collection[int] = ()) -> None:
        """``inherited``: the descriptor of a segment to go on with, taken whatever comes of it; ``busy``: stripes in use there."""
        self.adopted = inherited >= 0 and self._adopt(inherited, workers, busy)
        if not self.adopted:
            self.stripes = list(range(workers))
            self.workers = workers
            self.fd = os.memfd_create("fastgw-state", os.MFD_CLOEXEC)
        self.total_bytes = int(lib.fgw_state_bytes(self.workers))
        os.ftruncate(self.fd, self.total_bytes)
        self._map = mmap.mmap(self.fd, self.total_bytes, mmap.MAP_SHARED)
        self._block = ffi.from_buffer(self._map, require_writable=True)
        self._state = ffi.cast("fgw_state *", self._block)
        if self.adopted:
            self._state.worker_slots, self._state.total_bytes = self.workers, self.total_bytes
            for stripe in set(range(self.workers)) - set(busy):
                self.forget_worker(stripe)
        else:
            lib.fgw_state_init(self._state, workers)
        self._workers_offset = int(ffi.offsetof("fgw_state", "workers"))

    def _adopt(self, fd: int, workers: int, busy: Collection[int]) -> bool:
        """Is it of this version, with as many stripes as are needed, or place for them?"""
        header = os.pread(fd, _HEADER.size, 0)
        if len(header) == _HEADER.size:
            magic, version, slots, total_bytes = _HEADER.unpack(header)
            right = (magic, version) == (_MAGIC, lib.FGW_STATE_VERSION) and slots <= lib.FGW_STATE_WORKERS
            free = [stripe for stripe in range(int(lib.FGW_STATE_WORKERS)) if stripe not in busy][:workers]
            if right and total_bytes == os.fstat(fd).st_size == lib.fgw_state_bytes(slots) and len(free) == workers:
                self.fd, self.stripes = fd, free
                self.workers = max(slots, free[-1] + 1)
                return True
        os.close(fd)
        return False

    def shape_rate_limits(self, buckets: int) -> None:
        """To be called before workers begin. A segment that an earlier start left keeps its seed, so that its buckets stay what
        they are as long as their number does."""
        seed = self._state.rate_seed if any(self._state.rate_seed) else struct.unpack("=2Q", os.urandom(16))
        lib.fgw_rate_shape(self._state, buckets, seed[0], seed[1])

    def rate_unlimited(self) -> int:
        """Requests let through for want of a bucket."""
        return int(struct.unpack("=Q", os.pread(self.fd, 8, int(ffi.offsetof("fgw_state", "rate_unlimited"))))[0])

    def rate_counts(self, index: int) -> tuple[int, int]:
        """Requests that a rate limit has (allowed, limited)."""
        offset = int(ffi.offsetof("fgw_state", "rate_counts")) + index * int(ffi.sizeof("fgw_rate_counts"))
        allowed, limited = struct.unpack("=2Q", os.pread(self.fd, 16, offset))
        return allowed, limited

    def clear_upper_cells(self) -> None:
        """Nobody knows any more what they count. Only pages that were written are touched."""
        for begin, stop in self._written_cells(UPPER_CELLS_FROM):
            os.pwrite(self.fd, bytes(stop - begin), begin)

    def unmark_cells(self, flag: int, kept: Container[int]) -> None:
        """Take a flag away wherever it is set, but for the cells ``kept``."""
        size, start = int(ffi.sizeof("fgw_cell")), int(ffi.offsetof("fgw_state", "cells"))
        for begin, stop in self._written_cells(0):
            first = (begin - start) // size
            data = os.pread(self.fd, stop - begin, begin)
            for index in range(first, (stop - start) // size):
                if _CELL.unpack_from(data, (index - first) * size)[1] & flag and index not in kept:
                    self.mark_cell(index, flag, False)

    def _written_cells(self, first: int) -> Iterator[tuple[int, int]]:
        """Begin and end, in the file, of the cells from ``first`` on that are not in holes."""
        size, start = int(ffi.sizeof("fgw_cell")), int(ffi.offsetof("fgw_state", "cells"))
        begin, end = start + first * size, start + int(lib.FGW_STATE_CELLS) * size
        while begin < end:
            try:
                data = max(begin, os.lseek(self.fd, begin, os.SEEK_DATA))
                stop = min(end, os.lseek(self.fd, data, os.SEEK_HOLE))
            except OSError:  # nothing but holes
                return
            if data < stop:
                # an extent begins and ends with a page, not with a cell
                yield data - (data - start) % size, stop + (start - stop) % size
            begin = stop

    def close(self) -> None:
        self._state = None
        ffi.release(self._block)
        self._map.close()
        os.close(self.fd)

    def forget_worker(self, slot: int) -> None:
        """Take a dead worker's requests in flight off the shared cells, zero its gauges."""
        lib.fgw_state_forget_worker(self._state, slot)

    def worker(self, slot: int) -> WorkerView:
        heartbeat_ns, generation, pid, draining = struct.unpack("=QQII", self._read_worker(slot, 0, 24))
        return WorkerView(heartbeat_ns, generation, pid, bool(draining))

    def counters(self, slot: int) -> tuple[int, ...]:
        """Index: enum fgw_counter."""
        return self._read_words(slot, "counters", int(lib.FGW_STATE_COUNTERS))

    def rejected(self, slot: int) -> tuple[int, ...]:
        """Index: enum fgw_reason."""
        return self._read_words(slot, "rejected", int(lib.FGW_STATE_REASONS))

    def series(self, slot: int) -> list[tuple[int, Series]]:
        """(key, sums) of every label set this slot has counted."""
        count = int(lib.FGW_STATE_SERIES)
        data = self._read_worker(slot, int(ffi.offsetof(_WORKER, "series")), count * _SERIES_BYTES)
        keys = memoryview(data).cast("Q")[::_SERIES_WORDS].tolist()
        found = []
        for index, key in enumerate(keys):
            if key:
                words = _SERIES_STRUCT.unpack_from(data, index * _SERIES_BYTES)
                found.append((key, Series(words[1], words[2], words[3], words[4], words[5 : 5 + 3 * _BUCKETS])))
        return found

    def tcp_series(self, slot: int) -> list[tuple[int, TcpSeries]]:
        """The same for relayed connections."""
        count = int(lib.FGW_STATE_TCP_SERIES)
        data = self._read_worker(slot, int(ffi.offsetof(_WORKER, "tcp_series")), count * _TCP_SERIES_BYTES)
        return [(key, TcpSeries(*sums)) for key, *sums in _TCP_SERIES_STRUCT.iter_unpack(data) if key]

    def cell(self, index: int) -> Cell:
        offset = int(ffi.offsetof("fgw_state", "cells")) + index * int(ffi.sizeof("fgw_cell"))
        return Cell(*_CELL.unpack(os.pread(self.fd, _CELL.size, offset)))

    def cluster(self, index: int) -> ClusterCounts:
        offset = int(ffi.offsetof("fgw_state", "clusters")) + index * int(ffi.sizeof("fgw_cluster_state"))
        counts = _CLUSTER.unpack(os.pread(self.fd, _CLUSTER.size, offset))
        return ClusterCounts(*counts[:4], *counts[5:])

    def clear_cell(self, index: int) -> None:
        """Make the cell of an endpoint that is gone ready for another one. Only when nothing is active on it."""
        ffi.memmove(ffi.addressof(self._state.cells, index), bytes(ffi.sizeof("fgw_cell")), ffi.sizeof("fgw_cell"))

    def mark_cell(self, index: int, flag: int, on: bool) -> None:
        """Set or take away one flag (enum fgw_cell_flag) of an endpoint, for all workers."""
        lib.fgw_cell_mark(ffi.addressof(self._state.cells, index), flag, on)

    def write_dns(self, slot: int, status: int, addresses: list[DnsAddress]) -> None:
        """What exceeds FGW_STATE_DNS_ADDRESSES is cut off."""
        value = ffi.new("fgw_dns_slot *")
        value.status = status
        value.count = min(len(addresses), int(lib.FGW_STATE_DNS_ADDRESSES))
        for index, address in enumerate(addresses[: value.count]):
            entry = value.addresses[index]
            entry.family = lib.FGW_FAMILY_IPV4 if len(address.ip) == 4 else lib.FGW_FAMILY_IPV6
            entry.port, entry.weight, entry.cell, entry.endpoint = address.port, address.weight, address.cell, address.endpoint
            entry.priority = address.priority
            ffi.memmove(entry.ip, address.ip, len(address.ip))
        lib.fgw_dns_write(ffi.addressof(self._state.dns, slot), value)

    def read_dns(self, slot: int) -> tuple[int, list[DnsAddress]]:
        """(status, addresses), as written."""
        value: Any = ffi.new("fgw_dns_slot *")
        status = int(lib.fgw_dns_read(ffi.addressof(self._state.dns, slot), value))
        addresses = []
        for index in range(value.count):
            entry = value.addresses[index]
            length = 4 if entry.family == lib.FGW_FAMILY_IPV4 else 16
            ip = bytes(ffi.buffer(entry.ip, length))
            numbers = map(int, (entry.port, entry.cell, entry.weight, entry.endpoint, entry.priority))
            addresses.append(DnsAddress(ip, *numbers))
        return status, addresses

    def write_memory(self, limit: int, used: int, sockets: int) -> None:
        """Of the control group, in bytes, as of now, for all workers. ``sockets``: of it, in the kernel's buffers."""
        self._state.memory_limit, self._state.memory_used, self._state.memory_sockets = limit, used, sockets
        self._state.memory_read_ms = int(time.monotonic() * 1000)

    def _read_worker(self, slot: int, offset: int, length: int) -> bytes:
        start = self._workers_offset + slot * int(ffi.sizeof(_WORKER)) + offset
        return os.pread(self.fd, length, start)

    def _read_words(self, slot: int, field: str, count: int) -> tuple[int, ...]:
        return struct.unpack(f"={count}Q", self._read_worker(slot, int(ffi.offsetof(_WORKER, field)), 8 * count))
