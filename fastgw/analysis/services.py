"""IST0112, IST0149, IST0173, IST0174, IST0177: destinations, subsets and rules measured against the services that are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.analysis.validate_http_match import CLAIMS
from fastgw.compiler.hosts import CLUSTER_DOMAIN, covers, full_name
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.http_route import Destination, HttpRoute, HttpRouteDestination
from fastgw.model.kinds.virtual_service import L4RouteDestination, TcpRoute, TlsRoute, VirtualService
from fastgw.model.resource import Resource

PORT_NEEDED, NO_TOKEN, EMPTY_SUBSET, UNKNOWN_HOST, TWO_PROTOCOLS = "IST0112", "IST0149", "IST0173", "IST0174", "IST0177"


def check_services(picture: Picture) -> list[Diagnostic]:
    services = _Services(picture)
    diagnostics: list[Diagnostic] = []
    for service in picture.of("VirtualService"):
        findings = Findings(service)
        _check_ports(findings, service.spec, services)
        _check_claims(findings, service.spec, picture)
        diagnostics += findings.diagnostics
    diagnostics += _conflicting_protocols(picture)
    applied = {cluster.destination_rule for cluster in picture.plan.clusters.values()}
    for rule in picture.of("DestinationRule"):
        findings = Findings(rule)
        _check_rule(findings, services, applied)
        diagnostics += findings.diagnostics
    return diagnostics


class _Services:
    """Hosts of Services and ServiceEntries -> their objects, and the labels of what stands behind them."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.by_host: dict[str, Resource] = {}
        self.wildcards: list[str] = []
        for service in picture.of("Service"):
            self.by_host.setdefault(f"{service.name}.{service.namespace}.{CLUSTER_DOMAIN}", service)
        for entry in picture.of("ServiceEntry"):
            for host in entry.spec.hosts:
                self.by_host.setdefault(host.lower(), entry)
                if host.startswith("*"):
                    self.wildcards.append(host.lower())

    def find(self, host: str, namespace: str) -> Resource | None:
        """The object of a host as an object of ``namespace`` names it; its full name comes first."""
        return self.by_host.get(full_name(host, namespace).lower()) or self.by_host.get(host.lower())

    def knows(self, host: str, namespace: str) -> bool:
        """Whether any service has the host, or a part of what the wildcard stands for."""
        name = full_name(host, namespace).lower()
        if name.startswith("*"):
            return any(covers(name, known) for known in self.by_host)
        return self.find(host, namespace) is not None or any(covers(wildcard, name) for wildcard in self.wildcards)

    def labels_behind(self, service: Resource) -> list[Mapping[str, str]] | None:
        """Labels of each endpoint or workload, None when nothing is known of them."""
        if service.kind == "ServiceEntry":
            return self._entry_labels(service)
        selector = service.spec.selector
        pods: list[Mapping[str, str]] = [
            pod.labels for pod in self._workloads(service.namespace) if selector and selector.items() <= pod.labels.items()
        ]
        return pods or None

    def _entry_labels(self, entry: Resource) -> list[Mapping[str, str]] | None:
        if entry.spec.endpoints:
            return [endpoint.labels for endpoint in entry.spec.endpoints]
        if entry.spec.workload_selector is None:
            return None
        wanted = entry.spec.workload_selector.labels
        found = [_workload_labels(workload) for workload in self._workloads(entry.namespace)]
        selected: list[Mapping[str, str]] = [labels for labels in found if wanted.items() <= labels.items()]
        return selected or None

    def _workloads(self, namespace: str) -> Iterator[Resource]:
        for kind in ("Pod", "WorkloadEntry"):
            yield from (one for one in self._picture.of(kind) if one.namespace == namespace)


def _conflicting_protocols(picture: Picture) -> list[Diagnostic]:
    """One host and port can speak one protocol only."""
    first: dict[tuple[str, int], tuple[str, Resource]] = {}
    diagnostics: list[Diagnostic] = []
    for entry in picture.of("ServiceEntry"):
        findings = Findings(entry)
        for index, port in enumerate(entry.spec.ports):
            protocol = port.protocol.upper()
            for host in entry.spec.hosts:
                known, other = first.setdefault((host.lower(), port.number), (protocol, entry))
                if known != protocol:
                    message = (
                        f"port {port.number} of {host} is {protocol or 'unnamed'} here and {known or 'unnamed'} in {other.key}"
                    )
                    findings.warn(f"spec.ports[{index}].protocol", message, TWO_PROTOCOLS)
        diagnostics += findings.diagnostics
    return diagnostics


def _workload_labels(workload: Resource) -> dict[str, str]:
    own = workload.spec.labels if workload.kind == "WorkloadEntry" else {}
    return {**own, **workload.labels}


def _destinations(service: VirtualService) -> Iterator[tuple[str, Destination]]:
    blocks: tuple[tuple[str, Sequence[HttpRoute | TlsRoute | TcpRoute]], ...] = (
        ("http", service.http),
        ("tls", service.tls),
        ("tcp", service.tcp),
    )
    for block, routes in blocks:
        for index, route in enumerate(routes):
            entries: Sequence[HttpRouteDestination | L4RouteDestination] = route.route
            for position, entry in enumerate(entries):
                destination: Destination | None = entry.destination
                if destination is not None:
                    yield f"spec.{block}[{index}].route[{position}].destination", destination


def _check_ports(findings: Findings, service: VirtualService, services: _Services) -> None:
    for path, destination in _destinations(service):
        if destination.port is not None:
            continue
        found = services.find(destination.host, findings.resource.namespace)
        if found is not None and len(found.spec.ports) > 1:
            numbers = ", ".join(str(port.number if found.kind == "ServiceEntry" else port.port) for port in found.spec.ports)
            message = f"{found.kind} {found.key} has several ports ({numbers}), the destination has to name one"
            findings.error(path, message, PORT_NEEDED)


def _check_claims(findings: Findings, service: VirtualService, picture: Picture) -> None:
    """A claim is known only after a RequestAuthentication has checked the token (G14)."""
    used = [
        f"spec.http[{index}].match[{position}]"
        for index, route in enumerate(service.http)
        for position, match in enumerate(route.match)
        if any(name.startswith(CLAIMS) for name in (*match.headers, *match.without_headers))
    ]
    if used and not any(_is_for_us(policy, picture) for policy in picture.of("RequestAuthentication")):
        findings.error(used[0], "routing by a claim needs a RequestAuthentication for this gateway, there is none", NO_TOKEN)


def _is_for_us(policy: Resource, picture: Picture) -> bool:
    selector = policy.spec.selector
    return policy.namespace == picture.options.namespace and (selector is None or picture.selects_us(selector.match_labels))


def _check_rule(findings: Findings, services: _Services, applied: Set[str]) -> None:
    """``applied``: rules ("name.namespace") of clusters, those among them whose host only --resolve or DNS knows."""
    rule = findings.spec
    namespace = findings.resource.namespace
    if not services.knows(rule.host, namespace):
        if f"{findings.resource.name}.{namespace}" in applied:
            return
        findings.warn("spec.host", f'no Service or ServiceEntry has the host "{rule.host}"', UNKNOWN_HOST)
        return
    service = services.find(rule.host, namespace)
    behind = services.labels_behind(service) if service is not None else None
    if behind is None:
        return
    for index, subset in enumerate(rule.subsets):
        if not any(subset.labels.items() <= labels.items() for labels in behind):
            message = f'subset "{subset.name}" selects no endpoint of {rule.host}'
            findings.error(f"spec.subsets[{index}].labels", message, EMPTY_SUBSET)
