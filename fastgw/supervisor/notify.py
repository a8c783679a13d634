"""What systemd is told: sd_notify(3), datagrams of ``NAME=value`` lines to $NOTIFY_SOCKET, descriptors for its store beside them.

A handful of lines of protocol, so there is no library. Without the variable everything here does nothing. A message that cannot be
sent is dropped: telling is never worth a request.
"""

from __future__ import annotations

import array
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence

log = logging.getLogger("fastgw")
FDS_PER_MESSAGE = 200
"""The kernel takes 253 in one message."""
NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""Variables that are meant for the supervisor alone."""


class Notifier:
    """``environment``: the process's own. A path that begins with ``@`` is an abstract name."""

    def __init__(self, environment: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._status = ""
        self._sock: socket.socket | None = None
        self.watchdog_s = _watchdog(environment, os.getpid() if pid is None else pid) if path else 0.0
        """Seconds within which WATCHDOG=1 is wanted; 0: not wanted."""

    @property
    def on(self) -> bool:
        return bool(self._address)

    def ready(self, status: str) -> None:
        self._status = status
        self._send(["READY=1", f"STATUS={one_line(status)}"])

    def reloading(self) -> None:
        """The time is systemd's proof that this answers its own signal, not an earlier one (Type=notify-reload)."""
        self._send(["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"])

    def stopping(self, status: str) -> None:
        self._status = status
        self._send(["STOPPING=1", f"STATUS={one_line(status)}"])

    def status(self, text: str) -> None:
        """Says it once, however often it is called with the same."""
        if text != self._status:
            self._status = text
            self._send([f"STATUS={one_line(text)}"])

    def extend(self, seconds: float) -> None:
        """Start or stop may take this much longer from now on."""
        self._send([f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"])

    def watchdog(self) -> None:
        self._send(["WATCHDOG=1"])

    def store(self, name: str, fds: Sequence[int]) -> None:
        """Hand descriptors to systemd, which gives them to the next start. FDPOLL=0: what is at its end is still wanted."""
        for at in range(0, len(fds), FDS_PER_MESSAGE):
            self._send(["FDSTORE=1", f"FDNAME={name}", "FDPOLL=0"], fds[at : at + FDS_PER_MESSAGE])

    def unstore(self, name: str) -> None:
        self._send(["FDSTOREREMOVE=1", f"FDNAME={name}"])

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, lines: list[str], fds: Sequence[int] = ()) -> None:
        if not self._address:
            return
        if self._sock is None:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # a full queue is waited for, but not for ever: nothing here is worth a loop that stands still
            self._sock.settimeout(0.5)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg(["\n".join(lines).encode()], ancillary, socket.MSG_NOSIGNAL, self._address)
        except OSError as error:
            log.debug("systemd was not told %s: %s", lines[0], error)


def one_line(text: str) -> str:
    """A line end would begin another assignment."""
    return " ".join(text.split())


def _watchdog(environment: Mapping[str, str], pid: int) -> float:
    """Seconds; 0 when it is not set, or set for another process (sd_watchdog_enabled(3))."""
    microseconds, for_pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or (for_pid and for_pid != str(pid)):
        return 0.0
    return int(microseconds) / 1e6
