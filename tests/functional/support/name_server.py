"""A DNS server on loopback (dnslib) whose zone the test changes while it runs."""

from __future__ import annotations

from collections import Counter

from dnslib import AAAA, QTYPE, RCODE, RR, SRV, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

from .ports import free_port


class NameServer(BaseResolver):  # type: ignore[misc]
    """``zone``: name -> addresses, or "priority weight port target" for SRV records; None: the server fails. ``ttl_s`` is that of
    every answer. ``asked`` counts questions by name."""

    def __init__(self, zone: dict[str, list[str] | None] | None = None, ttl_s: int = 1) -> None:
        self.zone = zone or {}
        self.ttl_s = ttl_s
        self.asked: Counter[str] = Counter()
        self.port = free_port()
        self._server = DNSServer(self, address="127.0.0.1", port=self.port, logger=DNSLogger("-request,-reply,-truncated,-error"))

    def __enter__(self) -> NameServer:
        self._server.start_thread()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._server.server.server_close()

    @property
    def option(self) -> list[str]:
        """What makes a gateway ask here."""
        return ["--resolver", f"127.0.0.1:{self.port}"]

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        name = str(request.q.qname).rstrip(".").lower()
        self.asked[name] += 1
        reply = request.reply()
        records = self.zone.get(name, [])
        if records is None:
            reply.header.rcode = RCODE.SERVFAIL
        elif name not in self.zone:
            reply.header.rcode = RCODE.NXDOMAIN
        for text in records or []:
            kind, data = self._record(text)
            if QTYPE[request.q.qtype] == kind:
                reply.add_answer(RR(request.q.qname, request.q.qtype, rdata=data, ttl=self.ttl_s))
        return reply

    @staticmethod
    def _record(text: str) -> tuple[str, object]:
        if " " not in text:
            return ("AAAA", AAAA(text)) if ":" in text else ("A", A(text))
        priority, weight, port, target = text.split()
        return "SRV", SRV(int(priority), int(weight), int(port), target)
