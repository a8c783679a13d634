"""FGW0034: hosts of a server that its certificate does not cover."""

from __future__ import annotations

from collections.abc import Iterable

from fastgw.analysis.findings import Findings
from fastgw.analysis.plan_hosts import enumerate_hosts
from fastgw.credentials.status import Certificate

NAMES = "FGW0034"


def check_names(findings: Findings, path: str, what: str, certificate: Certificate, hosts: Iterable[str]) -> None:
    """``what``: how messages call the credential. ``hosts``: of the server, names without their namespaces."""
    bare = [host for host in hosts if host != "*" and not is_covered(host, certificate.names)]
    if bare:
        own = enumerate_hosts(sorted(certificate.names)) or "no name at all"
        findings.warn(path, f"{what}: the certificate is for {own}, not for {enumerate_hosts(bare)}", NAMES)


def is_covered(host: str, names: Iterable[str]) -> bool:
    """RFC 9525, section 6.3: the wildcard of a certificate stands for one label. A wildcard host needs the same wildcard."""
    host = host.lower()
    if host in names:
        return True
    label, dot, parent = host.partition(".")
    return bool(label and dot and label != "*" and f"*.{parent}" in names)
