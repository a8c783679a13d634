"""One DNS question, asked with c-ares: /etc/hosts, search domains, retries and TCP as the system does them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import pycares

DEADLINE_S = 4.5
"""A name must be known as unresolvable within 5 s."""


class Answer(NamedTuple):
    """Addresses in network order, of one family, sorted; ``ttl_s`` as the server said."""

    addresses: tuple[bytes, ...]
    ttl_s: int


class LookupFailed(Exception):
    """No answer: time-out, server failure, refused."""


class NameNotFound(LookupFailed):
    """An answer that says: there is no such name, or it has no address."""


Lookup = Callable[[str], Awaitable[Answer]]


class CaresLookup:
    """Asks for A and AAAA. IPv4 is used where there is any, as Istio's gateways do: a name that has both keeps working on a
    machine without IPv6, and ``localhost`` does not alternate between two addresses of which one is deaf.

    ``servers`` "ADDR:PORT" replace those of resolv.conf (tests).
    """

    def __init__(self, servers: Sequence[str] | None = None, deadline_s: float = DEADLINE_S) -> None:
        self._servers = servers
        self._deadline_s = deadline_s
        self._channel: pycares.Channel | None = None
        self._made_s = 0.0
        self._renew = False

    async def __call__(self, name: str) -> Answer:
        """Raises NameNotFound, LookupFailed."""
        try:
            return await asyncio.wait_for(self._ask(name), self._deadline_s)
        except TimeoutError:
            raise LookupFailed("no answer in time") from None
        except NameNotFound:
            # the library remembers a refusal for as long as the zone allows, often an hour; we ask again soon
            self._renew = True
            raise

    def close(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None

    async def _ask(self, name: str) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def on_answer(result: Any, error: int | None) -> None:
            # called in c-ares' thread, perhaps after the loop is gone
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return

        try:
            self._fresh_channel().getaddrinfo(name, None, type=socket.SOCK_STREAM, callback=on_answer)
        except (pycares.AresError, UnicodeError, ValueError) as error:
            raise NameNotFound(str(error)) from None
        return await future

    def _fresh_channel(self) -> pycares.Channel:
        now_s = time.monotonic()
        if self._channel is None or (self._renew and now_s - self._made_s >= 1.0):
            # a channel that is let go lives on until its last question is answered
            self._channel = pycares.Channel(servers=self._servers, timeout=1.0, tries=3)
            self._made_s = now_s
            self._renew = False
        return self._channel


def _settle(future: asyncio.Future[Answer], result: Any, error: int | None) -> None:
    if future.done():
        return
    if error is None:
        answer = choose_family([(node.family, bytes(node.addr[0]).decode(), node.ttl) for node in result.nodes])
        if answer.addresses:
            future.set_result(answer)
        else:
            future.set_exception(NameNotFound("the name has no address"))
    elif error in (pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME):
        future.set_exception(NameNotFound("no such name"))
    else:
        future.set_exception(LookupFailed(_error_text(error)))


def choose_family(nodes: Sequence[tuple[int, str, int]]) -> Answer:
    """IPv4 when there is any, else IPv6; doubles dropped, order independent of the server's rotation."""
    for family in (socket.AF_INET, socket.AF_INET6):
        chosen = {(socket.inet_pton(family, text.partition("%")[0]), ttl) for kind, text, ttl in nodes if kind == family}
        if chosen:
            return Answer(tuple(sorted({ip for ip, _ in chosen})), min(ttl for _, ttl in chosen))
    return Answer((), 0)


def _error_text(error: int) -> str:
    text = pycares.errno.strerror(error)
    return text.decode() if isinstance(text, bytes) else str(text)
