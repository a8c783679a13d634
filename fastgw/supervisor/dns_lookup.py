"""One DNS question, asked with c-ares: /etc/hosts, search domains, retries and TCP as the system does them.

Services (RFC 2782) take two steps: the SRV records of a name, then the addresses of their targets.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import pycares

from fastgw.model.plan import SRV_LEVELS

DEADLINE_S = 4.5
"""A name must be known as unresolvable within 5 s."""
ADDRESSES, SERVICES = "address", "srv"
"""What can be asked about a name."""
_NOSORT = 1 << 7
"""ARES_AI_NOSORT of c-ares: addresses in the order of the answer."""
MAX_TARGETS = 64
"""Of an SRV answer: so many names are looked up at the most."""
_SHARES = 64
"""Of a target of SRV records with weight 1: what its addresses divide among themselves."""


class Service(NamedTuple):
    """Where a service is to be had. ``weight`` >= 1. ``priority``: 0 is the best, at most SRV_LEVELS - 1."""

    ip: bytes
    port: int
    weight: int = 1
    priority: int = 0


class Answer(NamedTuple):
    """Addresses in network order, of one family, sorted; ``ttl_s`` as the server said.

    ``order``: the addresses as the server listed them, when that is another order. ``services``: those of SRV records, then
    ``addresses`` are their addresses.
    """

    addresses: tuple[bytes, ...]
    ttl_s: int
    order: tuple[bytes, ...] = ()
    services: tuple[Service, ...] = ()

    @property
    def in_order(self) -> tuple[bytes, ...]:
        return self.order or self.addresses

    def texts(self) -> list[str]:
        """ "10.0.0.1"; of services "10.0.0.1:80"."""
        if not self.services:
            return [str(ipaddress.ip_address(ip)) for ip in self.addresses]
        hosts = [(ipaddress.ip_address(each.ip), each.port) for each in self.services]
        return [f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}" for host, port in hosts]


class LookupFailed(Exception):
    """No answer: time-out, server failure, refused."""


class NameNotFound(LookupFailed):
    """An answer that says: there is no such name, or it has no address."""


class Lookup(Protocol):
    """Asks about a name; ``kind``: ADDRESSES or SERVICES. Raises NameNotFound, LookupFailed."""

    def __call__(self, name: str, kind: str) -> Awaitable[Answer]: ...


class CaresLookup:
    """Asks for A and AAAA, or SRV. IPv4 is used where there is any, as Istio's gateways do: a name that has both keeps working on a
    machine without IPv6, and ``localhost`` does not alternate between two addresses of which one is deaf.

    ``servers`` "ADDR:PORT" replace those of resolv.conf.
    """

    def __init__(self, servers: Sequence[str] | None = None, deadline_s: float = DEADLINE_S) -> None:
        self._servers = servers
        self._deadline_s = deadline_s
        self._channel: pycares.Channel | None = None
        self._made_s = 0.0
        self._renew = False

    async def __call__(self, name: str, kind: str = ADDRESSES) -> Answer:
        """Raises NameNotFound, LookupFailed."""
        try:
            return await asyncio.wait_for(self._services(name) if kind == SERVICES else self._addresses(name), self._deadline_s)
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

    async def _addresses(self, name: str) -> Answer:
        result = await self._ask(
            lambda channel, done: channel.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=_NOSORT, callback=done)
        )
        answer = choose_family([(node.family, bytes(node.addr[0]).decode(), node.ttl) for node in result.nodes])
        if not answer.addresses:
            raise NameNotFound("the name has no address")
        return answer

    async def _services(self, name: str) -> Answer:
        """Targets without an address are passed over; soon asked again, when that may be only for the moment."""
        result = await self._ask(lambda channel, done: channel.query(name, pycares.QUERY_TYPE_SRV, callback=done))
        records = [each for each in result.answer if isinstance(each.data, pycares.SRVRecordData)]
        targets = [each.data for each in records if each.data.target not in ("", ".")][:MAX_TARGETS]
        answers = await asyncio.gather(*(self._addresses(each.target) for each in targets), return_exceptions=True)
        found = [(each, answer) for each, answer in zip(targets, answers, strict=True) if isinstance(answer, Answer)]
        failures = [answer for answer in answers if isinstance(answer, LookupFailed)]
        if not found:
            raise failures[0] if failures else NameNotFound("the name has no SRV record that leads anywhere")
        for_now = any(not isinstance(failure, NameNotFound) for failure in failures)
        return join_services(found, 0 if for_now else min(each.ttl for each in records))

    async def _ask(self, question: Callable[[pycares.Channel, Callable[[Any, int | None], None]], None]) -> Any:
        """The answer's records. Raises NameNotFound, LookupFailed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def on_answer(result: Any, error: int | None) -> None:
            # called in c-ares' thread, perhaps after the loop is gone
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return

        try:
            question(self._fresh_channel(), on_answer)
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


def _settle(future: asyncio.Future[Any], result: Any, error: int | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif error in (pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME):
        future.set_exception(NameNotFound("no such name"))
    else:
        future.set_exception(LookupFailed(_error_text(error)))


def join_services(found: Sequence[tuple[Any, Answer]], ttl_s: int) -> Answer:
    """SRV records with the addresses of their targets, which divide the record's weight among themselves. What two records lead to
    counts with the better priority (RFC 2782: the lower number)."""
    levels = {number: min(level, SRV_LEVELS - 1) for level, number in enumerate(sorted({record.priority for record, _ in found}))}
    places: dict[tuple[bytes, int], Service] = {}
    for record, answer in sorted(found, key=lambda pair: -int(pair[0].priority)):
        for ip in answer.addresses:
            weight = max(record.weight * _SHARES // len(answer.addresses), 1)
            places[ip, record.port] = Service(ip, record.port, weight, levels[record.priority])
    services = tuple(sorted(places.values(), key=lambda each: (each.priority, each.ip, each.port)))
    addresses = tuple(sorted({each.ip for each in services}))
    return Answer(addresses, min(ttl_s, *(answer.ttl_s for _, answer in found)), services=services)


def choose_family(nodes: Sequence[tuple[int, str, int]]) -> Answer:
    """IPv4 when there is any, else IPv6; doubles dropped, ``addresses`` independent of the server's rotation."""
    for family in (socket.AF_INET, socket.AF_INET6):
        chosen = [(socket.inet_pton(family, text.partition("%")[0]), ttl) for kind, text, ttl in nodes if kind == family]
        if chosen:
            order = tuple(dict.fromkeys(ip for ip, _ in chosen))
            addresses = tuple(sorted(order))
            return Answer(addresses, min(ttl for _, ttl in chosen), order if order != addresses else ())
    return Answer((), 0)


def _error_text(error: int) -> str:
    text = pycares.errno.strerror(error)
    return text.decode() if isinstance(text, bytes) else str(text)
