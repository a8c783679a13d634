"""IST0130 and IST0131: rules and matches that earlier ones of the same VirtualService cover.

What stands behind a rule that takes everything is the compiler's to report; here it is one condition that covers another.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastgw.analysis.findings import Findings
from fastgw.analysis.path_cover import ANYTHING, shape_of
from fastgw.analysis.picture import Picture
from fastgw.analysis.rule_cover import GATEWAYS, Cover, Entry
from fastgw.compiler.annotations import wishes_of
from fastgw.compiler.conditions import InvalidMatch, conditions_of
from fastgw.compiler.delegates import resolve_gateway_name
from fastgw.compiler.report import Report
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.plan import Predicate
from fastgw.model.resource import Resource

UNREACHABLE, INEFFECTIVE = "IST0130", "IST0131"


def check_unreachable(picture: Picture) -> list[Diagnostic]:
    return picture.each("VirtualService", "unreachable", unreachable_rules)


def unreachable_rules(service: Resource) -> list[Diagnostic]:
    """The findings about one VirtualService."""
    routes = service.spec.http
    if len(routes) < 2 and all(len(route.match) < 2 for route in routes):
        return []
    segments = wishes_of(service, Report()).segments
    found = _check(service, segments)
    if found and not segments and not service.spec.hosts:
        # a root may ask for whole segments in the name of its delegates, so both readings have to agree
        agreed = {one.path for one in _check(service, True)}
        return [one for one in found if one.path in agreed]
    return found


def _check(service: Resource, segments: bool) -> list[Diagnostic]:
    """``segments``: prefixes match whole path segments."""
    routes = service.spec.http
    findings, cover = Findings(service), Cover()
    for index, route in enumerate(routes):
        path = f"spec.http[{index}]"
        # a delegate narrows what its root's rule matches, so such a rule covers nothing for certain
        covered = list(_covered(service, path, route.match, segments, cover, adds=route.delegate is None))
        if covered and len(covered) == len(route.match):
            findings.warn(path, f"this rule is never reached: {_place(service, covered[0][1])} covers it", UNREACHABLE)
            continue
        for position, by in covered:
            message = f"this match has no effect: {_place(service, by)} covers it"
            findings.warn(f"{path}.match[{position}]", message, INEFFECTIVE)
    return findings.diagnostics


def _covered(
    service: Resource, path: str, matches: tuple[HttpMatch, ...], segments: bool, cover: Cover, *, adds: bool
) -> Iterator[tuple[int, str]]:
    """(position, place of the match that covers it) of each match that is covered; the others join ``cover``."""
    for position, match in enumerate(matches):
        here = f"{path}.match[{position}]"
        if here in service.broken:
            continue
        entry = _entry(service, match, segments, here)
        if entry is None:
            continue
        by = cover.find(entry.shape, entry.predicates)
        if by is not None:
            yield position, by
        elif adds and (entry.shape != ANYTHING or entry.predicates):
            cover.add(entry)


def _place(service: Resource, path: str) -> str:
    origin = service.at(path)
    return f"{path} ({origin.file}:{origin.line})" if origin.line else path


def _entry(service: Resource, match: HttpMatch, segments: bool, here: str) -> Entry | None:
    """None for a match that never holds."""
    try:
        conditions = conditions_of(match, segments)
    except InvalidMatch:
        return None
    if any(one.target == "never" for one in conditions.predicates):
        return None
    return Entry(shape_of(conditions.path), (*conditions.predicates, *_scope(service, match)), here)


def _scope(service: Resource, match: HttpMatch) -> Iterator[Predicate]:
    """Conditions on the gateway itself (B13-B15)."""
    if match.port:
        yield Predicate("port", "exact", "", str(match.port))
    if match.gateways:
        names = sorted({resolve_gateway_name(name, service.namespace) for name in match.gateways})
        yield Predicate(GATEWAYS, "exact", "", " ".join(names))
        return
    if match.source_namespace:
        yield Predicate("source_namespace", "exact", "", match.source_namespace)
    for name, value in match.source_labels.items():
        yield Predicate("source_label", "exact", name, value)
