"""Rules of an AuthorizationPolicy (fields.md, section 7)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastgw.analysis.findings import Findings
from fastgw.analysis.validate_targets import check_targets
from fastgw.model.kinds.authorization_policy import AuthorizationPolicy, Condition, Operation, Rule, Source
from fastgw.model.names import is_ip_or_network
from fastgw.model.paths import join_key

DRY_RUN = "istio.io/dry-run"
_CUSTOM_FORBIDS = ("principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains")
_CUSTOM_KEYS = ("source.namespace", "source.principal", "request.auth.")
_KEYS = re.compile(
    r"request\.headers\[[^\]]+\]|source\.(ip|namespace|principal)|remote\.ip|request\.auth\.(principal|audiences|presenter)"
    r"|request\.auth\.claims(\[[^\]]+\])+|destination\.(ip|port)|connection\.sni|experimental\.envoy\.filters\..+"
)
_TEMPLATE = re.compile(r"(/([^/{}*]*|\{\*\}))*(/\{\*\*\}(/[^/{}*]+)*)?")


def validate_authorization_policy(findings: Findings) -> None:
    policy: AuthorizationPolicy = findings.spec
    check_targets(findings, policy.selector, policy.target_ref, policy.target_refs)
    _check_provider(findings, policy)
    dry_run = findings.resource.annotations.get(DRY_RUN)
    if dry_run is not None and dry_run.lower() not in ("true", "false"):
        findings.error(join_key("metadata.annotations", DRY_RUN), f'"{dry_run}" is neither true nor false')
    if policy.action == "DENY" and not policy.rules:
        findings.warn("spec", "DENY without rules denies nothing")
    for index, rule in enumerate(policy.rules or ()):
        path = f"spec.rules[{index}]"
        _check_rule(findings, path, rule, policy.action)
        if policy.action == "DENY" and _http_only(rule):
            message = "what is only about HTTP denies everything on ports that speak TCP; name the ports as well"
            findings.warn(path, message)


def _check_provider(findings: Findings, policy: AuthorizationPolicy) -> None:
    if policy.action == "CUSTOM":
        if policy.provider is None or not policy.provider.name:
            findings.error("spec.action", "CUSTOM needs a provider")
        if not policy.rules:
            findings.error("spec", "CUSTOM without rules never asks the provider")
    elif policy.provider is not None:
        findings.error("spec.provider", f"a provider is asked by CUSTOM only, not by {policy.action}")


def _check_rule(findings: Findings, path: str, rule: Rule, action: str) -> None:
    for index, origin in enumerate(rule.from_):
        here = f"{path}.from[{index}]"
        if origin.source is None or not any(_given(origin.source)):
            findings.error(here, "a source has to say something")
        else:
            _check_source(findings, f"{here}.source", origin.source, action)
    for index, target in enumerate(rule.to):
        here = f"{path}.to[{index}]"
        if target.operation is None or not any(_given(target.operation)):
            findings.error(here, "an operation has to say something")
        else:
            _check_operation(findings, f"{here}.operation", target.operation)
    for index, condition in enumerate(rule.when):
        _check_condition(findings, f"{path}.when[{index}]", condition, action)


def _given(part: Source | Operation) -> dict[str, tuple[str, ...]]:
    """The lists that are not empty, by their names in the document."""
    return {
        encoded: getattr(part, name)
        for name, encoded in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True)
        if getattr(part, name)
    }


def _check_source(findings: Findings, path: str, source: Source, action: str) -> None:
    given = _given(source)
    _check_not_empty(findings, path, given)
    for name, values in given.items():
        plain = name.removeprefix("not")
        plain = plain[:1].lower() + plain[1:]
        if action == "CUSTOM" and plain in _CUSTOM_FORBIDS:
            findings.error(f"{path}.{name}", f"CUSTOM cannot look at {name}")
        if plain in ("ipBlocks", "remoteIpBlocks"):
            _check_blocks(findings, f"{path}.{name}", values)
    if source.service_accounts or source.not_service_accounts:
        for other in ("principals", "notPrincipals", "namespaces", "notNamespaces"):
            if other in given:
                findings.error(f"{path}.{other}", f"serviceAccounts and {other} exclude each other")


def _check_operation(findings: Findings, path: str, operation: Operation) -> None:
    given = _given(operation)
    _check_not_empty(findings, path, given)
    for name in ("ports", "notPorts"):
        for index, port in enumerate(given.get(name, ())):
            if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
                findings.error(f"{path}.{name}[{index}]", f'"{port}" is no port')
    for name in ("paths", "notPaths"):
        for index, text in enumerate(given.get(name, ())):
            if ("{" in text or "}" in text) and not _TEMPLATE.fullmatch(text):
                message = f'"{text}" is no path template: {{*}} is one whole segment, {{**}} comes last of its kind'
                findings.error(f"{path}.{name}[{index}]", message)


def _check_condition(findings: Findings, path: str, condition: Condition, action: str) -> None:
    if not _KEYS.fullmatch(condition.key):
        findings.error(f"{path}.key" if condition.key else path, f'"{condition.key}" is no key of a condition')
    if not condition.values and not condition.not_values:
        findings.error(path, "a condition needs values or notValues")
    if action == "CUSTOM" and condition.key.startswith(_CUSTOM_KEYS):
        findings.error(f"{path}.key", f"CUSTOM cannot look at {condition.key}")
    if condition.key in ("source.ip", "remote.ip", "destination.ip"):
        _check_blocks(findings, f"{path}.values", condition.values)
        _check_blocks(findings, f"{path}.notValues", condition.not_values)


def _check_blocks(findings: Findings, path: str, blocks: Sequence[str]) -> None:
    for index, block in enumerate(blocks):
        if not is_ip_or_network(block):
            findings.error(f"{path}[{index}]", f'"{block}" is neither an address nor a network')


def _check_not_empty(findings: Findings, path: str, given: dict[str, tuple[str, ...]]) -> None:
    for name, values in given.items():
        for index, value in enumerate(values):
            if not value:
                findings.error(f"{path}.{name}[{index}]", f"an empty entry in {name}")


def _http_only(rule: Rule) -> bool:
    """Whether all that the rule looks at exists in HTTP only, and no port narrows it."""
    operations = [target.operation for target in rule.to if target.operation is not None]
    looks_at_http = any(
        operation.paths
        or operation.hosts
        or operation.methods
        or operation.not_paths
        or operation.not_hosts
        or operation.not_methods
        for operation in operations
    )
    return looks_at_http and not any(operation.ports for operation in operations)
