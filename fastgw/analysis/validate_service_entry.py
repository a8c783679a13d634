"""Rules of a ServiceEntry (fields.md, section 4)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import (
    HTTP_PROTOCOLS,
    PORT_MAX,
    PROTOCOLS,
    TLS_PROTOCOLS,
    check_export_to,
    check_labels,
    check_many,
    check_port,
)
from fastgw.analysis.validate_workload import UNIX, check_workload
from fastgw.model.kinds.service_entry import ServiceEntry, WorkloadEntry
from fastgw.model.names import domain_problem, is_dns_label, is_ip, is_ip_or_network, wildcard_problem

_BY_NAME = ("DNS", "DNS_ROUND_ROBIN")


def validate_service_entry(findings: Findings) -> None:
    entry: ServiceEntry = findings.spec
    _check_hosts(findings, entry)
    _check_ports(findings, entry)
    _check_addresses(findings, entry)
    if entry.endpoints and entry.workload_selector is not None:
        findings.error("spec.workloadSelector", "endpoints and workloadSelector exclude each other")
    if entry.workload_selector is not None:
        check_labels(findings, "spec.workloadSelector.labels", entry.workload_selector.labels)
    for index, endpoint in enumerate(entry.endpoints):
        check_workload(findings, f"spec.endpoints[{index}]", endpoint)
    _check_resolution(findings, entry)
    check_export_to(findings, entry.export_to, nowhere=True)


def _check_hosts(findings: Findings, entry: ServiceEntry) -> None:
    if not entry.hosts:
        findings.error("spec.hosts" if findings.given("spec.hosts") else "spec", "a ServiceEntry needs at least one host")
    check_many(findings, "spec.hosts", entry.hosts)
    for index, host in enumerate(entry.hosts):
        path = f"spec.hosts[{index}]"
        if host == "*":
            findings.error(path, '"*" is too much, name the hosts')
            continue
        findings.problem(path, wildcard_problem(host))
        if host.startswith("*") and not host.startswith("*."):
            findings.warn(path, f'"{host}": a star that is only a part of a label matches nothing when used as a wildcard')


def _check_ports(findings: Findings, entry: ServiceEntry) -> None:
    check_many(findings, "spec.ports", entry.ports)
    numbers: set[int] = set()
    names: set[str] = set()
    for index, port in enumerate(entry.ports):
        path = f"spec.ports[{index}]"
        check_port(findings, f"{path}.number", port.number)
        if port.number in numbers:
            findings.error(f"{path}.number", f"port {port.number} is there twice")
        if port.name in names:
            findings.error(f"{path}.name", f'the port name "{port.name}" is there twice')
        if not is_dns_label(port.name):
            findings.error(f"{path}.name", f'"{port.name}" is no name of a port (a DNS label)')
        if port.protocol and port.protocol.upper() not in PROTOCOLS:
            findings.error(f"{path}.protocol", f'"{port.protocol}" is no protocol, known are {", ".join(sorted(PROTOCOLS))}')
        if port.target_port > PORT_MAX:
            findings.error(f"{path}.targetPort", f"{port.target_port} is no port, they go from 1 to {PORT_MAX}")
        numbers.add(port.number)
        names.add(port.name)


def _check_addresses(findings: Findings, entry: ServiceEntry) -> None:
    check_many(findings, "spec.addresses", entry.addresses)
    for index, address in enumerate(entry.addresses):
        path = f"spec.addresses[{index}]"
        if not is_ip_or_network(address):
            findings.error(path, f'"{address}" is neither an address nor a network')
        elif not is_ip(address) and entry.resolution not in ("NONE", "STATIC"):
            findings.error(path, f"a network as address needs resolution NONE or STATIC, not {entry.resolution}")
    protocols = {port.protocol.upper() for port in entry.ports}
    if entry.resolution != "NONE" and entry.addresses and len(entry.hosts) > 1 and protocols - HTTP_PROTOCOLS:
        findings.warn("spec.hosts", "several hosts share an address on a port that is not plain HTTP: they cannot be told apart")
    if not entry.addresses and protocols & {"", "TCP"}:
        findings.note("spec", "a TCP port without addresses: sidecars could not tell its connections, a gateway can", "IST0134")


def _check_resolution(findings: Findings, entry: ServiceEntry) -> None:
    if entry.resolution == "NONE":
        if entry.endpoints:
            findings.error("spec.endpoints", "resolution NONE takes no endpoints")
        if entry.workload_selector is not None:
            findings.warn("spec.workloadSelector", "a selector does nothing with resolution NONE")
    elif entry.resolution == "STATIC":
        _check_static(findings, entry)
    elif entry.resolution == "DYNAMIC_DNS":
        _check_dynamic(findings, entry)
    else:
        _check_by_name(findings, entry)


def _check_static(findings: Findings, entry: ServiceEntry) -> None:
    for index, endpoint in enumerate(entry.endpoints):
        path = f"spec.endpoints[{index}]"
        if endpoint.address.startswith(UNIX):
            if len(entry.ports) > 1:
                findings.error(f"{path}.address", "a Unix socket serves one port, the ServiceEntry has several")
        elif endpoint.address and not is_ip(endpoint.address):
            findings.error(f"{path}.address", f'"{endpoint.address}" is no IP address, which resolution STATIC needs')
        _check_endpoint_ports(findings, path, entry, endpoint)


def _check_by_name(findings: Findings, entry: ServiceEntry) -> None:
    if not entry.endpoints:
        for index, host in enumerate(entry.hosts):
            if domain_problem(host) and not is_ip(host) and host != "*":
                message = f'"{host}" cannot be asked of DNS; name endpoints, or use resolution DYNAMIC_DNS'
                findings.error(f"spec.hosts[{index}]", message)
    if entry.resolution == "DNS_ROUND_ROBIN" and len(entry.endpoints) > 1:
        findings.error("spec.endpoints", "DNS_ROUND_ROBIN takes one endpoint at most")
    for index, endpoint in enumerate(entry.endpoints):
        path = f"spec.endpoints[{index}]"
        if endpoint.address.startswith(UNIX):
            findings.error(f"{path}.address", f"a Unix socket needs resolution STATIC, not {entry.resolution}")
        _check_endpoint_ports(findings, path, entry, endpoint)


def _check_endpoint_ports(findings: Findings, path: str, entry: ServiceEntry, endpoint: WorkloadEntry) -> None:
    known = {port.name for port in entry.ports}
    for name in endpoint.ports:
        if name not in known:
            findings.error(f"{path}.ports.{name}", f'the ServiceEntry has no port "{name}"')


def _check_dynamic(findings: Findings, entry: ServiceEntry) -> None:
    """Names are resolved as they are asked for: wildcards without endpoints, on ports whose protocol tells the name."""
    if entry.endpoints:
        findings.error("spec.endpoints", "DYNAMIC_DNS takes no endpoints")
    if entry.addresses:
        findings.error("spec.addresses", "DYNAMIC_DNS takes no addresses")
    if entry.location == "MESH_INTERNAL":
        findings.error("spec.location", "DYNAMIC_DNS is for hosts outside the mesh")
    for index, host in enumerate(entry.hosts):
        if not host.startswith("*."):
            findings.error(f"spec.hosts[{index}]", f'DYNAMIC_DNS is for wildcards like "*.example.com", "{host}" is none')
    for index, port in enumerate(entry.ports):
        if port.protocol.upper() not in HTTP_PROTOCOLS | TLS_PROTOCOLS:
            findings.error(f"spec.ports[{index}].protocol", "DYNAMIC_DNS needs a protocol that tells the name: HTTP or TLS")
