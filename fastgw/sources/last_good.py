"""What was served of a file before it broke, kept while it is broken.

An editor that saves half a file, marks of a merge, a misspelt field: none of it takes away what worked a moment ago. Only what
somebody removed on purpose goes: the whole file, or an object from a file whose text can be read. Policies have a memory of their
own (``fastgw/compiler/kept_policies.py``), which also shuts what nothing is known of.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.model.codes import severity_of
from fastgw.model.diagnostic import ERROR, Diagnostic
from fastgw.model.origin import Origin
from fastgw.model.resource import Resource

KEPT, UNKNOWN_KIND = "FGW0017", "FGW0011"
_NAMED = 5


def keep_last_good(
    file: str, before: Sequence[Resource], now: list[Resource], diagnostics: Sequence[Diagnostic]
) -> tuple[list[Resource], list[Diagnostic]]:
    """``now`` with the objects of ``before`` that an error has taken away, in the order of the file, and what to say of them.

    An error without a name (the text cannot be read, a document is no object) may concern any object that is missing.
    """
    errors = [found for found in diagnostics if found.severity == ERROR]
    if not errors or not before:
        return now, []
    anybody = any(not found.name for found in errors)
    named = {("" if found.code == UNKNOWN_KIND else found.kind, found.namespace, found.name) for found in errors}
    there = {_identity(resource) for resource in now}

    def is_broken(each: Resource) -> bool:
        if each.kind == "EdgePolicy":
            return False
        return anybody or _identity(each) in named or ("", each.namespace, each.name) in named

    kept = [each for each in before if _identity(each) not in there and is_broken(each)]
    if not kept:
        return now, []
    return _in_file_order(before, now, kept), [_told(file, kept)]


def _in_file_order(before: Sequence[Resource], now: Sequence[Resource], kept: Sequence[Resource]) -> list[Resource]:
    """Kept ones stand where they stood, ``now`` keeps its order."""
    places = {_identity(resource): place for place, resource in enumerate(before)}
    ranked: list[tuple[int, Resource]] = []
    reached = -1
    for resource in now:
        reached = max(reached, places.get(_identity(resource), reached))
        ranked.append((reached, resource))
    ranked += [(places[_identity(resource)], resource) for resource in kept]
    ranked.sort(key=lambda each: each[0])
    return [resource for _, resource in ranked]


def _told(file: str, kept: Sequence[Resource]) -> Diagnostic:
    names = ", ".join(f"{resource.kind} {resource.key}" for resource in kept[:_NAMED])
    more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
    message = f"as long as this file is broken, or until the gateway is started anew, {names}{more} stay as they were before"
    return Diagnostic(severity_of(KEPT), KEPT, message, origin=Origin(file))


def _identity(resource: Resource) -> tuple[str, str, str]:
    return (resource.kind, resource.namespace, resource.name)
