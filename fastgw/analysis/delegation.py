"""FGW0029: delegates (VirtualServices without hosts) that no VirtualService with hosts leads to (F2, F3)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.resource import Resource

UNUSED = "FGW0029"


def check_delegation(picture: Picture) -> list[Diagnostic]:
    delegates = [service for service in picture.services.values() if not service.spec.hosts]
    if not delegates:
        return []
    by_root: set[str] = set()
    for service in picture.services.values():
        if service.spec.hosts:
            by_root.update(_delegates_of(service))
    by_delegate = {key: delegate for delegate in delegates for key in _delegates_of(delegate)}
    diagnostics: list[Diagnostic] = []
    for delegate in delegates:
        if delegate.key not in by_root:
            diagnostics += _finding(picture, delegate, by_delegate.get(delegate.key))
    return diagnostics


def _delegates_of(service: Resource) -> list[str]:
    return [
        f"{route.delegate.namespace or service.namespace}/{route.delegate.name}"
        for route in service.spec.http
        if route.delegate is not None
    ]


def _finding(picture: Picture, delegate: Resource, by: Resource | None) -> list[Diagnostic]:
    findings = Findings(delegate)
    circle = _circle(picture, delegate)
    if circle:
        message = f"delegates in a circle that no VirtualService with hosts leads into: {' -> '.join(circle)}"
        findings.warn("spec.http", message, UNUSED)
    elif by is not None:
        message = f"only VirtualService {by.key} delegates to it, which is a delegate itself, and delegates do not delegate again"
        findings.warn("", message, UNUSED)
    else:
        findings.note("", "a VirtualService without hosts is for others to delegate to, and none does: it has no effect", UNUSED)
    return findings.diagnostics


def _circle(picture: Picture, start: Resource) -> list[str]:
    """The way from a delegate back to itself, () if there is none."""
    came_from: dict[str, str] = {}
    pending = [start.key]
    while pending:
        key = pending.pop()
        service = picture.services.get(key)
        for following in _delegates_of(service) if service is not None and not service.spec.hosts else ():
            if following == start.key:
                way = [key, following]
                while way[0] != start.key:
                    way.insert(0, came_from[way[0]])
                return way
            if following not in came_from:
                came_from[following] = key
                pending.append(following)
    return []
