"""The endpoints of a service's port, with the labels that subsets select by (fields.md 4 and 10, Q2, Q13, R5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fastgw.compiler.inventory import Inventory, is_subset
from fastgw.compiler.ports import SERVICE_OF_SLICE
from fastgw.compiler.registry import PortRecord, ServiceRecord
from fastgw.model.kinds.kubernetes import EndpointAddress, EndpointSubset, SliceEndpoint, TargetRef
from fastgw.model.kinds.service_entry import WorkloadEntry
from fastgw.model.names import is_ip
from fastgw.model.plan import Endpoint
from fastgw.model.resource import Resource

UNIX = "unix://"
LOOKUPS = {"DNS_ROUND_ROBIN": "first"}
"""How the names of a ServiceEntry are looked up, by its resolution; "all" under any other, which under STATIC are those of
WorkloadEntries that it selects: one among its own endpoints is an error."""


class Labelled(msgspec.Struct, frozen=True):
    """An endpoint and its labels."""

    endpoint: Endpoint
    labels: Mapping[str, str]


class EndpointIndex:
    """Endpoint objects by what they belong to."""

    __slots__ = ("_endpoints", "_pods", "_slices", "_workloads")

    def __init__(self, inventory: Inventory) -> None:
        self._slices: dict[tuple[str, str], list[Resource]] = {}
        for entry in inventory.of("EndpointSlice"):
            self._slices.setdefault((entry.namespace, entry.labels.get(SERVICE_OF_SLICE, "")), []).append(entry)
        self._endpoints = {entry.key: entry for entry in inventory.of("Endpoints")}
        self._pods = {pod.key: pod.labels for pod in inventory.of("Pod")}
        self._workloads: dict[str, list[Resource]] = {}
        for workload in inventory.of("WorkloadEntry"):
            self._workloads.setdefault(workload.namespace, []).append(workload)

    def describes(self, record: ServiceRecord) -> bool:
        """Is there any object that tells the endpoints of a Kubernetes Service?"""
        return (record.namespace, record.name) in self._slices or f"{record.namespace}/{record.name}" in self._endpoints

    def of(self, record: ServiceRecord, port: PortRecord) -> list[Labelled]:
        """All endpoints of one port, each address once."""
        assert record.source is not None
        is_service = record.source.kind == "Service"
        found = self._of_service(record, port) if is_service else self._of_entry(record.source, port)
        distinct: dict[tuple[str, int], Labelled] = {}
        for entry in found:
            distinct.setdefault((entry.endpoint.address, entry.endpoint.port), entry)
        return list(distinct.values())

    def _of_service(self, record: ServiceRecord, port: PortRecord) -> Iterator[Labelled]:
        """From EndpointSlices; the older Endpoints object only when there is no slice."""
        assert record.source is not None
        publish_all = record.source.spec.publish_not_ready_addresses
        slices = self._slices.get((record.namespace, record.name))
        if slices is None:
            older = self._endpoints.get(f"{record.namespace}/{record.name}")
            for subset in older.spec.subsets if older else ():
                yield from self._of_subset(subset, port, record.namespace, publish_all)
            return
        for entry in slices:
            if entry.spec.address_type != "FQDN":
                yield from self._of_slice(entry, port, publish_all)

    def _of_slice(self, entry: Resource, port: PortRecord, publish_all: bool) -> Iterator[Labelled]:
        """What is not called unready counts as ready, whatever else is said of it: publishNotReadyAddresses relies on that."""
        named = [own for own in entry.spec.ports or () if (own.name or "") == port.name and own.protocol != "UDP"]
        numbers = [own.port for own in named if own.port]
        for own in entry.spec.endpoints or ():
            ready = own.conditions is None or own.conditions.ready is not False
            if not ready and own.conditions.terminating:
                continue
            healthy = ready or publish_all
            labels = self._pod_labels(own.target_ref, entry.namespace)
            for number in numbers:
                for address in own.addresses[:1]:
                    if is_ip(address):
                        yield Labelled(Endpoint(address, number, 1, healthy, _zone(own)), labels)

    def _of_subset(self, subset: EndpointSubset, port: PortRecord, namespace: str, publish_all: bool) -> Iterator[Labelled]:
        numbers = [own.port for own in subset.ports if own.name == port.name and own.port]
        ready: tuple[tuple[EndpointAddress, bool], ...] = tuple((own, True) for own in subset.addresses)
        for own, healthy in (*ready, *((own, publish_all) for own in subset.not_ready_addresses)):
            for number in numbers:
                if is_ip(own.ip):
                    labels = self._pod_labels(own.target_ref, namespace)
                    yield Labelled(Endpoint(own.ip, number, 1, healthy), labels)

    def _pod_labels(self, target: TargetRef | None, namespace: str) -> Mapping[str, str]:
        if target is None or target.kind != "Pod":
            return {}
        return self._pods.get(f"{target.namespace or namespace}/{target.name}", {})

    def _of_entry(self, entry: Resource, port: PortRecord) -> Iterator[Labelled]:
        """A ServiceEntry's own endpoints, or the WorkloadEntries that it selects in its namespace. One without an address can only
        be reached through its network, which a gateway cannot."""
        selector = entry.spec.workload_selector
        lookup = LOOKUPS.get(entry.spec.resolution, "all")
        if selector is None:
            for workload in entry.spec.endpoints:
                if workload.address:
                    yield _of_workload(workload, workload.labels, port, lookup)
            return
        for resource in self._workloads.get(entry.namespace, ()):
            labels = {**resource.spec.labels, **resource.labels}
            if resource.spec.address and is_subset(selector.labels, labels):
                yield _of_workload(resource.spec, labels, port, lookup)


def _of_workload(workload: WorkloadEntry, labels: Mapping[str, str], port: PortRecord, lookup: str) -> Labelled:
    """Its port: none for a Unix socket, else its own of that name, else the target port of the service (fields.md 4)."""
    weight = workload.weight or 1
    if workload.address.startswith(UNIX):
        path = "unix:" + workload.address.removeprefix(UNIX)
        return Labelled(Endpoint(path, 0, weight, True, workload.locality), labels)
    number = workload.ports.get(port.name) or port.target
    if is_ip(workload.address):
        return Labelled(Endpoint(workload.address, number, weight, True, workload.locality), labels)
    return Labelled(Endpoint(workload.address.lower(), number, weight, True, workload.locality, lookup), labels)


def _zone(endpoint: SliceEndpoint) -> str:
    """region/zone; an EndpointSlice of today names no region."""
    topology = endpoint.deprecated_topology or {}
    region, zone = (
        topology.get("topology.kubernetes.io/region", ""),
        endpoint.zone or topology.get("topology.kubernetes.io/zone", ""),
    )
    return f"{region}/{zone}" if zone else region
