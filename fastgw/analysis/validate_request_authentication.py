"""Rules of a RequestAuthentication (fields.md, section 6)."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_ms
from fastgw.analysis.validate_targets import check_targets
from fastgw.model.kinds.request_authentication import JwtRule, RequestAuthentication
from fastgw.model.names import is_token


def validate_request_authentication(findings: Findings) -> None:
    policy: RequestAuthentication = findings.spec
    check_targets(findings, policy.selector, policy.target_ref, policy.target_refs)
    for index, rule in enumerate(policy.jwt_rules):
        path = f"spec.jwtRules[{index}]"
        _check_keys(findings, path, rule)
        _check_places(findings, path, rule)
        check_ms(findings, f"{path}.timeout", rule.timeout)


def _check_keys(findings: Findings, path: str, rule: JwtRule) -> None:
    if not rule.issuer and not rule.jwks_uri:
        findings.error(path, "issuer or jwksUri is needed")
    if rule.jwks and rule.jwks_uri:
        findings.error(f"{path}.jwksUri", "jwks and jwksUri exclude each other")
    if rule.jwks_uri:
        findings.problem(f"{path}.jwksUri", _url_problem(rule.jwks_uri))
    if rule.jwks:
        findings.problem(f"{path}.jwks", _key_set_problem(rule.jwks))


def _check_places(findings: Findings, path: str, rule: JwtRule) -> None:
    """Where a token is looked for, what is asked of it, and where its claims go."""
    lists = (
        ("audiences", rule.audiences),
        ("fromParams", rule.from_params),
        ("fromCookies", rule.from_cookies),
        ("spaceDelimitedClaims", rule.space_delimited_claims),
    )
    for field, values in lists:
        for index, value in enumerate(values):
            if not value:
                findings.error(f"{path}.{field}[{index}]", f"an empty entry in {field}")
    for index, header in enumerate(rule.from_headers):
        if not is_token(header.name):
            findings.error(f"{path}.fromHeaders[{index}]", f'"{header.name}" is no name of a header')
    if rule.output_payload_to_header and not is_token(rule.output_payload_to_header):
        findings.error(f"{path}.outputPayloadToHeader", f'"{rule.output_payload_to_header}" is no name of a header')
    for index, output in enumerate(rule.output_claim_to_headers):
        here = f"{path}.outputClaimToHeaders[{index}]"
        if not is_token(output.header):
            findings.error(f"{here}.header", f'"{output.header}" is no name of a header')
        if not output.claim:
            findings.error(here, "a claim to copy needs a name")


def _url_problem(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    return "" if usable else f'"{text}" is no http or https URL'


def _key_set_problem(text: str) -> str:
    try:
        keys = json.loads(text)
    except ValueError as error:
        return f"the key set is no JSON: {error}"
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        return 'the key set has no list "keys"'
    return ""
