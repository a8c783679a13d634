"""Free ports, and who listens."""

from __future__ import annotations

import socket
from pathlib import Path

LISTEN = "0A"


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody used a moment ago. The kernel gives out others for some time, so it stays free long enough."""
    with socket.socket() as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


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
