"""Rules of a Telemetry (fields.md, section 5)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_ms, check_percent
from fastgw.analysis.validate_targets import check_targets
from fastgw.model.kinds.telemetry import Metrics, Telemetry
from fastgw.model.paths import join_key

_PAIRS = {")": "(", "]": "[", "}": "{"}


def validate_telemetry(findings: Findings) -> None:
    telemetry: Telemetry = findings.spec
    check_targets(findings, telemetry.selector, telemetry.target_ref, telemetry.target_refs)
    for index, metrics in enumerate(telemetry.metrics):
        _check_metrics(findings, f"spec.metrics[{index}]", metrics)
    for index, logging in enumerate(telemetry.access_logging):
        if logging.filter is not None:
            path = f"spec.accessLogging[{index}].filter"
            findings.problem(f"{path}.expression" if logging.filter.expression else path, cel_problem(logging.filter.expression))
    for index, tracing in enumerate(telemetry.tracing):
        if tracing.random_sampling_percentage is not None:
            path = f"spec.tracing[{index}].randomSamplingPercentage"
            check_percent(findings, path, tracing.random_sampling_percentage)
        if len(tracing.providers) > 1:
            findings.warn(f"spec.tracing[{index}].providers", "several providers of traces: the first one is used")
    if len(telemetry.tracing) > 1:
        findings.warn("spec.tracing", "several entries: the first one is used")


def _check_metrics(findings: Findings, path: str, metrics: Metrics) -> None:
    check_ms(findings, f"{path}.reportingInterval", metrics.reporting_interval)
    for index, override in enumerate(metrics.overrides):
        here = f"{path}.overrides[{index}]"
        if override.match is not None and override.match.metric is not None and override.match.custom_metric is not None:
            findings.error(f"{here}.match", "metric and customMetric exclude each other")
        for tag, change in override.tag_overrides.items():
            at = join_key(f"{here}.tagOverrides", tag)
            if change.operation == "REMOVE" and change.value:
                findings.error(at, "a tag that is removed has no value")
            elif change.operation == "UPSERT" and not change.value:
                findings.error(at, "a tag that is set needs a value")


def cel_problem(text: str) -> str:
    """Whether a text can be CEL at all: brackets and quotes close, it neither is empty nor ends in an operator."""
    opened: list[str] = []
    quote = ""
    escaped = False
    for char in text:
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in "([{":
            opened.append(char)
        elif char in _PAIRS and (not opened or opened.pop() != _PAIRS[char]):
            return f'"{text}" is no CEL expression: "{char}" closes nothing'
    if quote or opened:
        return f'"{text}" is no CEL expression: {quote or opened[-1]} is not closed'
    if not text.strip() or text.rstrip()[-1] in "&|=<>+-*/%!?:.,":
        return f'"{text}" is no CEL expression'
    return ""
