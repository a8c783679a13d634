"""AUTO_PASSTHROUGH: every service of the registry is reached by a server name of its own, without any VirtualService (P17)."""

from __future__ import annotations

from collections.abc import Iterator

from fastgw.compiler.clusters import ClusterBuilder, Use
from fastgw.compiler.destinations import ClusterKey, cluster_name
from fastgw.compiler.hosts import covers
from fastgw.compiler.registry import Registry, ServiceRecord
from fastgw.compiler.servers import PlacedServer
from fastgw.model.plan import Action, WeightedDestination

EXTERNAL = "MESH_EXTERNAL"


class AutoPassthrough:
    """The chains of AUTO_PASSTHROUGH servers."""

    __slots__ = ("_clusters", "_registry")

    def __init__(self, registry: Registry, clusters: ClusterBuilder) -> None:
        self._registry = registry
        self._clusters = clusters

    def services_of(self, server: PlacedServer) -> Iterator[tuple[str, Action, Use]]:
        """(server name, where its connections go, cluster) of each port and subset of each service within the server's hosts."""
        names = server.hosts.plain_names()
        for record in self._registry.visible():
            if _is_internal(record) and any(covers(name, record.host) for name in names):
                for port in record.ports:
                    for subset in ("", *self._clusters.subsets(record)):
                        yield self._service(server, record, port.number, subset)

    def _service(self, server: PlacedServer, record: ServiceRecord, port: int, subset: str) -> tuple[str, Action, Use]:
        cluster = cluster_name(record.host, port, subset)
        key = ClusterKey(cluster, record, port, subset, record.host)
        use = Use(key, server.gateway, server.path, layer4=True)
        destination = WeightedDestination(cluster, 1, record.host, subset, port)
        return f"outbound_.{port}_.{subset}_.{record.host}", Action("route", (destination,)), use


def _is_internal(record: ServiceRecord) -> bool:
    if record.external_name or record.source is None:
        return False
    return record.source.kind == "Service" or record.source.spec.location != EXTERNAL
