"""Clusters of the image in use with the live state of their endpoints: read from the image and from the state segment."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastgw.native._native import ffi, lib
from fastgw.supervisor import memfd
from fastgw.supervisor.health import HealthStatus
from fastgw.supervisor.state import DnsAddress, StateSegment

_DNS_STATUS = {lib.FGW_DNS_UNKNOWN: "unknown", lib.FGW_DNS_OK: "ok", lib.FGW_DNS_FAILED: "failed"}
_LB = {
    lib.FGW_LB_LEAST_REQUEST: "least_request",
    lib.FGW_LB_ROUND_ROBIN: "round_robin",
    lib.FGW_LB_RANDOM: "random",
    lib.FGW_LB_RING_HASH: "ring_hash",
    lib.FGW_LB_MAGLEV: "maglev",
}


def view_clusters(image_fd: int, state: StateSegment, health: Mapping[int, HealthStatus]) -> list[dict[str, Any]]:
    """One entry a cluster, in the image's order. The image is one that fgw_image_check has passed.

    ``health``: what checks have found out, by cell.
    """
    with memfd.map_read_only(image_fd) as mapped:
        block = ffi.from_buffer(mapped)
        try:
            return _view(_ImageView(block), Live(state, health))
        finally:
            ffi.release(block)


class Live(NamedTuple):
    """Where the state of endpoints is to be read."""

    state: StateSegment
    health: Mapping[int, HealthStatus]


class _ImageView:
    """The tables of an image, by the offsets in its header."""

    def __init__(self, block: Any) -> None:
        self.base = ffi.cast("const char *", block)
        self.header = ffi.cast("const fgw_image_header *", block)
        self.clusters = ffi.cast("const fgw_img_cluster *", self.base + self.header.clusters.off)
        self.endpoints = ffi.cast("const fgw_img_endpoint *", self.base + self.header.endpoints.off)

    def text(self, span: Any) -> str:
        return bytes(ffi.buffer(self.base + self.header.strings.off + span.off, span.len)).decode("utf-8", "replace")


def _view(image: _ImageView, live: Live) -> list[dict[str, Any]]:
    return [_cluster(image, image.clusters[index], live) for index in range(image.header.clusters.count)]


def _cluster(image: _ImageView, cluster: Any, live: Live) -> dict[str, Any]:
    over_dns = cluster.discovery == lib.FGW_DISCOVERY_DNS
    entry: dict[str, Any] = {
        "name": image.text(cluster.name),
        "host": image.text(cluster.host),
        "subset": image.text(cluster.subset),
        "port": cluster.port,
        "lb": _LB.get(cluster.lb, str(cluster.lb)),
        "counts": live.state.cluster(cluster.state)._asdict() if cluster.policy != lib.FGW_NONE else {},
        "discovery": "dns" if over_dns else "static",
    }
    first = cluster.endpoints.off
    fixed = [image.endpoints[index] for index in range(first, first + cluster.endpoints.count)]
    entry["endpoints"] = [_static(image, each, live) for each in fixed if each.family != lib.FGW_FAMILY_NAME]
    if over_dns:
        status, addresses = live.state.read_dns(cluster.dns_slot)
        entry["dnsStatus"] = _DNS_STATUS.get(status, str(status))
        entry["endpoints"] += [_resolved(image, fixed, each, live) for each in addresses]
    return entry


def _static(image: _ImageView, endpoint: Any, live: Live) -> dict[str, Any]:
    ready = not endpoint.flags & lib.FGW_ENDPOINT_UNHEALTHY
    if endpoint.family == lib.FGW_FAMILY_UNIX:
        return _endpoint(f"unix:{image.text(endpoint.path)}", 0, ready, endpoint.cell, live) | {"weight": endpoint.weight}
    length = 4 if endpoint.family == lib.FGW_FAMILY_IPV4 else 16
    address = str(ipaddress.ip_address(bytes(ffi.buffer(endpoint.ip, length))))
    return _endpoint(address, endpoint.port, ready, endpoint.cell, live) | {"weight": endpoint.weight}


def _resolved(image: _ImageView, fixed: list[Any], address: DnsAddress, live: Live) -> dict[str, Any]:
    """``name``: what has this address, as far as the image knows it."""
    named = fixed[address.endpoint] if address.endpoint < len(fixed) else None
    name = image.text(named.path) if named is not None and named.family == lib.FGW_FAMILY_NAME else ""
    own = {"weight": address.weight, "name": name}
    return _endpoint(str(ipaddress.ip_address(address.ip)), address.port, True, address.cell, live) | own


def _endpoint(address: str, port: int, ready: bool, cell_index: int, live: Live) -> dict[str, Any]:
    cell = live.state.cell(cell_index)
    ejected = cell.ejected(time.monotonic_ns() / 1e6)
    usable = not ejected and not cell.flags & lib.FGW_CELL_UNHEALTHY
    found: dict[str, Any] = {
        "address": address,
        "port": port,
        "healthy": ready and usable,
        "ejected": ejected,
        "active": cell.active,
        "requests": cell.requests,
        "failures": cell.failures,
    }
    check = live.health.get(cell_index)
    if check is not None:
        found["healthCheck"] = {"status": check.status, "error": check.error, "checked": check.checked, "failed": check.failed}
    return found


def endpoint_text(endpoint: dict[str, Any]) -> str:
    """ "10.0.0.1:80", "[::1]:80", "unix:/path"."""
    address = str(endpoint["address"])
    if address.startswith("unix:"):
        return address
    return f"[{address}]:{endpoint['port']}" if ":" in address else f"{address}:{endpoint['port']}"
