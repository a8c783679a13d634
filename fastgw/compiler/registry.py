"""The services that destinations can name: Kubernetes Services and ServiceEntries as one kind of record (section H)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fastgw.compiler.hosts import CLUSTER_DOMAIN
from fastgw.compiler.inventory import Inventory, exported_to
from fastgw.model.kinds.kubernetes import ServicePort as KubernetesPort
from fastgw.model.kinds.service_entry import ServicePort as EntryPort
from fastgw.model.resource import Resource

EXPORT_ANNOTATION = "networking.istio.io/exportTo"
_APP_PROTOCOLS = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_HTTP2 = frozenset({"http2", "grpc", "grpc-web", "h2c"})
_KNOWN = frozenset({"http", "https", "tls", "tcp", "udp", "mongo", "mysql", "redis", *_HTTP2})


class PortRecord(msgspec.Struct, frozen=True):
    """A port of a service. ``target`` is the port of endpoints that name none of their own, 0 when only they know."""

    number: int
    name: str = ""
    protocol: str = ""
    target: int = 0


class ServiceRecord(msgspec.Struct, frozen=True, eq=False):
    """A service under one host. ``source``: the Service or ServiceEntry; None for a name that only --resolve or DNS knows.

    ``visible``: exported to this gateway's namespace (H9). ``external_name``: where an ExternalName Service points (H7).
    """

    host: str
    namespace: str
    name: str
    ports: tuple[PortRecord, ...]
    found_in: str
    source: Resource | None = None
    visible: bool = True
    external_name: str = ""

    def port(self, number: int) -> PortRecord | None:
        """The port with this number."""
        for port in self.ports:
            if port.number == number:
                return port
        return None


class Registry:
    """Records by host. Several ServiceEntries may hold ports of one host; Services come first."""

    __slots__ = ("_by_host",)

    def __init__(self, inventory: Inventory, gateway_namespace: str) -> None:
        self._by_host: dict[str, list[ServiceRecord]] = {}
        for service in inventory.of("Service"):
            self._add(_service_record(service, gateway_namespace))
        for entry in inventory.of("ServiceEntry"):
            for record in _entry_records(entry, gateway_namespace):
                self._add(record)

    def find(self, host: str) -> Sequence[ServiceRecord]:
        """The records of a host (lower case), best first; empty when nobody knows it."""
        return self._by_host.get(host, ())

    def visible(self) -> Iterator[ServiceRecord]:
        """Every record that this gateway may see, in order of the hosts' appearance."""
        return (record for records in self._by_host.values() for record in records if record.visible)

    def _add(self, record: ServiceRecord) -> None:
        records = self._by_host.setdefault(record.host, [])
        if record.visible:
            position = next((index for index, other in enumerate(records) if not other.visible), len(records))
            records.insert(position, record)
        else:
            records.append(record)


def upstream_protocol(port: PortRecord | None) -> str:
    """http1 or http2: what an HTTP route speaks to the endpoints (Q16); TCP and unknown ports get HTTP/1.1."""
    return "http2" if port is not None and port.protocol in _HTTP2 else "http1"


def port_protocol(app_protocol: str | None, port_name: str) -> str:
    """Protocol of a Kubernetes port, lower case: appProtocol, then the name's part before "-", else "" (fields.md 10)."""
    if app_protocol:
        word = _APP_PROTOCOLS.get(app_protocol.lower(), app_protocol.lower())
        if word in _KNOWN:
            return word
    name = port_name.lower()
    if name.startswith("grpc-web"):
        return "grpc-web"
    word = name.partition("-")[0]
    return word if word in _KNOWN else ""


def _service_record(service: Resource, gateway_namespace: str) -> ServiceRecord:
    spec = service.spec
    export_to = [part.strip() for part in service.annotations.get(EXPORT_ANNOTATION, "").split(",") if part.strip()]
    return ServiceRecord(
        host=f"{service.name}.{service.namespace}.{CLUSTER_DOMAIN}".lower(),
        namespace=service.namespace,
        name=service.name,
        ports=tuple(_kubernetes_port(port) for port in spec.ports if port.protocol != "UDP"),
        found_in="registry",
        source=service,
        visible=exported_to(export_to, service.namespace, gateway_namespace),
        external_name=spec.external_name.lower() if spec.type == "ExternalName" else "",
    )


def _kubernetes_port(port: KubernetesPort) -> PortRecord:
    target = port.target_port
    named = isinstance(target, str) and not target.isdigit()
    number = 0 if named else int(port.port if target is None else target)
    return PortRecord(port.port, port.name, port_protocol(port.app_protocol, port.name), number)


def _entry_records(entry: Resource, gateway_namespace: str) -> list[ServiceRecord]:
    spec = entry.spec
    ports = tuple(_entry_port(port) for port in spec.ports)
    visible = exported_to(spec.export_to, entry.namespace, gateway_namespace)
    return [
        ServiceRecord(host.lower(), entry.namespace, host.lower(), ports, "service-entry", entry, visible)
        for host in dict.fromkeys(spec.hosts)
    ]


def _entry_port(port: EntryPort) -> PortRecord:
    return PortRecord(port.number, port.name, port.protocol.lower(), port.target_port or port.number)
