"""IST0128 and IST0129: TLS to a destination that does not check whom it talks to; FGW0040: TLS that is left out for a port."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.destination_rule import ClientTls, TrafficPolicy

DESTINATION, PORT, NOT_INHERITED = "IST0128", "IST0129", "FGW0040"


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
        here = f"{path}.portLevelSettings[{index}]"
        if _unchecked(port.tls):
            findings.warn(f"{here}.tls", _words(port.tls), PORT)
        if port.tls is None and policy.tls is not None and policy.tls.mode != "DISABLE":
            number = port.port.number if port.port is not None else 0
            message = f"settings of a port inherit nothing: without a tls block here port {number} is spoken to in plain text"
            findings.warn(here, message, NOT_INHERITED)


def _unchecked(tls: ClientTls | None) -> bool:
    """A credential may hold the CA, so it is not counted here (Istio's analyzer does, and is wrong then)."""
    if tls is None or tls.mode not in ("SIMPLE", "MUTUAL"):
        return False
    return bool(tls.insecure_skip_verify) or not (tls.ca_certificates or tls.credential_name)


def _words(tls: ClientTls | None) -> str:
    mode = tls.mode if tls is not None else ""
    if tls is not None and tls.insecure_skip_verify:
        return f"{mode} with insecureSkipVerify: whoever answers at the address is taken for the destination"
    return f"{mode} without caCertificates: the server's certificate is checked against the system's authorities only"
