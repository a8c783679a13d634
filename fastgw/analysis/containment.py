"""How far one mistake reaches: a wrong match or http route of a VirtualService costs that rule, anything else the object.

A wrong match never matches; a wrong http route keeps its matches and is answered 503, since the next rule may be one that its
author wanted to keep such requests away from.
"""

from __future__ import annotations

import re

from fastgw.model.diagnostic import ERROR, Diagnostic

_MATCH = re.compile(r"spec\.http\[\d+\]\.match\[\d+\]")
_ROUTE = re.compile(r"spec\.http\[\d+\]")


def broken_parts(kind: str, findings: list[Diagnostic], routes: int) -> frozenset[str] | None:
    """The parts that the errors among ``findings`` are about; None when they cost the whole object (of ``routes`` http routes)."""
    errors = [found.path for found in findings if found.severity == ERROR]
    if not errors:
        return frozenset()
    if kind != "VirtualService":
        return None
    parts: set[str] = set()
    for path in errors:
        found = _MATCH.match(path) or _ROUTE.match(path)
        if found is None:
            return None
        parts.add(found.group())
    if len({part for part in parts if _ROUTE.fullmatch(part)}) >= routes:
        return None
    return frozenset(parts)
