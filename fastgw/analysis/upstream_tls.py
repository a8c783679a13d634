"""IST0128 and IST0129: TLS to a destination that does not check whom it talks to."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.destination_rule import ClientTls, TrafficPolicy

DESTINATION, PORT = "IST0128", "IST0129"


def check_upstream_tls(picture: Picture) -> list[Diagnostic]:
    diagnostics: list[Diagnostic] = []
    for rule in picture.of("DestinationRule"):
        findings = Findings(rule)
        _check_policy(findings, "spec.trafficPolicy", rule.spec.traffic_policy)
        for index, subset in enumerate(rule.spec.subsets):
            _check_policy(findings, f"spec.subsets[{index}].trafficPolicy", subset.traffic_policy)
        diagnostics += findings.diagnostics
    return diagnostics


def _check_policy(findings: Findings, path: str, policy: TrafficPolicy | None) -> None:
    if policy is None:
        return
    if _unchecked(policy.tls):
        findings.warn(f"{path}.tls", _words(policy.tls), DESTINATION)
    for index, port in enumerate(policy.port_level_settings):
        if _unchecked(port.tls):
            findings.warn(f"{path}.portLevelSettings[{index}].tls", _words(port.tls), PORT)


def _unchecked(tls: ClientTls | None) -> bool:
    """A credential may hold the CA, so it is not counted here (Istio's analyzer does, and is wrong then)."""
    return tls is not None and tls.mode in ("SIMPLE", "MUTUAL") and not tls.ca_certificates and not tls.credential_name


def _words(tls: ClientTls | None) -> str:
    mode = tls.mode if tls is not None else ""
    return f"{mode} without caCertificates: the server's certificate is checked against the system's authorities only"
