"""Who listens on a port: for the error message when it is taken. Reads /proc only, sees what this user may see."""

from __future__ import annotations

import os
from pathlib import Path

_LISTEN = "0A"


def find_holder(port: int) -> str:
    """ "nginx (pid 812)", "uid 0's process" when the process is not ours to see, "" when nobody listens any more."""
    inodes = _listening_inodes(port)
    for pid in _pids() if inodes else ():
        if inodes.keys() & _socket_inodes(pid):
            return f"{_command(pid)} (pid {pid})"
    uids = sorted(set(inodes.values()))
    return f"a process of user id {uids[0]}" if uids else ""


def _listening_inodes(port: int) -> dict[str, int]:
    """Socket inode -> user id, of listening TCP sockets on this port, any address."""
    found = {}
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                found[columns[9]] = int(columns[7])
    return found


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _socket_inodes(pid: str) -> set[str]:
    directory = f"/proc/{pid}/fd"
    inodes = set()
    try:
        for name in os.listdir(directory):
            target = os.readlink(f"{directory}/{name}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:
        pass
    return inodes


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        first = os.fsdecode(words[0]) if words[0] else Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a process"
    return "".join(c if c.isprintable() else "?" for c in os.path.basename(first)) or "a process"
