"""FGW0024 and FGW0026: rules that no request reaches because a rule of another VirtualService on the same host covers them.

Within one VirtualService it is IST0130 and IST0131.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastgw.analysis.findings import Findings
from fastgw.analysis.path_cover import PREFIX, SEGMENT, Shape, shape_of
from fastgw.analysis.picture import Picture
from fastgw.analysis.plan_hosts import enumerate_hosts, is_shared, place_of, virtual_hosts
from fastgw.analysis.rule_cover import Cover, Entry
from fastgw.compiler.annotations import PRIORITY
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import Rule

SHADOWED, HIDDEN = "FGW0024", "FGW0026"
_Key = tuple[str, int, int]


class Shadow(NamedTuple):
    """``rule`` (``whole``: all matches of its route) is covered by ``by``."""

    rule: Rule
    by: Rule
    whole: bool

    @property
    def key(self) -> tuple[_Key, _Key, bool]:
        return (_key(self.rule), _key(self.by), self.whole)


def check_shadowed(picture: Picture) -> list[Diagnostic]:
    found: dict[tuple[_Key, _Key, bool], tuple[Shadow, list[str]]] = {}
    same: dict[tuple[int, ...], list[Shadow]] = {}
    for _, host in virtual_hosts(picture.plan):
        if not is_shared(host):
            continue
        rules = tuple(map(id, host.rules))
        shadows = same.get(rules)
        if shadows is None:
            shadows = same[rules] = picture.memory.recall("shadowed", host, lambda host: shadows_of(host.rules))
        for shadow in shadows:
            found.setdefault(shadow.key, (shadow, []))[1].extend(host.domains)
    return [finding for shadow, hosts in found.values() for finding in _finding(picture, shadow, hosts)]


def shadows_of(rules: Sequence[Rule]) -> list[Shadow]:
    """``rules`` in match order. A match that stands there several times is covered when all of them are."""
    cover = Cover()
    covered: dict[_Key, Shadow] = {}
    reached: set[_Key] = set()
    for rule in rules:
        if any(one.target == "never" for one in rule.predicates):
            continue
        shape = shape_of(rule.path)
        by = cover.find(shape, rule.predicates)
        if by is None:
            reached.add(_key(rule))
            cover.add(Entry(shape, rule.predicates, rule))
        else:
            covered.setdefault(_key(rule), Shadow(rule, by, False))
    return _by_route([shadow for key, shadow in covered.items() if key not in reached], reached)


def _by_route(shadows: list[Shadow], reached: set[_Key]) -> list[Shadow]:
    """One for a route that is covered with all its matches; those that are covered by their own VirtualService are left out."""
    alive = {key[:2] for key in reached}
    found: dict[object, Shadow] = {}
    for shadow in shadows:
        if shadow.rule.virtual_service.key == shadow.by.virtual_service.key:
            continue
        key = _key(shadow.rule)
        if key[:2] in alive:
            found[key] = shadow
        else:
            found.setdefault(key[:2], shadow._replace(whole=True))
    return list(found.values())


def _key(rule: Rule) -> _Key:
    return (rule.virtual_service.key, rule.route_index, rule.match_index)


def _finding(picture: Picture, shadow: Shadow, hosts: list[str]) -> list[Diagnostic]:
    service = picture.services.get(shadow.rule.virtual_service.key)
    if service is None:
        return []
    findings = Findings(service)
    path = f"spec.http[{shadow.rule.route_index}]" + ("" if shadow.whole else f".match[{shadow.rule.match_index}]")
    by, on, what = place_of(shadow.by), enumerate_hosts(hosts), "rule" if shadow.whole else "match"
    if _is_longer(shape_of(shadow.by.path), shape_of(shadow.rule.path)):
        message = (
            f"no request on {on} reaches this {what}: the shorter path of {by} comes first, and among VirtualServices the order "
            f"counts, not the length; join them, the longer path first, or set the annotation {PRIORITY}"
        )
        findings.warn(path, message, HIDDEN)
    else:
        findings.warn(path, f"no request on {on} reaches this {what}: {by} comes first and covers it", SHADOWED)
    return findings.diagnostics


def _is_longer(wide: Shape, narrow: Shape) -> bool:
    return wide.kind in (PREFIX, SEGMENT) and len(narrow.value) > len(wide.value)
