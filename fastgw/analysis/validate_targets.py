"""Which workloads a policy is for: a selector or targetRefs, the same rules for every policy kind."""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_many, check_selector
from fastgw.model.kinds.base import LabelSelector
from fastgw.model.kinds.policy import TargetRef

TARGETS = 16


def check_targets(
    findings: Findings, selector: LabelSelector | None, target_ref: TargetRef | None, target_refs: Sequence[TargetRef]
) -> None:
    given = [name for name, value in (("selector", selector), ("targetRef", target_ref), ("targetRefs", target_refs)) if value]
    if len(given) > 1:
        findings.error(f"spec.{given[1]}", f"{' and '.join(given)} exclude each other")
    check_selector(findings, "spec.selector", selector)
    check_many(findings, "spec.targetRefs", target_refs, TARGETS)
    references = [("spec.targetRef", target_ref)] if target_ref else []
    for path, reference in [*references, *((f"spec.targetRefs[{index}]", item) for index, item in enumerate(target_refs))]:
        if not reference.kind or not reference.name:
            findings.error(path, "a target needs kind and name")
        if reference.namespace and reference.namespace != findings.resource.namespace:
            findings.error(f"{path}.namespace", "a target has to be in the namespace of the policy")
