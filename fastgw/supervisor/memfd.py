"""Anonymous memory files: sealed blobs that pass from one process to another without a copy."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def make_sealed(name: str, data: bytes | bytearray | memoryview) -> int:
    """A descriptor (close-on-exec, the caller's) of a memory file with this content that nobody can change any more."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view.nbytes:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_filled(name: str, size_bytes: int, fill: Callable[[memoryview], None]) -> int:
    """Like make_sealed, for content that ``fill`` writes straight into the file's zeroed memory. ``size_bytes`` > 0."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size_bytes)
        with mmap.mmap(fd, size_bytes) as mapped, memoryview(mapped) as view:
            fill(view)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_sealed(fd: int) -> bool:
    """True when neither content nor size can change."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError:
        return False


def map_read_only(fd: int) -> mmap.mmap:
    """The whole file, read-only. Raises ValueError when it is empty."""
    return mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ)


def read_all(fd: int) -> bytes:
    size_bytes = os.fstat(fd).st_size
    parts = []
    offset = 0
    while offset < size_bytes:
        part = os.pread(fd, size_bytes - offset, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
