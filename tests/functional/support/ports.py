"""Free ports, and who listens."""

from __future__ import annotations

import collections
import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

LISTEN = "0A"
# the kernel gives ports from its own range to outgoing connections: these lie below it
FIRST, LAST = 10_000, 32_000
RESERVED_AT_MOST = 100

_reserved: collections.deque[IO[str]] = collections.deque()
_candidates = itertools.cycle(range(FIRST, LAST))
# test processes that run side by side begin at different places
collections.deque(itertools.islice(_candidates, os.getpid() * 997 % (LAST - FIRST)), maxlen=0)


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody uses, and that no other test process is given for as long as a gateway takes to open it."""
    return next(port for port in _candidates if _reserve(port) and _can_bind(address, port))


def _reserve(port: int) -> bool:
    directory = Path(tempfile.gettempdir()) / f"fastgw-test-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    lock = (directory / str(port)).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    _reserved.append(lock)
    while len(_reserved) > RESERVED_AT_MOST:
        _reserved.popleft().close()
    return True


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((address, port))
        except OSError:
            return False
    return True


def listening_inodes(port: int) -> set[str]:
    """Socket inodes that listen on the TCP port, from the kernel's tables."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == LISTEN and int(parts[1].rpartition(":")[2], 16) == port:
                found.add(parts[9])
    return found
