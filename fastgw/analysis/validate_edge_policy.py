"""Rules of EdgePolicy: it is for something, and asks for something. What its targets hold is the compiler's to look at."""

from __future__ import annotations

import re

from fastgw.analysis.findings import Findings
from fastgw.analysis.validate_served_targets import check_served_targets
from fastgw.model.duration import parse_ns
from fastgw.model.kinds.edge_policy import EdgePolicy, RateKey, RateLimit
from fastgw.model.names import is_token

MOST_LIMITS = 8
SHORTEST_NS, LONGEST_NS = 1_000_000, 24 * 3600 * 1_000_000_000
LONGEST_FILL_NS = 366 * LONGEST_NS
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOTHING = EdgePolicy()


def validate_edge_policy(findings: Findings) -> None:
    spec: EdgePolicy = findings.spec
    check_served_targets(findings, spec.target_refs)
    _check_limits(findings, spec.rate_limits or ())
    if all(getattr(spec, name) == getattr(_NOTHING, name) for name in spec.__struct_fields__ if name != "target_refs"):
        findings.warn("spec", "nothing is asked for")
    if spec.sources is not None and not (spec.sources.allow or spec.sources.deny):
        findings.warn("spec.sources", "both lists are empty, so every client is let in")


def _check_limits(findings: Findings, limits: tuple[RateLimit, ...]) -> None:
    seen: set[str] = set()
    if len(limits) > MOST_LIMITS:
        findings.error("spec.rateLimits", f"{len(limits)} limits, the most is {MOST_LIMITS}")
    for index, limit in enumerate(limits):
        path = f"spec.rateLimits[{index}]"
        if not _NAME.fullmatch(limit.name):
            findings.error(f"{path}.name", f'"{limit.name}" is not made of at most 64 letters, digits, ".", "_" and "-"')
        if limit.name in seen:
            findings.error(f"{path}.name", f'another limit has the name "{limit.name}"')
        seen.add(limit.name)
        _check_rate(findings, path, limit)
        for position, key in enumerate(limit.by):
            _check_key(findings, f"{path}.by[{position}]", key)


def _check_rate(findings: Findings, path: str, limit: RateLimit) -> None:
    per_ns = parse_ns(limit.per)
    if not SHORTEST_NS <= per_ns <= LONGEST_NS:
        findings.error(f"{path}.per", f'"{limit.per}" is not between 1ms and 24h')
    elif per_ns < limit.requests:
        findings.error(f"{path}.requests", f"{limit.requests} requests in {limit.per} are more than one a nanosecond")
    elif per_ns // limit.requests * (limit.burst or limit.requests) > LONGEST_FILL_NS:
        findings.error(f"{path}.burst", "a bucket of so many requests would take more than a year to fill")


def _check_key(findings: Findings, path: str, key: RateKey) -> None:
    if (key.source_address is None) == (not key.header):
        findings.error(path, "it is one of sourceAddress and header")
    elif key.header and not is_token(key.header):
        findings.error(f"{path}.header", f'"{key.header}" is no name of a header')
