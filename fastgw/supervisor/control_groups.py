"""Where this process stands in the trees of control groups, and the processors that they leave it. Both versions of them.

Groups bound those below: whoever asks for a limit looks at all folders from ours to the root of what is mounted here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP, MOUNTED = "/proc/self/cgroup", "/sys/fs/cgroup"


def folders(controller: str, membership: str = MEMBERSHIP, mounted: str = MOUNTED) -> Iterator[tuple[int, Path]]:
    """(1 or 2, folder) of our groups that may have files of this controller, from our own upwards. Nothing when it is not known."""
    try:
        lines = Path(membership).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            version, root = 2, Path(mounted)
        elif controller in controllers.split(","):
            version, root = 1, Path(mounted) / controller
        else:
            continue
        inner = Path(path.lstrip("/"))
        for part in (inner, *inner.parents):
            yield version, root / part


def usable_cores(membership: str = MEMBERSHIP, mounted: str = MOUNTED) -> int:
    """Processors that this process may run on, or fewer: so many as it may keep busy (``CPUQuota=``, a container's limit), rounded
    up. At least one."""
    cores = float(len(os.sched_getaffinity(0)))
    for version, folder in folders("cpu", membership, mounted):
        cores = min(cores, _quota(version, folder))
    return max(1, math.ceil(cores))


def _quota(version: int, folder: Path) -> float:
    """In processors; infinity for no bound, or none that is known."""
    try:
        if version == 2:
            words = (folder / "cpu.max").read_text().split()
        else:
            words = [(folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
        quota, period = int(words[0]), int(words[1])  # "max" and -1 are none
    except (OSError, ValueError, IndexError):
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf
