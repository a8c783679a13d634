"""Who may talk to the admin server. It has no passwords: reaching it must already mean being on the machine."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from fastgw.admin.peer_user import user_of_peer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def host_allowed(host: str) -> bool:
    """A Host header that a browser sends only when somebody typed this machine's own address.

    A page from elsewhere whose name was made to resolve to 127.0.0.1 (DNS rebinding) carries its own name here.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def origin_allowed(origin: str | None) -> bool:
    """No Origin (no browser), or a page that this server gave itself."""
    return origin is None or (origin.startswith(("http://", "https://")) and host_allowed(origin.partition("://")[2]))


def is_cross_site(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    return site not in (None, "same-origin", "none") or not origin_allowed(request.headers.get("Origin"))


def is_strangers(request: web.Request) -> bool:
    """Does another user of this machine ask? root and our own user may command. Who cannot be told from outside is none of this
    machine's; the address decides about those."""
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    user = user_of_peer(sock) if sock is not None else None
    return user is not None and user not in (0, os.geteuid())


def make_guard(over_unix: bool) -> Middleware:
    """Middleware: 403 for a foreign Host, for commands that another site's page sends, and for those of other users of the machine.
    A UNIX socket has no browsers."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not over_unix and not host_allowed(request.headers.get("Host", "")):
            return web.Response(status=403, text="the Host header must be an address of this machine, or localhost\n")
        if request.method not in ("GET", "HEAD") and is_cross_site(request):
            return web.Response(status=403, text="commands from other sites' pages are refused\n")
        if request.method not in ("GET", "HEAD") and is_strangers(request):
            return web.Response(status=403, text="commands are for root and the gateway's own user\n")
        response = await handler(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    return guard
