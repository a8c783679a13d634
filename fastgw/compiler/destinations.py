"""Which service a destination means: the look-up order for names, and the default of its port.

Order: the registry by the full name; a ServiceEntry by the very name as written; --resolve; DNS of the name as written. A name that
only the last two know is filed under its full name all the same, so that clusters and metrics look as Istio's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from fastgw.compiler.hosts import full_name
from fastgw.compiler.registry import PortRecord, Registry, ServiceRecord
from fastgw.model.kinds.http_route import Destination
from fastgw.model.plan import WeightedDestination

_DNS_NAME = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$")
_MAX_ALIASES = 8


class Found(msgspec.Struct, frozen=True, eq=False):
    """Where a name leads. ``records``: several only for one host in several ServiceEntries. ``written``: for --resolve and DNS."""

    host: str
    written: str
    records: tuple[ServiceRecord, ...]


class ClusterKey(msgspec.Struct, frozen=True, eq=False):
    """A cluster to be built: a service, one of its ports, a subset. Its name is its identity (H1)."""

    name: str
    record: ServiceRecord
    port: int
    subset: str
    written: str


class Finder:
    """Looks names up, each once."""

    __slots__ = ("_memo", "_resolve", "registry")

    def __init__(self, registry: Registry, resolve: Mapping[str, tuple[str, int | None]]) -> None:
        self.registry = registry
        self._resolve = {name.lower(): answer for name, answer in resolve.items()}
        self._memo: dict[tuple[str, str], Found | None] = {}

    def find(self, host: str, namespace: str) -> Found | None:
        """``host`` as written in an object of ``namespace``. None: known but not visible here, or not even a name."""
        written = host.lower()
        key = (written, "" if "." in written else namespace)
        if key not in self._memo:
            self._memo[key] = self._find(written, namespace, _MAX_ALIASES)
        return self._memo[key]

    def why_not(self, host: str, namespace: str) -> str:
        """In words, why ``find`` answered None."""
        written = host.lower()
        records = self.registry.find(full_name(written, namespace).lower()) or self.registry.find(written)
        if not records:
            return f'"{host}" is no name that DNS could know'
        if records[0].visible:
            return f"{records[0].host} is an ExternalName that leads to nothing this gateway may use"
        return f"{records[0].host} is not exported to this gateway's namespace"

    def answer(self, name: str) -> tuple[str, int | None] | None:
        """What --resolve says about a name."""
        return self._resolve.get(name)

    def _find(self, written: str, namespace: str, aliases_left: int) -> Found | None:
        full = full_name(written, namespace).lower()
        records = self.registry.find(full) or [r for r in self.registry.find(written) if r.found_in == "service-entry"]
        if records:
            return self._known(written, records, aliases_left)
        if written in self._resolve or full in self._resolve:
            return Found(full, written, (_hearsay(full, written, namespace, "resolve"),))
        if not _DNS_NAME.match(written) and ":" not in written:
            return None
        return Found(full, written, (_hearsay(full, written, namespace, "dns"),))

    def _known(self, written: str, records: Sequence[ServiceRecord], aliases_left: int) -> Found | None:
        visible = tuple(record for record in records if record.visible)
        if not visible:
            return None
        alias = visible[0].external_name
        if alias:
            found = self._find(alias, visible[0].namespace, aliases_left - 1) if aliases_left else None
            return found if found is None else _with_ports(found, visible[0].ports)
        return Found(visible[0].host, written, visible)


def _hearsay(full: str, written: str, namespace: str, found_in: str) -> ServiceRecord:
    """A record for a name that no object describes. A short name counts as a service of its VirtualService's namespace."""
    short = "." not in written
    return ServiceRecord(full, namespace if short else "", written, (), found_in)


def _with_ports(found: Found, ports: tuple[PortRecord, ...]) -> Found:
    """What an ExternalName Service says of its ports counts where nobody describes the name that it leads to."""
    record = found.records[0]
    if record.source is not None or record.ports:
        return found
    return msgspec.structs.replace(found, records=(msgspec.structs.replace(record, ports=ports),))


def choose_port(found: Found, destination: Destination, server_port: int) -> int:
    """H2: the number given, else the only port of the service, else that of the Gateway's server."""
    if destination.port is not None and destination.port.number:
        return destination.port.number
    ports = found.records[0].ports
    return ports[0].number if len(ports) == 1 else server_port


def cluster_name(host: str, port: int, subset: str) -> str:
    """Istio's name of a cluster (H1)."""
    return f"outbound|{port}|{subset}|{host}"


def cluster_key(found: Found, port: int, subset: str) -> ClusterKey | None:
    """None: the service is described and has no such port, so the cluster does not exist (H3)."""
    name = cluster_name(found.host, port, subset)
    for record in found.records:
        if record.source is None or record.port(port) is not None:
            return ClusterKey(name, record, port, subset, found.written)
    return None


class Weighted(msgspec.Struct, frozen=True):
    """A destination of a route. ``key`` None: its cluster does not exist, and ``why_missing`` says why."""

    destination: WeightedDestination
    key: ClusterKey | None
    why_missing: str = ""


def weighted(destination: Destination, weight: int, namespace: str, server_port: int, finder: Finder) -> Weighted:
    """``namespace``: of the VirtualService, for short names. ``server_port``: of the Gateway's server (H2)."""
    found = finder.find(destination.host, namespace)
    host = full_name(destination.host, namespace).lower() if found is None else found.host
    given = destination.port.number if destination.port else server_port
    port = given if found is None else choose_port(found, destination, server_port)
    made = WeightedDestination(cluster_name(host, port, destination.subset), weight, host, destination.subset, port)
    if found is None:
        return Weighted(made, None, finder.why_not(destination.host, namespace))
    key = cluster_key(found, port, destination.subset)
    return Weighted(made, key, "" if key is not None else f"{host} has no port {port}")
