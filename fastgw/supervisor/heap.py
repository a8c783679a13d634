"""The C heap of a process that lives for years and holds little: what is freed goes back to the kernel instead of lying between
what lives on.

A read from an HTTP connection takes a quarter of a megabyte for a moment. glibc gives such a block pages of its own at first, but
learns from its being freed to cut the next ones out of the heap; what is then allocated behind them, and lives, keeps the holes. In
the supervisor that came to six megabytes within some thousand reloads.
"""

from __future__ import annotations

import ctypes

# of <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 64 << 10


def keep_compact() -> None:
    """To be called before there are threads. Blocks from 64 KiB on get pages of their own, for good, and threads share one heap.
    Does nothing where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, LARGE_BYTES), (_M_TRIM_THRESHOLD, LARGE_BYTES)):
        mallopt(option, value)
