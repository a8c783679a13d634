"""How far one mistake reaches: a wrong match or http route of a VirtualService costs that rule, a wrong server of a Gateway that
server, anything else the object.

A wrong match never matches; a wrong http route keeps its matches and is answered 503, since the next rule may be one that its
author wanted to keep such requests away from.
"""

from __future__ import annotations

import re
from typing import Any

from fastgw.model.diagnostic import ERROR, Diagnostic

_MATCH = re.compile(r"spec\.http\[\d+\]\.match\[\d+\]")
_ROUTE = re.compile(r"spec\.http\[\d+\]")
_SERVER = re.compile(r"spec\.servers\[\d+\]")
_PARTS = {"VirtualService": (_MATCH, _ROUTE), "Gateway": (_SERVER,)}


def broken_parts(kind: str, findings: list[Diagnostic], spec: Any) -> frozenset[str] | None:
    """The parts that the errors among ``findings`` are about; None when they cost the whole object."""
    errors = [found.path for found in findings if found.severity == ERROR]
    if not errors:
        return frozenset()
    if kind not in _PARTS:
        return None
    parts = [_part_of(path, _PARTS[kind]) for path in errors]
    whole = len(spec.http) if kind == "VirtualService" else len(spec.servers)
    broken = frozenset(part for part in parts if part is not None)
    if None in parts or len([part for part in broken if not _MATCH.fullmatch(part)]) >= whole:
        return None
    return broken


def _part_of(path: str, patterns: tuple[re.Pattern[str], ...]) -> str | None:
    found = next(filter(None, (pattern.match(path) for pattern in patterns)), None)
    return found.group() if found else None
