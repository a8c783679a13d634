"""Listening sockets: one SO_REUSEPORT socket per worker slot, listener and address, never closed while the listener exists.

A worker that dies leaves its accept queue in its socket to its successor. Opening a listener either succeeds for all slots or
leaves nothing behind. Unix sockets: see unix_listener.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable

import msgspec

from fastgw.model.worker_protocol import ListenerSpec
from fastgw.supervisor.port_holder import find_holder
from fastgw.supervisor.unix_listener import SocketFile, explain_unix, is_unix, name_of, open_unix

BACKLOG = 4096
MAX_PER_WORKER = 250
"""Sockets of one worker: all of them travel in one packet (control.SCM_MAX_FDS)."""

_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class Wanted(msgspec.Struct, frozen=True):
    """A listener of the plan. ``bind`` "" is the wildcard, ``port`` its number (before --listen-map; 0 for a Unix socket)."""

    name: str
    bind: str
    port: int


class ListenError(Exception):
    """A listener that could not be opened; the text says why and how to mend it."""


class OpenListener:
    """The sockets of one listener: ``sockets[slot]`` one per address."""

    def __init__(self, wanted: Wanted, sockets: list[list[socket.socket]], file: SocketFile | None = None) -> None:
        self.wanted = wanted
        self.sockets = sockets
        self._file = file

    @property
    def addresses(self) -> list[str]:
        return [format_address(sock) for sock in self.sockets[0]]

    def close(self) -> None:
        if self._file is not None:
            self._file.remove()
        for row in self.sockets:
            for sock in row:
                sock.close()


class ListenerSet:
    """All listeners of this gateway. One that cannot be opened keeps its reason and is tried again."""

    def __init__(self, slots: int, default_binds: list[str], listen_map: dict[int, int]) -> None:
        self._slots = slots
        self._default_binds = default_binds
        self._listen_map = listen_map
        self._open: dict[str, OpenListener] = {}
        self._failed: dict[str, tuple[Wanted, str]] = {}

    @property
    def open(self) -> dict[str, OpenListener]:
        return self._open

    @property
    def failures(self) -> dict[str, tuple[Wanted, str]]:
        """Name of a listener -> what was wanted, and why it is not open."""
        return self._failed

    def close_unwanted(self, wanted: Iterable[Wanted]) -> bool:
        """True when at least one was closed."""
        names = {w.name for w in wanted}
        gone = self._open.keys() - names
        for name in gone:
            self._open.pop(name).close()
        for name in self._failed.keys() - names:
            del self._failed[name]
        return bool(gone)

    def open_wanted(self, wanted: Iterable[Wanted]) -> bool:
        """Open what is not open yet. True when at least one was opened."""
        opened = False
        for listener in wanted:
            if listener.name in self._open:
                continue
            try:
                self._open[listener.name] = self._open_one(listener)
            except ListenError as error:
                self._failed[listener.name] = (listener, str(error))
            else:
                self._failed.pop(listener.name, None)
                opened = True
        return opened

    def retry_failed(self) -> bool:
        return self.open_wanted([wanted for wanted, _ in list(self._failed.values())])

    def of_slot(self, slot: int) -> tuple[list[ListenerSpec], list[int]]:
        """What a worker of this slot is told: specs and the descriptors in the same order."""
        specs, fds = [], []
        for name, listener in self._open.items():
            for sock in listener.sockets[slot]:
                host, port = _name_of(sock)
                specs.append(ListenerSpec(name, host, port))
                fds.append(sock.fileno())
        return specs, fds

    def close(self) -> None:
        self.close_unwanted(())

    def _open_one(self, listener: Wanted) -> OpenListener:
        addresses = [listener.bind] if listener.bind else self._default_binds
        used = sum(len(other.sockets[0]) for other in self._open.values())
        if used + len(addresses) > MAX_PER_WORKER:
            raise ListenError(f"port {listener.port}: more than {MAX_PER_WORKER} listening sockets")
        if is_unix(listener.bind):
            return self._open_unix(listener)
        port = self._listen_map.get(listener.port, listener.port)
        with contextlib.ExitStack() as undo:
            rows: list[list[socket.socket]] = [[] for _ in range(self._slots)]
            for address in addresses:
                group = self._open_group(listener, address, port, optional=address == "::" and len(addresses) > 1)
                for sock in group:
                    undo.callback(sock.close)
                for row, sock in zip(rows, group, strict=False):
                    row.append(sock)
                if port == 0 and group:
                    port = group[0].getsockname()[1]
            undo.pop_all()
        return OpenListener(listener, rows)

    def _open_unix(self, listener: Wanted) -> OpenListener:
        try:
            group = open_unix(listener.bind, self._slots, BACKLOG)
        except OSError as error:
            raise ListenError(explain_unix(error, listener.bind)) from None
        return OpenListener(listener, [[sock] for sock in group], SocketFile(listener.bind))

    def _open_group(self, listener: Wanted, address: str, port: int, optional: bool) -> list[socket.socket]:
        """The sockets of all slots on one address; none where an optional address family does not exist."""
        group: list[socket.socket] = []
        try:
            if port:
                _probe(address, port)
            for _ in range(self._slots):
                group.append(_listening_socket(address, port))
                port = group[0].getsockname()[1]
        except OSError as error:
            for sock in group:
                sock.close()
            if optional and error.errno in _NO_ADDRESS:
                return []
            raise ListenError(_explain(error, listener.port, address, port)) from None
        return group


def format_address(sock: socket.socket) -> str:
    host, port = _name_of(sock)
    if sock.family == socket.AF_UNIX:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _name_of(sock: socket.socket) -> tuple[str, int]:
    """(address, port); the name and 0 of a Unix socket."""
    if sock.family == socket.AF_UNIX:
        return name_of(sock), 0
    host, port = sock.getsockname()[:2]
    return host, port


def _new_socket(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _probe(address: str, port: int) -> None:
    """Bind once without SO_REUSEPORT: with it, another gateway of the same user would silently share the port."""
    with _new_socket(address) as sock:
        sock.bind((address, port))


def _listening_socket(address: str, port: int) -> socket.socket:
    sock = _new_socket(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _explain(error: OSError, wanted_port: int, address: str, port: int) -> str:
    where = f"port {port}" if port == wanted_port else f"port {port} (for the Gateway's {wanted_port})"
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(port)
        held = f" by {holder}" if holder else ""
        return f"{where} on {address} is in use{held}; stop it, or open another one with --listen-map {wanted_port}=PORT"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{where} on {address}: no permission to open a port below 1024; use --listen-map {wanted_port}={wanted_port + 8000}, "
            "or give the Python program the right: setcap cap_net_bind_service=+ep"
        )
    return f"{where} on {address}: {os.strerror(error.errno or 0)}"
