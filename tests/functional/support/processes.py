"""What the kernel says about processes: children, sessions, memory, who holds a listening socket."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .ports import listening_inodes


def session_of(pid: int) -> int | None:
    """The session of a process; None when it is gone or a zombie."""
    stat = _read(pid, "stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[3])


def parent_of(pid: int) -> int | None:
    stat = _read(pid, "stat")
    return int(stat.rpartition(")")[2].split()[1]) if stat else None


def alive(pid: int) -> bool:
    return session_of(pid) is not None


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def in_session(leader: int) -> list[int]:
    """Living processes of a session: everything that a gateway started, however it was re-parented."""
    return [pid for pid in all_pids() if session_of(pid) == leader]


def command_of(pid: int) -> str:
    text = _read(pid, "cmdline")
    return (text or "").replace("\0", " ").strip()


def socket_inodes(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds open."""
    found = set()
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
            except OSError:
                continue
            if match := re.fullmatch(r"socket:\[(\d+)\]", target):
                found.add(match[1])
    except OSError:
        return set()
    return found


def holders(port: int, session: int) -> list[int]:
    """Processes of the session that hold a socket listening on the port."""
    inodes = listening_inodes(port)
    return sorted(pid for pid in in_session(session) if socket_inodes(pid) & inodes)


def private_kib(pid: int) -> int:
    """Memory that only this process has and has written to, in KiB: what its buffers cost. Clean pages are those of program files,
    which become its own when other gateways' workers end."""
    text = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
    return sum(int(value) for value in re.findall(r"^Private_Dirty:\s+(\d+) kB", text, re.M))


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _read(pid: int, name: str) -> str | None:
    try:
        return (Path("/proc") / str(pid) / name).read_text()
    except (OSError, UnicodeDecodeError):
        return None
