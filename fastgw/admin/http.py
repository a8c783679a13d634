"""What both HTTP servers of the supervisor share: binding, one clear line when that fails, stopping."""

from __future__ import annotations

import errno
import logging
import os
import socket

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
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        self._unix_path = ""

    async def start(self, where: str, sock: socket.socket | None = None) -> None:
        """``where``: ADDR:PORT, unix:PATH or off. ``sock``: listening already, and instead of that; taken."""
        if sock is None and where == OFF:
            return
        await self._runner.setup()
        try:
            if sock is not None:
                await web.SockSite(self._runner, sock).start()
                self.address = format_address(sock)
            elif where.startswith("unix:"):
                await self._start_unix(where.removeprefix("unix:"))
            else:
                await self._start_tcp(where)
        except OSError as error:
            log.warning("the %s server is not there: %s", self.what, _explain(error, self.what, where))
        else:
            log.info("%s server on %s", self.what, self.address)

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self._unix_path:
            os.unlink(self._unix_path)
            self._unix_path = ""

    async def _start_tcp(self, where: str) -> None:
        host, port = parse_address(f"--{self.what}", where)
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0]
        self.address = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    async def _start_unix(self, path: str) -> None:
        _refuse_live_socket(path)
        # nobody but this user may connect, from the very first moment
        before = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, path).start()
        finally:
            os.umask(before)
        self._unix_path = path
        self.address = f"unix:{path}"


def _refuse_live_socket(path: str) -> None:
    """asyncio takes a socket file away without asking; raise OSError when somebody still listens on it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == 0:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _explain(error: OSError, what: str, where: str) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{where}: {os.strerror(error.errno or 0)}"
    port = where.rpartition(":")[2]
    holder = find_holder(int(port)) if port.isdigit() and not where.startswith("unix:") else ""
    return f"{where} is in use{f' by {holder}' if holder else ''}; choose another address with --{what}"
