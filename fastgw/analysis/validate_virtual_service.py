"""Rules of a VirtualService as a whole: hosts, gateways, delegation (fields.md, section 2). Its routes have files of their own."""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_export_to
from fastgw.analysis.validate_http_route import check_http_route
from fastgw.analysis.validate_l4_routes import check_tcp_route, check_tls_route
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.names import domain_problem, is_dns_label, is_ip, mesh_sni_host, wildcard_problem
from fastgw.model.paths import join_key

MESH = "mesh"
_INTERNAL_ANNOTATIONS = ("internal.istio.io/parents", "internal.istio.io/route-semantics")


def validate_virtual_service(findings: Findings) -> None:
    service: VirtualService = findings.spec
    in_mesh = not service.gateways or MESH in service.gateways
    for annotation in _INTERNAL_ANNOTATIONS:
        if annotation in findings.resource.annotations:
            findings.error(join_key("metadata.annotations", annotation), "an annotation that is not for users to write")
    if not service.hosts:
        _check_delegate(findings, service)
    else:
        _check_hosts(findings, service.hosts, in_mesh)
    check_gateway_names(findings, "spec.gateways", service.gateways)
    check_export_to(findings, service.export_to)
    if not (service.http or service.tls or service.tcp):
        findings.error("spec", "it has no http, tls or tcp routes")
    for index, route in enumerate(service.http):
        check_http_route(findings, f"spec.http[{index}]", route, in_mesh and bool(service.hosts))
    for index, tls in enumerate(service.tls):
        check_tls_route(findings, f"spec.tls[{index}]", tls, service.hosts)
    for index, tcp in enumerate(service.tcp):
        check_tcp_route(findings, f"spec.tcp[{index}]", tcp)


def check_gateway_names(findings: Findings, path: str, names: Sequence[str]) -> None:
    """``name`` or ``namespace/name``; patterns are not names."""
    for index, name in enumerate(names):
        here = f"{path}[{index}]"
        namespace, slash, own = name.rpartition("/")
        if slash:
            if not is_dns_label(namespace) or not is_dns_label(own):
                findings.error(here, f'"{name}" is not namespace/name of a Gateway')
        elif domain_problem(name):
            findings.error(here, f'"{name}" is no name of a Gateway')
        elif "." in name:
            findings.warn(here, f'"{name}": name a Gateway of another namespace as namespace/name')


def _check_delegate(findings: Findings, service: VirtualService) -> None:
    """Without hosts it is for others to delegate to (F2)."""
    for field, value in (("gateways", service.gateways), ("tls", service.tls), ("tcp", service.tcp)):
        if value:
            findings.error(f"spec.{field}", f"without hosts it is a delegate, which has no {field}")


def _check_hosts(findings: Findings, hosts: Sequence[str], in_mesh: bool) -> None:
    for index, host in enumerate(hosts):
        problem = wildcard_problem(host)
        if host == "*" and in_mesh:
            problem = '"*" is not allowed in the mesh, which is meant when gateways is absent or names it'
        elif problem and (is_ip(host) or not wildcard_problem(mesh_sni_host(host))):
            problem = ""
        findings.problem(f"spec.hosts[{index}]", problem)
    _check_overlap(findings, hosts)


def _check_overlap(findings: Findings, hosts: Sequence[str]) -> None:
    """No host may be covered by another one of the same VirtualService."""
    first: dict[str, int] = {}
    odd = [host[1:].lower() for host in hosts if host.startswith("*") and not host.startswith("*.") and host != "*"]
    for index, host in enumerate(hosts):
        name = host.lower()
        if first.setdefault(name, index) != index:
            findings.error(f"spec.hosts[{index}]", f'"{host}" is there twice')
    for index, host in enumerate(hosts):
        covering = _covering(host.lower(), first, odd)
        if covering:
            findings.error(f"spec.hosts[{index}]", f'"{host}" is covered by "{covering}" already')


def _covering(host: str, hosts: dict[str, int], odd: Sequence[str]) -> str:
    """Another host of the list that stands for all that ``host`` stands for, or ""."""
    if "*" in hosts and host != "*":
        return "*"
    tail = host[1:] if host.startswith("*") else host
    dot = tail.find(".", 1)
    while dot > 0:
        if f"*{tail[dot:]}" in hosts:
            return f"*{tail[dot:]}"
        dot = tail.find(".", dot + 1)
    return next((f"*{suffix}" for suffix in odd if tail.endswith(suffix) and len(tail) > len(suffix)), "")
