"""The control group that bounds our memory: its limit, and what is in use. Both versions of Linux' control groups.

``docker run --memory``, ``MemoryMax=`` of a unit and a container's ``resources.limits.memory`` are such limits. The kernel ends a
process of a group that reaches its limit, and chooses which by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastgw.supervisor.control_groups import MEMBERSHIP, MOUNTED, folders

UNLIMITED = 1 << 60
"""Version 1 has no word for "no limit": it says the largest number of pages."""
LOOK_CLOSER = 0.8
"""Of the limit: below this, what the kernel could drop makes no difference, and memory.stat is not cheap to make."""
RAM_SHARE = 0.8
"""What all workers may have of the machine's memory where nothing else is said."""


class MemoryGroup:
    """One group with a limit. Files that go away mean that nothing is known."""

    def __init__(self, folder: Path, version: int, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        """bytes"""
        self._usage = folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")
        prefix = "" if version == 2 else "total_"
        self._droppable = (f"{prefix}inactive_file", f"{prefix}active_file")

    def used(self) -> tuple[int, int]:
        """Bytes, without files in the page cache when that matters: the kernel drops them before it ends a process. And of them,
        what is in its buffers of connections; only version 2 counts those here."""
        try:
            used = int(self._usage.read_text())
            if used < self.limit * LOOK_CLOSER:
                return used, 0
            stat = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
            droppable = sum(int(stat.get(name, 0)) for name in self._droppable)
            return max(0, used - droppable), int(stat.get("sock", 0))
        except (OSError, ValueError):
            return 0, 0


def find_group(membership: str = MEMBERSHIP, mounted: str = MOUNTED) -> MemoryGroup | None:
    """The group with the lowest limit among ours and those above it."""
    found: list[MemoryGroup] = []
    for version, folder in folders("memory", membership, mounted):
        try:
            limit = int((folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text())  # "max" is none
        except (OSError, ValueError):
            continue
        if 0 < limit < UNLIMITED:
            found.append(MemoryGroup(folder, version, limit))
    return min(found, key=lambda group: group.limit, default=None)


def total_limit(configured: int, group: MemoryGroup | None) -> int:
    """Bytes for all workers: what was asked for, at the most the group's limit; without either, RAM_SHARE of the machine."""
    known = [limit for limit in (configured, group.limit if group else 0) if limit]
    if known:
        return min(known)
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * RAM_SHARE)
