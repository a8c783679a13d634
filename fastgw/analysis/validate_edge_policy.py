"""Rules of EdgePolicy: it is for something, and asks for something. What its targets hold is the compiler's to look at."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.model.kinds.edge_policy import EdgePolicy, TargetRef
from fastgw.model.names import wildcard_problem

_NOTHING = EdgePolicy()


def validate_edge_policy(findings: Findings) -> None:
    spec: EdgePolicy = findings.spec
    if not spec.target_refs:
        findings.error("spec.targetRefs", "no target: name the VirtualService or the Gateway that it is for")
    for index, target in enumerate(spec.target_refs):
        _check_target(findings, f"spec.targetRefs[{index}]", target)
    if all(getattr(spec, name) == getattr(_NOTHING, name) for name in spec.__struct_fields__ if name != "target_refs"):
        findings.warn("spec", "nothing is asked for")
    if spec.sources is not None and not (spec.sources.allow or spec.sources.deny):
        findings.warn("spec.sources", "both lists are empty, so every client is let in")


def _check_target(findings: Findings, path: str, target: TargetRef) -> None:
    if not target.name or "/" in target.name:
        findings.error(f"{path}.name", f'"{target.name}" is no name of an object in the namespace of the policy')
    for index, host in enumerate(target.hosts):
        findings.problem(f"{path}.hosts[{index}]", wildcard_problem(host))
    if target.routes and target.kind == "Gateway":
        findings.error(f"{path}.routes", "a Gateway has no routes: name the VirtualService whose routes they are")
    if any(not name for name in target.routes):
        findings.error(f"{path}.routes", "an empty name")
