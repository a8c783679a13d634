"""Listening sockets of the Unix family: ``unix:///path`` or ``unix://@name`` (abstract, Linux only).

SO_REUSEPORT means nothing to this family, so there is one socket, and all workers accept from it. A socket file that nobody
listens on any more is what a killed process left behind: it is replaced. One that somebody listens on is never taken away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

PREFIX = "unix://"


def is_unix(bind: str) -> bool:
    """Does a listener with this ``bind`` have no port?"""
    return bind.startswith(PREFIX)


def open_unix(bind: str, slots: int, backlog: int) -> list[socket.socket]:
    """The socket of each slot: one, and duplicates of it. Raises OSError."""
    first = _bound(_path_of(bind))
    try:
        first.listen(backlog)
    except OSError:
        first.close()
        raise
    return spread(first, slots)


def spread(first: socket.socket, slots: int) -> list[socket.socket]:
    """It and duplicates of it, one a slot. Takes ``first``. Raises OSError."""
    group = [first]
    try:
        group += [first.dup() for _ in range(slots - 1)]
    except OSError:
        for sock in group:
            sock.close()
        raise
    return group


class SocketFile:
    """The file that a listening socket made. Nothing for an abstract name."""

    def __init__(self, bind: str) -> None:
        self._path = "" if bind.startswith(PREFIX + "@") else _path_of(bind)
        self._identity = _identity(self._path)

    def remove(self) -> None:
        """Unless another socket has taken its place."""
        if self._identity is not None and _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def name_of(sock: socket.socket) -> str:
    """What the socket is bound to, in the form of ``bind``."""
    name = sock.getsockname()
    return f"{PREFIX}@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else f"{PREFIX}{name}"


def explain_unix(error: OSError, bind: str) -> str:
    """Why it could not be opened, and how to mend it."""
    if error.errno == errno.EADDRINUSE:
        return f"{bind} is in use, or is no socket; stop who listens there, or bind another path"
    if error.errno == errno.ENOENT:
        return f"{bind}: there is no such directory"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{bind}: no permission to make a socket there"
    return f"{bind}: {os.strerror(error.errno) if error.errno else error}"


def _path_of(bind: str) -> str:
    path = bind.removeprefix(PREFIX)
    return f"\0{path[1:]}" if path.startswith("@") else path


def _bound(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _left_behind(path):
                raise
            os.unlink(path)
            sock.bind(path)
    except OSError:
        sock.close()
        raise
    return sock


def _left_behind(path: str) -> bool:
    """Is it a socket that nobody listens on?"""
    if path.startswith("\0"):
        return False
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _identity(path: str) -> tuple[int, int] | None:
    if not path:
        return None
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
