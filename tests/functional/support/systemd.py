"""The other ends of systemd's protocols: the notification socket with its store of descriptors, passed sockets, the journal."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

from wire.journal import receive

from .poll import eventually

_LAUNCH = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
high = [os.dup(fd) if fd < 3 + len(fds) else fd for fd in fds]
for index, fd in enumerate(high):
    os.dup2(fd, 3 + index, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.execvp(sys.argv[3], sys.argv[3:])
"""


def passing(named: list[tuple[str, int]]) -> list[str]:
    """A command prefix that gives the command behind it these descriptors, which have to be inherited, as systemd does."""
    return [sys.executable, "-c", _LAUNCH, ",".join(str(fd) for _, fd in named), ":".join(name for name, _ in named)]


class NotifySocket:
    """$NOTIFY_SOCKET: every message as its assignments with the time it came, and the store of descriptors by name."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self.messages: list[tuple[float, dict[str, str]]] = []
        self.store: dict[str, list[int]] = {}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(self.path))
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", str(self.path))
        self._thread.join(10)
        self._sock.close()
        self.empty()

    def values(self, name: str) -> list[str]:
        """Of all assignments to a name, in order."""
        return [message[name] for _, message in self.messages if name in message]

    def wait(self, name: str, value: str | None = None, more_than: int = 0) -> None:
        """Until an assignment came more often than that."""
        eventually(
            lambda: sum(value in (None, found) for found in self.values(name)) > more_than, f"{name}={value} in {self.messages}"
        )

    def last(self, name: str) -> str:
        values = self.values(name)
        return values[-1] if values else ""

    def stored(self) -> list[tuple[str, int]]:
        return [(name, fd) for name, fds in self.store.items() for fd in fds]

    def empty(self) -> None:
        """As when the service is stopped: the store is let go."""
        for fds in self.store.values():
            for fd in fds:
                os.close(fd)
        self.store.clear()

    def _receive(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._sock, 65536, 253)
            if not data:
                return
            message = dict(line.partition("=")[::2] for line in data.decode().split("\n") if line)
            if message.get("FDSTORE") == "1":
                self.store.setdefault(message["FDNAME"], []).extend(fds)
            else:
                for fd in fds:
                    os.close(fd)
            if message.get("FDSTOREREMOVE") == "1":
                for fd in self.store.pop(message["FDNAME"], []):
                    os.close(fd)
            self.messages.append((time.monotonic(), message))


class Journal:
    """A stand-in for /run/systemd/journal/socket: entries as dicts."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(10)

    def entry(self) -> dict[str, str]:
        """The next one."""
        return receive(self.sock)

    def close(self) -> None:
        self.sock.close()
