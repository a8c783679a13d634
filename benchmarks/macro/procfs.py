"""Processor time and memory of a process tree, read from /proc.

The total comes from ``schedstat`` (nanoseconds that the scheduler accounted); the split into user and system comes from the
clock ticks in ``stat``, which are sampled and therefore only used as a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CpuTime:
    """``total_ns`` of all threads; ``user_ticks`` and ``system_ticks`` in clock ticks."""

    total_ns: int = 0
    user_ticks: int = 0
    system_ticks: int = 0

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.total_ns + other.total_ns, self.user_ticks + other.user_ticks, self.system_ticks + other.system_ticks)

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.total_ns - other.total_ns, self.user_ticks - other.user_ticks, self.system_ticks - other.system_ticks)

    @property
    def user_share(self) -> float:
        ticks = self.user_ticks + self.system_ticks
        return self.user_ticks / ticks if ticks else 0.0


def stat_fields(stat: str) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the second, the name in parentheses, may hold anything)."""
    return stat[stat.rindex(")") + 2 :].split()


def process_tree(root_pid: int) -> list[int]:
    """``root_pid`` and all its descendants."""
    parent_of = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent_of[int(entry.name)] = int(stat_fields((entry / "stat").read_text())[1])
            except OSError:
                continue  # ended meanwhile
    tree = [root_pid]
    for pid in tree:
        tree.extend(child for child, parent in parent_of.items() if parent == pid)
    return tree


def process_cpu_time(pid: int) -> CpuTime:
    """All threads of one process; zero when it is gone."""
    total_ns = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
        fields = stat_fields(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return CpuTime()
    return CpuTime(total_ns, int(fields[11]), int(fields[12]))


def tree_cpu_time(root_pid: int) -> CpuTime:
    """The sum over the process and all its descendants."""
    return sum((process_cpu_time(pid) for pid in process_tree(root_pid)), CpuTime())


def tree_memory_kb(root_pid: int) -> int:
    """User-space memory of the process and its descendants in KB: resident pages, shared ones by their share (Pss)."""
    total = 0
    for pid in process_tree(root_pid):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # ended meanwhile
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total
