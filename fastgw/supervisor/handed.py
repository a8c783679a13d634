"""Descriptors that somebody hands to us at the start: systemd (socket units, its store), or our own predecessor.

systemd's protocol is sd_listen_fds(3): $LISTEN_FDS descriptors from 3 on, for the process $LISTEN_PID, with $LISTEN_FDNAMES. What
we put into the store ourselves comes back the same way; those names begin with OWN, and carry the version of what they stand for:
a name of another version is not understood, and dropped.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping

FIRST_FD = 3
OWN = "fastgw."
_LISTENER = OWN + "listener."
Named = tuple[str, int]


def from_systemd(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> list[Named]:
    """(name, descriptor), close-on-exec from now on; "" for one without a name."""
    count = environment.get("LISTEN_FDS", "")
    if not count.isdigit() or environment.get("LISTEN_PID") != str(os.getpid() if pid is None else pid):
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for index in range(int(count)):
        fd = FIRST_FD + index
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
        name = names[index] if index < len(names) else ""
        found.append(("" if name == "unknown" else name, fd))
    return found


def listener_name(name: str) -> str:
    """What the sockets of a listener are called in the store: printable ASCII without a colon, at most 255 bytes."""
    plain = "".join(char if char.isascii() and char.isprintable() and char not in ":%" else f"%{ord(char):x}" for char in name)
    return (_LISTENER + plain)[:255]


class Handed:
    """Owns what nobody has taken yet. Sockets of socket units stay here and are lent as duplicates: they belong to systemd, and a
    listener that goes and comes back needs them again. Those of our own are given away."""

    def __init__(self, named: Iterable[Named] = ()) -> None:
        self._blobs: dict[str, int] = {}
        self._own: dict[str, list[socket.socket]] = {}
        self._units: list[tuple[str, socket.socket]] = []
        self._lent: set[int] = set()
        for name, fd in named:
            sock = _listening(fd)
            if sock is None and name.startswith(OWN):
                _close(self._blobs.pop(name, -1))
                self._blobs[name] = fd
            elif sock is None:
                os.close(fd)
            elif name.startswith(OWN):
                self._own.setdefault(name, []).append(sock)
            else:
                self._units.append((name, sock))

    def blob(self, name: str) -> int:
        """A descriptor that we stored under this name, the caller's from now on; -1 when there is none."""
        return self._blobs.pop(name, -1)

    def own(self, listener: str, port: int) -> list[socket.socket]:
        """Sockets that an earlier start of ours had for this listener, when they are on the right port (0: any)."""
        found = self._own.pop(listener_name(listener), [])
        for sock in found[:]:
            if sock.family != socket.AF_UNIX and port not in (0, sock.getsockname()[1]):
                found.remove(sock)
                sock.close()
        return found

    def of_units(self, port_names: Iterable[str], bind: str, port: int) -> list[socket.socket]:
        """Duplicates of the sockets that systemd has for a listener: those that carry the name of one of its ports; without any,
        those on its port, and on its address when it names one."""
        wanted = {name for name in port_names if name}
        found = [sock for name, sock in self._units if name in wanted] or [
            sock for _, sock in self._units if _is_at(sock, bind, port)
        ]
        self._lent.update(sock.fileno() for sock in found)
        return [sock.dup() for sock in found]

    def server(self, name: str) -> socket.socket | None:
        """The socket unit's for one of the supervisor's own servers, by its name."""
        for found, sock in self._units:
            if found == name:
                self._lent.add(sock.fileno())
                return sock.dup()
        return None

    def unused(self) -> list[str]:
        """Sockets of units that no listener has ever wanted: clients that connect there wait for nobody."""
        return [f"{name or 'without a name'} ({_text(sock)})" for name, sock in self._units if sock.fileno() not in self._lent]

    def sockets(self, name: str) -> list[socket.socket]:
        """Those that we had under a name of ours, the caller's from now on."""
        return self._own.pop(name, [])

    def drop_own(self) -> list[str]:
        """Close what we stored and nobody has claimed. Its names."""
        left = [*self._own, *self._blobs]
        for socks in self._own.values():
            for sock in socks:
                sock.close()
        for fd in self._blobs.values():
            _close(fd)
        self._own, self._blobs = {}, {}
        return left

    def unit_sockets(self) -> list[Named]:
        """For a successor: (name, descriptor), which stay ours."""
        return [(name, sock.fileno()) for name, sock in self._units]

    def close(self) -> None:
        self.drop_own()
        for _, sock in self._units:
            sock.close()
        self._units = []


def _listening(fd: int) -> socket.socket | None:
    """Takes the descriptor when it is a listening stream socket; None, and it stays the caller's, when it is something else."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.setblocking(False)
            return sock
    except OSError:
        pass
    sock.detach()
    return None


def _is_at(sock: socket.socket, bind: str, port: int) -> bool:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        text = f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name
        return bind == f"unix://{text}"
    return bool(port and name[1] == port) and bind in ("", name[0])


def _text(sock: socket.socket) -> str:
    name = sock.getsockname()
    return str(name) if sock.family == socket.AF_UNIX else f"{name[0]} port {name[1]}"


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
