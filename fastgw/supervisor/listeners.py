"""Listening sockets: one SO_REUSEPORT socket per worker slot, listener and address, never closed while the listener exists.

A worker that dies leaves its accept queue in its socket to its successor. Opening a listener either succeeds for all slots or
leaves nothing behind. Unix sockets: see unix_listener. Sockets that were handed to us (handed.py) come before any that are opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fastgw.model.worker_protocol import ListenerSpec
from fastgw.supervisor.handed import Handed
from fastgw.supervisor.port_holder import find_holder
from fastgw.supervisor.unix_listener import SocketFile, explain_unix, is_unix, name_of, open_unix, spread

BACKLOG = 4096
MAX_PER_WORKER = 250
"""Sockets of one worker: all of them travel in one packet (control.SCM_MAX_FDS)."""

_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class Wanted(msgspec.Struct, frozen=True):
    """A listener of the plan. ``bind`` "" is the wildcard, ``port`` its number (before --listen-map; 0 for a Unix socket).
    ``port_names``: what its servers call the port; a socket of systemd's with such a name is this listener's."""

    name: str
    bind: str
    port: int
    port_names: tuple[str, ...] = ()


class ListenError(Exception):
    """A listener that could not be opened; the text says why and how to mend it."""


class OpenListener:
    """The sockets of one listener: ``sockets[slot]`` one per address, more when more were handed to us. ``own``: those that only
    we hold, and no socket unit."""

    def __init__(
        self,
        wanted: Wanted,
        sockets: list[list[socket.socket]],
        file: SocketFile | None = None,
        own: Sequence[socket.socket] | None = None,
    ) -> None:
        self.wanted = wanted
        self.sockets = sockets
        self.own = [sock for row in sockets for sock in row] if own is None else list(own)
        self._file = file

    @property
    def addresses(self) -> list[str]:
        return list(dict.fromkeys(format_address(sock) for sock in self.sockets[0]))

    def close(self, keep_file: bool = False) -> None:
        if self._file is not None and not keep_file:
            self._file.remove()
        for row in self.sockets:
            for sock in row:
                sock.close()


class ListenerSet:
    """All listeners of this gateway. One that cannot be opened keeps its reason and is tried again."""

    def __init__(self, slots: int, default_binds: list[str], listen_map: dict[int, int], handed: Handed | None = None) -> None:
        self._slots = slots
        self._default_binds = default_binds
        self._listen_map = listen_map
        self._handed = handed or Handed()
        self.on_opened: Callable[[OpenListener], None] = lambda listener: None
        self.on_closed: Callable[[OpenListener], None] = lambda listener: None
        """Called with what was opened, and with what is closed because the configuration does not have it any more."""
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
            closed = self._open.pop(name)
            closed.close()
            self.on_closed(closed)
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
                self.on_opened(self._open[listener.name])
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

    def close(self, keep_files: bool = False) -> None:
        """``keep_files``: somebody else holds the sockets, too, and so their files have to stay."""
        for listener in self._open.values():
            listener.close(keep_files)
        self._open.clear()
        self._failed.clear()

    def _open_one(self, listener: Wanted) -> OpenListener:
        addresses = [listener.bind] if listener.bind else self._default_binds
        used = sum(len(other.sockets[0]) for other in self._open.values())
        if used + len(addresses) > MAX_PER_WORKER:
            raise ListenError(f"port {listener.port}: more than {MAX_PER_WORKER} listening sockets")
        port = self._listen_map.get(listener.port, listener.port)
        lent = self._handed.of_units(listener.port_names, listener.bind, port)
        before = self._handed.own(listener.name, port)
        if is_unix(listener.bind):
            return self._open_unix(listener, lent, before)
        if lent:
            # whoever wrote the socket unit has chosen the addresses
            addresses = list(dict.fromkeys(_name_of(sock)[0] for sock in lent))
            port = _name_of(lent[0])[1]
        with contextlib.ExitStack() as undo:
            rows: list[list[socket.socket]] = [[] for _ in range(self._slots)]
            own: list[socket.socket] = []
            for sock in (*lent, *before):
                undo.callback(sock.close)
            if port == 0 and before:
                port = _name_of(before[0])[1]
            for address in addresses:
                from_unit, ours = _at(lent, address), _at(before, address)
                shared: list[socket.socket] = []
                if from_unit or ours:
                    made, shared = self._complete(address, [*from_unit, *ours])
                else:
                    made = self._open_group(listener, address, port, optional=address == "::" and len(addresses) > 1)
                for sock in (*made, *shared):
                    undo.callback(sock.close)
                _deal([*from_unit, *ours, *made, *shared], rows)
                own += [*ours, *made]
                if port == 0 and own:
                    port = own[0].getsockname()[1]
            undo.pop_all()
        for sock in {*lent, *before}.difference(*rows):
            sock.close()
        return OpenListener(listener, rows, own=own)

    def _open_unix(self, listener: Wanted, lent: list[socket.socket], before: list[socket.socket]) -> OpenListener:
        handed = [*lent, *before]
        try:
            group = spread(handed[0], self._slots) if handed else open_unix(listener.bind, self._slots, BACKLOG)
        except OSError as error:
            raise ListenError(explain_unix(error, listener.bind)) from None
        for sock in handed[1:]:
            sock.close()
        rows = [[sock] for sock in group]
        return (
            OpenListener(listener, rows, None, []) if lent else OpenListener(listener, rows, SocketFile(listener.bind), group[:1])
        )

    def _complete(self, address: str, found: list[socket.socket]) -> tuple[list[socket.socket], list[socket.socket]]:
        """What slots need beyond the sockets of an address that were handed to us: sockets of their own where the kernel allows it
        (same user, SO_REUSEPORT), else duplicates, whose queue several workers share. (Own ones, duplicates)."""
        made: list[socket.socket] = []
        shared: list[socket.socket] = []
        for index in range(len(found), self._slots):
            sibling = found[index % len(found)]
            try:
                if not sibling.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
                    raise OSError(errno.EADDRINUSE, "not shared")
                made.append(_listening_socket(address, _name_of(sibling)[1], sibling))
            except OSError:
                shared.append(sibling.dup())
        return made, shared

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


def _at(socks: Iterable[socket.socket], address: str) -> list[socket.socket]:
    return [sock for sock in socks if _name_of(sock)[0] == address]


def _deal(socks: Sequence[socket.socket], rows: list[list[socket.socket]]) -> None:
    """Give the sockets of one address to the slots in turn. None is left out, even when they are more than the slots: the queue of
    a socket that is closed is lost."""
    for index, sock in enumerate(socks):
        rows[index % len(rows)].append(sock)


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


def _listening_socket(address: str, port: int, sibling: socket.socket | None = None) -> socket.socket:
    """``sibling``: one that is bound there already, whose ways it has to have."""
    sock = _new_socket(address)
    try:
        if sibling is not None and sock.family == socket.AF_INET6:
            only = sibling.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
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
