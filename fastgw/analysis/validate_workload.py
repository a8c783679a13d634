"""Rules of WorkloadEntry and WorkloadGroup, and of the endpoints of a ServiceEntry (fields.md, section 4)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_labels, check_many, check_port
from fastgw.model.kinds.service_entry import WorkloadEntry, WorkloadGroup
from fastgw.model.names import domain_problem, is_dns_label, is_ip
from fastgw.model.paths import join_key

UNIX = "unix://"


def validate_workload_entry(findings: Findings) -> None:
    check_workload(findings, "spec", findings.spec)


def validate_workload_group(findings: Findings) -> None:
    group: WorkloadGroup = findings.spec
    if group.template is None:
        findings.error("spec", "a WorkloadGroup needs a template")
    else:
        check_labels(findings, "spec.template.labels", group.template.labels)
    if group.metadata is not None:
        check_labels(findings, "spec.metadata.labels", group.metadata.labels)


def check_workload(findings: Findings, path: str, entry: WorkloadEntry) -> None:
    """What holds for every endpoint, whatever the resolution of its ServiceEntry."""
    _check_address(findings, path, entry)
    for name, number in entry.ports.items():
        here = join_key(f"{path}.ports", name)
        if not is_dns_label(name):
            findings.error(here, f'"{name}" is no name of a port (a DNS label)')
        check_port(findings, here, number)
    check_many(findings, f"{path}.labels", entry.labels)
    check_labels(findings, f"{path}.labels", entry.labels)


def _check_address(findings: Findings, path: str, entry: WorkloadEntry) -> None:
    address = entry.address
    if not address:
        if entry.network:
            findings.warn(path, "an entry without an address is reached through its network only, which a gateway cannot")
        else:
            findings.error(path, "an entry needs an address")
    elif address.startswith(UNIX):
        socket = address.removeprefix(UNIX)
        if not socket.startswith(("/", "@")) or len(socket) == 1:
            findings.error(f"{path}.address", "the path of a Unix socket is absolute, or begins with @")
        if entry.ports:
            findings.error(f"{path}.ports", "a Unix socket has no ports")
    elif not is_ip(address):
        findings.problem(f"{path}.address", domain_problem(address))
