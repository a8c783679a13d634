"""Which port a Gateway's server opens: the targetPort of a Service in front of this gateway, else its own number (A5, A6, A8)."""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.compiler.inventory import Inventory, is_subset
from fastgw.compiler.options import CompileOptions
from fastgw.model.kinds.kubernetes import ServicePort
from fastgw.model.resource import Resource

NO_TRANSLATION = "experimental.istio.io/disable-gateway-port-translation"
SERVICE_OF_SLICE = "kubernetes.io/service-name"


def gateway_ports(inventory: Inventory, options: CompileOptions) -> dict[int, int]:
    """Service port -> port that this gateway listens on, from the Services that select it; the first Service counts."""
    ports: dict[int, int] = {}
    for service in inventory.of("Service"):
        if not _selects_this_gateway(service, options):
            continue
        for port in service.spec.ports:
            target = _target(service, port, inventory.of("EndpointSlice"))
            if port.protocol == "TCP" and 1 <= target <= 65535:
                ports.setdefault(port.port, target)
    return ports


def _selects_this_gateway(service: Resource, options: CompileOptions) -> bool:
    selector = service.spec.selector
    if service.namespace != options.namespace or not selector or NO_TRANSLATION in service.labels:
        return False
    return is_subset(selector, options.labels)


def _target(service: Resource, port: ServicePort, slices: Sequence[Resource]) -> int:
    """Number of a targetPort; a named one is looked up in the Service's EndpointSlices, 0 when they do not tell."""
    if port.target_port is None:
        return port.port
    if isinstance(port.target_port, int):
        return port.target_port
    if port.target_port.isdigit():
        return int(port.target_port)
    for entry in slices:
        if entry.namespace == service.namespace and entry.labels.get(SERVICE_OF_SLICE) == service.name:
            for slice_port in entry.spec.ports or ():
                if (slice_port.name or "") == port.name and slice_port.port:
                    return int(slice_port.port)
    return 0
