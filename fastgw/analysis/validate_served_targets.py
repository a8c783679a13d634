"""What the targets of our own policies have to look like: VirtualServices and Gateways, some of their hosts or routes."""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.analysis.findings import Findings
from fastgw.model.kinds.edge_policy import TargetRef
from fastgw.model.names import wildcard_problem


def check_served_targets(findings: Findings, targets: Sequence[TargetRef]) -> None:
    if not targets:
        findings.error("spec.targetRefs", "no target: name the VirtualService or the Gateway that it is for")
    for index, target in enumerate(targets):
        _check_target(findings, f"spec.targetRefs[{index}]", target)


def _check_target(findings: Findings, path: str, target: TargetRef) -> None:
    if not target.name or "/" in target.name:
        findings.error(f"{path}.name", f'"{target.name}" is no name of an object in the namespace of the policy')
    for index, host in enumerate(target.hosts):
        findings.problem(f"{path}.hosts[{index}]", wildcard_problem(host))
    if target.routes and target.kind == "Gateway":
        findings.error(f"{path}.routes", "a Gateway has no routes: name the VirtualService whose routes they are")
    if any(not name for name in target.routes):
        findings.error(f"{path}.routes", "an empty name")
