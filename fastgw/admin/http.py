"""What both HTTP servers of the supervisor share: binding, one clear line when that fails, stopping."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from fastgw.supervisor.listeners import format_address
from fastgw.supervisor.port_holder import find_holder
from fastgw.supervisor.settings import OFF, parse_address

log = logging.getLogger("fastgw.admin")


class Server:
    """An aiohttp application on one address. A place that is taken is a warning: traffic does not depend on it."""

    def __init__(self, what: str, application: web.Application) -> None:
        self.what = what
        self.address = ""
        """Where it really listens, "" while it does not."""
        self.sockets: list[socket.socket] = []
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        self._unix_path = ""

    async def start(self, where: str, passed: socket.socket | None = None, before: Sequence[socket.socket] = ()) -> None:
        """``where``: ADDR:PORT, unix:PATH or off. ``passed``: listening already, and instead of that; ``before``: those that the
        version before had, used when they are where they should be. All are taken."""
        if passed is not None:
            where = format_address(passed)
        elif where == OFF:
            close_all(before)
            return
        await self._runner.setup()
        try:
            self.sockets = [passed] if passed is not None else open_sockets(self.what, where, before)
            for sock in self.sockets:
                await web.SockSite(self._runner, sock).start()
        except OSError as error:
            log.warning("the %s server is not there: %s", self.what, _explain(error, self.what, where))
        else:
            if where.startswith("unix:"):
                self._unix_path = where.removeprefix("unix:") if passed is None else ""
                self.address = where
            else:
                self.address = format_address(self.sockets[0])
            log.info("%s server on %s", self.what, self.address)

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self._unix_path:
            os.unlink(self._unix_path)
            self._unix_path = ""


def open_sockets(what: str, where: str, before: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Bound and listening: those of ``before`` when they are there already. Raises OSError."""
    if where.startswith("unix:"):
        wanted: list[Any] = [where.removeprefix("unix:")]
        opener: Callable[[Any], socket.socket] = _open_unix
    else:
        host, port = parse_address(f"--{what}", where)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        wanted, opener = list(dict.fromkeys(address[:2] for *_, address in found)), _open_tcp
    if before and all(_is_one_of(sock, wanted) for sock in before):
        return list(before)
    close_all(before)
    made: list[socket.socket] = []
    for address in wanted:
        try:
            made.append(opener(address))
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and (made or address != wanted[-1]):
                continue  # localhost where one of the families does not exist
            close_all(made)
            raise
    return made


def close_all(socks: Sequence[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def _is_one_of(sock: socket.socket, wanted: Sequence[Any]) -> bool:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return name in wanted and os.path.exists(name)
    return any(not isinstance(each, str) and each[0] == name[0] and each[1] in (0, name[1]) for each in wanted)


def _open_tcp(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=128)


def _open_unix(path: str) -> socket.socket:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == 0:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # nobody but this user may connect, from the very first moment
    before = os.umask(0o177)
    try:
        sock.bind(path)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _explain(error: OSError, what: str, where: str) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{where}: {os.strerror(error.errno or 0)}"
    port = where.rpartition(":")[2]
    holder = find_holder(int(port)) if port.isdigit() and not where.startswith("unix:") else ""
    return f"{where} is in use{f' by {holder}' if holder else ''}; choose another address with --{what}"
