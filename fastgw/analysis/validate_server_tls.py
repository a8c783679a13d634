"""Rules of a server's tls block (fields.md, section 1.3)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.model.kinds.gateway import ServerTls
from fastgw.model.tls_names import CIPHER_SUITES

_CLIENT_CERTIFICATES = ("MUTUAL", "OPTIONAL_MUTUAL")
_OLD_VERSIONS = ("TLSV1_0", "TLSV1_1")
_SOURCES = ("credentialName", "credentialNames", "serverCertificate", "tlsCertificates")


def check_server_tls(findings: Findings, path: str, tls: ServerTls) -> None:
    """``path`` is that of the block. The protocol of the port has been judged already."""
    _check_versions(findings, path, tls)
    sources = _certificate_sources(tls)
    if tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
        unused = [*sources, *(["caCertificates"] if tls.ca_certificates else []), *(["caCrl"] if tls.ca_crl else [])]
        if unused:
            missing = "" if findings.given(f"{path}.mode") else ", which it is because mode is missing"
            findings.warn(f"{path}.{unused[0]}", f"{unused[0]} is not used in {tls.mode} mode{missing}")
        return
    if tls.mode == "ISTIO_MUTUAL":
        given = [*sources, *(["caCertificates"] if tls.ca_certificates else [])]
        if given:
            findings.error(f"{path}.{given[0]}", f"ISTIO_MUTUAL takes its certificates from the mesh, not from {given[0]}")
        return
    _check_certificates(findings, path, tls, sources)


def _certificate_sources(tls: ServerTls) -> list[str]:
    values = (tls.credential_name, tls.credential_names, tls.server_certificate or tls.private_key, tls.tls_certificates)
    return [name for name, value in zip(_SOURCES, values, strict=True) if value]


def _check_certificates(findings: Findings, path: str, tls: ServerTls, sources: list[str]) -> None:
    """SIMPLE, MUTUAL and OPTIONAL_MUTUAL: one source of certificates, complete."""
    if len(sources) > 1:
        findings.error(f"{path}.{sources[1]}", f"{' and '.join(sources)} exclude each other")
        return
    if not sources:
        findings.error(path, f"{tls.mode} needs a certificate: credentialName, or serverCertificate and privateKey")
        return
    if len(tls.credential_names) > 2:
        findings.error(f"{path}.credentialNames", "two credentials are the most")
    if tls.credential_name or tls.credential_names:
        return
    _check_files(findings, path, tls)
    if tls.mode in _CLIENT_CERTIFICATES and not tls.ca_certificates:
        findings.error(path, f"{tls.mode} with files needs caCertificates to check clients against")
    if tls.mode == "SIMPLE" and tls.ca_crl:
        findings.error(f"{path}.caCrl", "SIMPLE asks for no client certificate that a revocation list could be for")


def _check_files(findings: Findings, path: str, tls: ServerTls) -> None:
    if len(tls.tls_certificates) > 2:
        findings.warn(f"{path}.tlsCertificates", "more than two certificates: the first two are used")
    for index, pair in enumerate(tls.tls_certificates):
        if not pair.server_certificate or not pair.private_key:
            findings.error(f"{path}.tlsCertificates[{index}]", "serverCertificate and privateKey are needed both")
    if not tls.tls_certificates and not (tls.server_certificate and tls.private_key):
        missing = "privateKey" if tls.server_certificate else "serverCertificate"
        findings.error(path, f"serverCertificate and privateKey are needed both, {missing} is missing")


def _check_versions(findings: Findings, path: str, tls: ServerTls) -> None:
    if tls.min_protocol_version in _OLD_VERSIONS and not tls.cipher_suites:
        message = f"{tls.min_protocol_version} needs cipherSuites that fit it, the default ones do not"
        findings.warn(f"{path}.minProtocolVersion", message)
    seen: set[str] = set()
    for index, suite in enumerate(tls.cipher_suites):
        if suite not in CIPHER_SUITES:
            findings.warn(f"{path}.cipherSuites[{index}]", f'"{suite}" is no cipher suite that is known, it is left out')
        elif suite in seen:
            findings.warn(f"{path}.cipherSuites[{index}]", f'"{suite}" is there twice')
        seen.add(suite)
