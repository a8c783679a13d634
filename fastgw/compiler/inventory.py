"""First pass: which resources concern this gateway, and in which order they count.

Gateways by selector (A1-A3), VirtualServices by exportTo (B4), both in Istio's order: creationTimestamp, name, namespace; objects
without a timestamp come after those with one, in file order. Everything else is only sorted into its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report
from fastgw.model.resource import Resource


class Inventory:
    """Resources by kind, in order of precedence. ``virtual_services`` are those that this gateway may see."""

    __slots__ = ("all_gateways", "by_kind", "delegates", "gateways", "virtual_services")

    def __init__(self, resources: Sequence[Resource], options: CompileOptions, report: Report) -> None:
        self.by_kind: dict[str, list[Resource]] = {}
        for resource in resources:
            self.by_kind.setdefault(resource.kind, []).append(resource)
        for kind, members in self.by_kind.items():
            self.by_kind[kind] = _distinct(sorted(members, key=precedence), report)
        self.all_gateways = {gateway.key: gateway for gateway in self.of("Gateway")}
        self.gateways = [gateway for gateway in self.of("Gateway") if _selects(gateway, options, report)]
        services = self.of("VirtualService")
        self.delegates = {service.key: service for service in services if not service.spec.hosts}
        self.virtual_services = _visible_virtual_services(services, options.namespace, report)

    def of(self, kind: str) -> list[Resource]:
        """All resources of a kind, in order of precedence."""
        return self.by_kind.get(kind, [])


def precedence(resource: Resource) -> tuple[int, str, str, str, int]:
    """Sort key of A3 and B5. Files without timestamps keep their own order."""
    if resource.creation_timestamp:
        return (0, resource.creation_timestamp, resource.name, resource.namespace, resource.order)
    return (1, "", "", "", resource.order)


def exported_to(export_to: Sequence[str], own_namespace: str, namespace: str) -> bool:
    """Is an object of ``own_namespace`` visible in ``namespace``? An empty list means everywhere (B4)."""
    if not export_to:
        return True
    return "*" in export_to or namespace in export_to or ("." in export_to and own_namespace == namespace)


def is_subset(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Every pair of ``selector`` is among ``labels``; an empty selector selects all."""
    return all(labels.get(key) == value for key, value in selector.items())


def _distinct(members: list[Resource], report: Report) -> list[Resource]:
    """One object a namespace and name: the first of them counts, as a cluster could hold only one."""
    first: dict[str, Resource] = {}
    for resource in members:
        winner = first.setdefault(resource.key, resource)
        if winner is not resource:
            where = f"{winner.origin.file}:{winner.origin.line}"
            report.error("FGW0010", resource, "", f"left out: the same {resource.kind} is already defined at {where}")
    return list(first.values())


def _selects(gateway: Resource, options: CompileOptions, report: Report) -> bool:
    if is_subset(gateway.spec.selector, options.labels):
        return True
    wanted = ",".join(f"{key}={value}" for key, value in sorted(gateway.spec.selector.items()))
    own = ",".join(f"{key}={value}" for key, value in sorted(options.labels.items()))
    report.warning(
        "FGW0022", gateway, "spec.selector", f"is for another gateway: selects {wanted}, this gateway's labels are {own}"
    )
    return False


def _visible_virtual_services(services: list[Resource], namespace: str, report: Report) -> list[Resource]:
    """In the order of B5: those of the gateway's own namespace, those exported to it by name, the public ones."""
    private: list[Resource] = []
    exported: list[Resource] = []
    public: list[Resource] = []
    for service in services:
        export_to = service.spec.export_to
        if not service.spec.hosts:
            continue
        if not exported_to(export_to, service.namespace, namespace):
            listed = ", ".join(export_to)
            message = f"is not visible in this gateway's namespace {namespace}: exportTo is [{listed}]"
            report.info("FGW0023", service, "spec.exportTo", message)
        elif not export_to or "*" in export_to:
            public.append(service)
        elif service.namespace == namespace:
            private.append(service)
        else:
            exported.append(service)
    return private + exported + public
