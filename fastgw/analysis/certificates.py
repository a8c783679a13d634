"""FGW0033 and FGW0034: certificates that are not valid now or soon, and names that they do not cover."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from fastgw.analysis.findings import Findings
from fastgw.analysis.plan_hosts import enumerate_hosts

VALIDITY, NAMES = "FGW0033", "FGW0034"
SOON = timedelta(days=30)


class Certificate(NamedTuple):
    """What is looked at of a certificate. ``names``: lower case, the DNS names and addresses it is for."""

    begins: datetime
    ends: datetime
    names: frozenset[str]


def check_certificate(findings: Findings, path: str, what: str, pem: bytes, hosts: Iterable[str]) -> None:
    """``what``: how messages call the credential. ``hosts``: of the server, names without their namespaces."""
    certificate = read_certificate(pem)
    if certificate is None:
        return
    problem = _validity_problem(certificate, datetime.now(UTC))
    if problem:
        findings.warn(path, f"{what}: the certificate {problem}", VALIDITY)
    bare = [host for host in hosts if host != "*" and not is_covered(host, certificate.names)]
    if bare:
        own = enumerate_hosts(sorted(certificate.names)) or "no name at all"
        findings.warn(path, f"{what}: the certificate is for {own}, not for {enumerate_hosts(bare)}", NAMES)


def _validity_problem(certificate: Certificate, now: datetime) -> str:
    if now > certificate.ends:
        return f"has expired on {certificate.ends:%Y-%m-%d}"
    if now < certificate.begins:
        return f"is not valid before {certificate.begins:%Y-%m-%d %H:%M} UTC"
    if certificate.ends - now <= SOON:
        return f"expires on {certificate.ends:%Y-%m-%d}, in {(certificate.ends - now).days} days"
    return ""


def is_covered(host: str, names: Iterable[str]) -> bool:
    """RFC 9525, section 6.3: the wildcard of a certificate stands for one label. A wildcard host needs the same wildcard."""
    host = host.lower()
    if host in names:
        return True
    label, dot, parent = host.partition(".")
    return bool(label and dot and label != "*" and f"*.{parent}" in names)


@lru_cache(maxsize=4096)
def read_certificate(pem: bytes) -> Certificate | None:
    """The first certificate of a chain; None when it cannot be read."""
    from cryptography import x509

    try:
        chain = x509.load_pem_x509_certificates(pem)
        names = _names_of(chain[0])
        return Certificate(chain[0].not_valid_before_utc, chain[0].not_valid_after_utc, names)
    except (ValueError, x509.DuplicateExtension):
        return None


def _names_of(certificate: object) -> frozenset[str]:
    from cryptography import x509

    assert isinstance(certificate, x509.Certificate)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    names = alternative.get_values_for_type(x509.DNSName)
    addresses = alternative.get_values_for_type(x509.IPAddress)
    return frozenset((*(name.lower() for name in names), *map(str, addresses)))
