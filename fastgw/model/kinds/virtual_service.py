"""networking.istio.io VirtualService: where requests for a host go."""

from __future__ import annotations

import msgspec

from fastgw.model.kinds.base import Int32, Spec, UInt32
from fastgw.model.kinds.http_route import Destination, HttpRoute


class L4RouteDestination(Spec):
    destination: Destination | None = None
    weight: Int32 = 0


class TlsMatch(Spec):
    sni_hosts: tuple[str, ...] = ()
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TlsRoute(Spec):
    match: tuple[TlsMatch, ...] = ()
    route: tuple[L4RouteDestination, ...] = ()


class TcpMatch(Spec):
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_subnet: str = ""
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TcpRoute(Spec):
    match: tuple[TcpMatch, ...] = ()
    route: tuple[L4RouteDestination, ...] = ()


class VirtualService(Spec):
    """No ``hosts``: a delegate. No ``gateways``: the mesh only (statement B1)."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    export_to: tuple[str, ...] = ()
