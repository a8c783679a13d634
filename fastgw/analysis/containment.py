"""How far one mistake reaches: a wrong match or http route of a VirtualService costs that rule, a wrong server of a Gateway that
server, a wrong endpoint of a ServiceEntry that endpoint, a wrong block or subset of a DestinationRule that one
(``fastgw.analysis.rule_parts``), anything else the object.

A wrong match never matches; a wrong http route keeps its matches and is answered 503, since the next rule may be one that its
author wanted to keep such requests away from.
"""

from __future__ import annotations

import math
import re
from typing import Any

from fastgw.analysis.rule_parts import parts_of_rule
from fastgw.model.diagnostic import ERROR, Diagnostic

_MATCH = re.compile(r"spec\.http\[\d+\]\.match\[\d+\]")
_ROUTE = re.compile(r"spec\.http\[\d+\]")
_SERVER = re.compile(r"spec\.servers\[\d+\]")
_ENDPOINT = re.compile(r"spec\.endpoints\[\d+\]")
_PARTS = {"VirtualService": (_MATCH, _ROUTE), "Gateway": (_SERVER,), "ServiceEntry": (_ENDPOINT,)}


def broken_parts(kind: str, findings: list[Diagnostic], spec: Any, value: Any) -> frozenset[str] | None:
    """The parts that the errors among ``findings`` are about; None when they cost the whole object.

    ``value``: the spec as it was read, before anything was taken out.
    """
    broken = parts_with_errors(kind, findings, value)
    if broken is None or kind not in _PARTS:
        return broken
    lost = len([part for part in broken if not _MATCH.fullmatch(part)])
    return None if broken and lost >= _count(kind, spec) else broken


def _count(kind: str, spec: Any) -> float:
    """How many parts there are; an entry of fixed addresses without any is one that answers 503, not one that asks DNS."""
    if kind == "ServiceEntry":
        return math.inf if spec.resolution == "STATIC" else len(spec.endpoints)
    return len(spec.http) if kind == "VirtualService" else len(spec.servers)


def parts_with_errors(kind: str, findings: list[Diagnostic], value: Any) -> frozenset[str] | None:
    """The same, even when nothing remains beside them."""
    errors = [found.path for found in findings if found.severity == ERROR]
    if kind == "DestinationRule":
        return parts_of_rule(value, errors)
    if errors and kind not in _PARTS:
        return None
    parts = [part_of(kind, path) for path in errors]
    return None if None in parts else frozenset(part for part in parts if part is not None)


def part_of(kind: str, path: str) -> str | None:
    """The part of a VirtualService or a Gateway that ``path`` lies in, None for the whole object."""
    found = next(filter(None, (pattern.match(path) for pattern in _PARTS[kind])), None)
    return found.group() if found else None


def lies_in(path: str, part: str) -> bool:
    return path == part or path.startswith((f"{part}.", f"{part}["))
