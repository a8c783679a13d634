"""What a compilation leaves for the next one. Everything is kept by the identity of the resources that it was made from."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fastgw.compiler.clusters import ClusterBuilder
from fastgw.compiler.destination_rules import DestinationRules
from fastgw.compiler.destinations import Finder
from fastgw.compiler.endpoints import EndpointIndex
from fastgw.compiler.hosts import ServerHosts
from fastgw.compiler.http_routes import BoundService
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.kept_policies import PolicyMemory
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.registry import Registry
from fastgw.compiler.virtual_hosts import VirtualHostCache
from fastgw.model.resource import Resource

if TYPE_CHECKING:
    from fastgw.compiler.exchange import Whole

NAMING_KINDS = ("Service", "ServiceEntry")
ENDPOINT_KINDS = ("EndpointSlice", "Endpoints", "WorkloadEntry", "Pod", "DestinationRule")


class CompileCache:
    """Give the same one to each compilation of a changing configuration. Not for two compilations at once."""

    def __init__(self) -> None:
        self._options: CompileOptions | None = None
        self._naming: list[Resource] = []
        self._endpoints: list[Resource] = []
        self._finder: Finder | None = None
        self._clusters: ClusterBuilder | None = None
        self._services: dict[int, BoundService] = {}
        self._hosts: dict[str, tuple[Resource, list[ServerHosts]]] = {}
        self.virtual_hosts = VirtualHostCache()
        self.policies = PolicyMemory()
        self.whole: Whole | None = None

    def start(self, options: CompileOptions) -> None:
        """Other options make everything new."""
        if self._options != options:
            self.__init__()  # type: ignore[misc]
            self._options = options

    def finder(self, inventory: Inventory, options: CompileOptions) -> Finder:
        """Names depend on services only; with other services every VirtualService is compiled again."""
        naming = [resource for kind in NAMING_KINDS for resource in inventory.of(kind)]
        if self._finder is None or not _same(naming, self._naming):
            self._naming = naming
            self._finder = Finder(Registry(inventory, options.namespace), options.resolve)
            self._clusters = None
            self._services = {}
        return self._finder

    def cluster_builder(self, inventory: Inventory, options: CompileOptions, finder: Finder) -> ClusterBuilder:
        """To be called after ``finder``."""
        endpoints = [resource for kind in ENDPOINT_KINDS for resource in inventory.of(kind)]
        if self._clusters is None or not _same(endpoints, self._endpoints):
            self._endpoints = endpoints
            rules = DestinationRules(inventory, options)
            self._clusters = ClusterBuilder(finder, EndpointIndex(inventory), rules, options)
        return self._clusters

    def bound_services(self, resources: Iterable[Resource]) -> list[BoundService]:
        """Those of the last compilation where the resource is the same object. Delegating ones depend on others: always new."""
        services = [self._bound_service(resource) for resource in resources]
        self._services = {id(service.resource): service for service in services}
        return services

    def service_of(self, resource: Resource) -> BoundService | None:
        """What was made of the resource in the last compilation."""
        return self._services.get(id(resource))

    def services(self) -> Iterable[BoundService]:
        """Those of the last compilation."""
        return self._services.values()

    def exchange_services(self, services: Iterable[tuple[BoundService, BoundService]]) -> None:
        """The second of each pair takes the place of the first."""
        for old, new in services:
            del self._services[id(old.resource)]
            self._services[id(new.resource)] = new

    def server_hosts(self, gateways: Sequence[Resource]) -> dict[str, list[ServerHosts]]:
        """The prepared hosts of all servers of each Gateway."""
        hosts: dict[str, tuple[Resource, list[ServerHosts]]] = {}
        for gateway in gateways:
            known = self._hosts.get(gateway.key)
            if known is None or known[0] is not gateway:
                known = (gateway, [ServerHosts(server.hosts, gateway.namespace) for server in gateway.spec.servers])
            hosts[gateway.key] = known
        if len(hosts) != len(self._hosts) or any(self._hosts.get(key) is not known for key, known in hosts.items()):
            for service in self._services.values():
                service.forget_servers()
        self._hosts = hosts
        return {key: prepared for key, (_, prepared) in hosts.items()}

    def _bound_service(self, resource: Resource) -> BoundService:
        known = self._services.get(id(resource))
        # the service holds its resource, so the id cannot have passed to another object
        if known is not None and not known.delegating:
            return known
        return BoundService(resource)


def _same(one: Sequence[Resource], other: Sequence[Resource]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))
