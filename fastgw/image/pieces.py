"""Parts of a Plan -> pieces of an image: a cluster, and what stands at the begin and the end. For virtual hosts see rule_sets."""

from __future__ import annotations

import socket

from fastgw.image import layout
from fastgw.image.layout import NONE, ImageError, lib
from fastgw.image.link import Piece
from fastgw.image.numbers import StateNumbers
from fastgw.image.policies import add_hash_tables, add_policy
from fastgw.image.policy_records import add_pages
from fastgw.image.symbols import Symbols
from fastgw.image.tables import Tables
from fastgw.image.tls_records import add_upstream_tls
from fastgw.model.origin import Origin
from fastgw.model.plan import Cluster, Endpoint, RouteTable


class PieceBuilder:
    """What pieces have in common."""

    def __init__(self, symbols: Symbols) -> None:
        self.tables = Tables(symbols)
        self.span = self.tables.span
        self.origin = self.tables.origin


class ClusterBuilder(PieceBuilder):
    """The piece of one cluster. ``numbers`` keeps what it takes for as long as the piece is in use."""

    def __init__(self, symbols: Symbols, numbers: StateNumbers) -> None:
        super().__init__(symbols)
        self._numbers = numbers

    def build(self, c: Cluster) -> Piece:
        dns = c.discovery == "dns"
        endpoints = self.tables["endpoints"]
        first = endpoints.count
        for endpoint in c.endpoints:
            endpoints.add(*self._endpoint(c.name, endpoint))
        shared = self.tables.shared_span
        spans = [n for text in (c.name, c.host, c.service_name, c.service_namespace, c.subset) for n in shared(text)]
        self.tables["clusters"].add(
            *spans,
            c.port,
            layout.DISCOVERIES[c.discovery],
            layout.BALANCERS[c.lb],
            layout.UPSTREAM_PROTOCOLS[c.protocol],
            len({max(endpoint.weight, 1) for endpoint in c.endpoints}) > 1,
            first,
            endpoints.count - first,
            self._numbers.dns_slot_of(c) if dns else NONE,
            c.connect_timeout_ms,
            NONE if c.tls is None else add_upstream_tls(self.tables, c.tls),
            self._numbers.metric_id_of(c.host, c.service_name, c.service_namespace),
            c.max_streams,
            c.ping_interval_ms,
            c.ping_timeout_ms,
            add_policy(self.tables, c),
            self._numbers.cluster_of(c.name),
            self.origin("", "", c.origin),
            *add_hash_tables(self.tables, c, _address),
        )
        return self.tables.take(defines=c.name)

    def _endpoint(self, cluster: str, e: Endpoint) -> tuple[int | bytes, ...]:
        flags = 0 if e.healthy else lib.FGW_ENDPOINT_UNHEALTHY
        if e.lookup:
            return (lib.FGW_FAMILY_NAME, flags, e.port, max(e.weight, 1), e.priority, b"", NONE, *self.span(e.address))
        family, ip, path = _address(cluster, e.address)
        cell = self._numbers.cell_of(cluster, e.address, e.port)
        return (family, flags, e.port, max(e.weight, 1), e.priority, ip, cell, *self.span(path))


def touch_numbers(c: Cluster, numbers: StateNumbers) -> None:
    """The cluster's numbers are in use in this generation, although its piece is not written again."""
    if c.discovery == "dns":
        numbers.dns_slot_of(c)
    for endpoint in c.endpoints:
        if not endpoint.lookup:
            numbers.cell_of(c.name, endpoint.address, endpoint.port)
    numbers.metric_id_of(c.host, c.service_name, c.service_namespace)
    numbers.cluster_of(c.name)


def nowhere(symbols: Symbols) -> Piece:
    """The first piece: origin 0 is no place."""
    builder = PieceBuilder(symbols)
    builder.origin("", "", Origin())
    return builder.tables.take()


class TailBuilder(PieceBuilder):
    """The last piece: listeners and route tables, which refer to virtual hosts and slots of the whole image."""

    def __init__(self, symbols: Symbols, numbers: StateNumbers) -> None:
        super().__init__(symbols)
        self.numbers = numbers
        self._route_tables: dict[str, int] = {}

    def add_route_table(self, table: RouteTable, first: int, count: int, *hosts: int) -> None:
        """``first`` and ``count`` of its virtual hosts; ``hosts``: the fields of fgw_img_hosts."""
        pages = add_pages(self.tables, table.pages)
        self._route_tables[table.name] = self.tables["route_tables"].add(*self.span(table.name), first, count, *pages, *hosts)

    def route_table(self, name: str) -> int:
        """Index of a route table that was added."""
        return self._route_tables[name]


def _address(cluster: str, address: str) -> tuple[int, bytes, str]:
    """(family, 16 bytes of address, path of a unix socket)."""
    if address.startswith("unix:"):
        return lib.FGW_FAMILY_UNIX, b"", address.removeprefix("unix:").removeprefix("//")
    try:
        if ":" in address:
            return lib.FGW_FAMILY_IPV6, socket.inet_pton(socket.AF_INET6, address), ""
        return lib.FGW_FAMILY_IPV4, socket.inet_pton(socket.AF_INET, address), ""
    except OSError:
        raise ImageError(f"{cluster}: {address!r} is not an IP address") from None
