"""Files of certificates and keys, read again only when their times, size or inode have changed."""

from __future__ import annotations

import errno
import os
import stat
import time

LARGEST_BYTES = 1 << 20
RACY_NS = 50_000_000
"""A file changed this shortly before it was read may change again without its times telling."""
_Stamp = tuple[int, int, int, int, int]


class StampedFiles:
    """The same bytes object comes back as long as a file stays as it is."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stamp, bytes]] = {}
        self._asked: set[str] = set()

    def read(self, path: str) -> bytes:
        """Raises OSError, also for what is no regular file or too large."""
        self._asked.add(path)
        known = self._known.get(path)
        if known is not None and known[0] == _stamp(os.stat(path)):
            return known[1]
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise OSError(errno.EFBIG, "too large for certificates", path)
        if known is not None and known[1] == data:
            data = known[1]
        racy = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < RACY_NS
        self._known[path] = ((0, 0, 0, 0, 0) if racy else _stamp(status), data)
        return data

    def forget_unasked(self) -> None:
        """Drop what nobody has asked for since the last call."""
        for path in self._known.keys() - self._asked:
            del self._known[path]
        self._asked = set()


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns, status.st_dev)
