"""The parts of a DestinationRule that a mistake costs: a block of a policy, a subset, never more than that.

A block that cannot be understood is as if it were not there, with one exception: where TLS was asked for, by that block or by words
that nobody understands, the destination is closed. Plain text would give away what TLS was to protect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from fastgw.model.kinds.destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy, UnknownTls
from fastgw.model.paths import split_path

_POLICY = r"spec\.(?:subsets\[\d+\]\.)?trafficPolicy"
_ENTRY = re.compile(rf"(?:{_POLICY})\.portLevelSettings\[\d+\]")
_BLOCK = re.compile(rf"({_POLICY}(?:\.portLevelSettings\[\d+\])?)\.\w+")
_SUBSET = re.compile(r"spec\.subsets\[\d+\]")
_WHOLE = re.compile(r"spec\.(?:host|exportTo|workloadSelector)\b")
"""Whom the rule is about and who may see it."""
_TLS_MODES = ("SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
_FIELDS = {info.encode_name: info.name for info in msgspec.structs.fields(TrafficPolicy)}


def parts_of_rule(value: Any, paths: Iterable[str]) -> frozenset[str] | None:
    """The parts that ``paths`` lie in; None when they cost the whole rule. ``value``: its spec as it was read.

    A part is a block ("spec.trafficPolicy.tls", "spec.trafficPolicy.portLevelSettings[0].outlierDetection"), an entry of
    portLevelSettings, a subset, or a word of the spec that does not belong there.
    """
    parts: set[str] = set()
    for path in paths:
        part = _part_of(path)
        if part is None or _WHOLE.match(part):
            return None
        parts.add(part)
        closed = _closed_by(part)
        if closed and _asks_for_tls(_at(value, part)):
            parts.add(closed)
    return frozenset(parts)


def _part_of(path: str) -> str | None:
    """An entry without a port costs itself; anything within one of its blocks, or beside them, that block or word."""
    if _ENTRY.fullmatch(path) or re.fullmatch(rf"{_ENTRY.pattern}\.port(?:\..*)?", path):
        found = _ENTRY.match(path)
    else:
        found = _BLOCK.match(path) or _SUBSET.match(path) or re.match(r'spec(?:\.[^.\[]+|\[".*?"\])', path)
    return found.group() if found else None


def _closed_by(part: str) -> str:
    """Which block of tls takes the place of a part that asks for TLS; "" for a subset, without which nobody gets there."""
    block = _BLOCK.fullmatch(part)
    if block is not None and not part.endswith(".portLevelSettings"):
        return f"{block[1]}.tls"
    if _SUBSET.fullmatch(part) or part == "spec.subsets":
        return ""
    return f"{part.partition('.portLevelSettings')[0]}.tls" if block or _ENTRY.fullmatch(part) else "spec.trafficPolicy.tls"


def _asks_for_tls(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("mode") in _TLS_MODES or any(map(_asks_for_tls, value.values()))
    return isinstance(value, list) and any(map(_asks_for_tls, value))


def _at(value: Any, path: str) -> Any:
    for step in split_path(path)[1:]:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def remove_parts(value: Any, parts: Iterable[str]) -> Any:
    """A spec as it was read, without ``parts``. Items of lists keep their places."""
    for part in parts:
        value = _without(value, split_path(part)[1:])
    return value


def _without(value: Any, steps: tuple[str | int, ...]) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        if not isinstance(value, list) or step >= len(value):
            return value
        return [*value[:step], _without(value[step], rest) if rest else {}, *value[step + 1 :]]
    if not isinstance(value, dict) or step not in value:
        return value
    if rest:
        return {**value, step: _without(value[step], rest)}
    return {key: item for key, item in value.items() if key != step}


def without_parts(rule: DestinationRule, parts: Iterable[str]) -> DestinationRule:
    """The typed rule without ``parts``, and closed where TLS is among them. Subsets stay; ``Resource.broken`` says which."""
    for part in sorted(parts):
        steps = split_path(part)
        if steps[1] == "trafficPolicy" and len(steps) > 2:
            policy = _changed(rule.traffic_policy or TrafficPolicy(), steps[2:])
            rule = msgspec.structs.replace(rule, traffic_policy=policy)
        elif steps[1] == "subsets" and len(steps) > 4:
            index = steps[2]
            assert isinstance(index, int)
            subset = rule.subsets[index]
            policy = _changed(subset.traffic_policy or TrafficPolicy(), steps[4:])
            subset = msgspec.structs.replace(subset, traffic_policy=policy)
            rule = msgspec.structs.replace(rule, subsets=(*rule.subsets[:index], subset, *rule.subsets[index + 1 :]))
    return rule


def _changed(policy: Any, steps: tuple[str | int, ...]) -> Any:
    """A policy, or an entry of portLevelSettings, without the block that ``steps`` lead to."""
    name = steps[0]
    if name == "portLevelSettings" and len(steps) > 1:
        index = steps[1]
        assert isinstance(index, int)
        entries = policy.port_level_settings
        entry = _changed(entries[index], steps[2:]) if len(steps) > 2 else PortTrafficPolicy()
        return msgspec.structs.replace(policy, port_level_settings=(*entries[:index], entry, *entries[index + 1 :]))
    if name == "tls":
        return msgspec.structs.replace(policy, tls=UnknownTls())
    field = _FIELDS.get(str(name))
    empty = () if name == "portLevelSettings" else None
    return msgspec.structs.replace(policy, **{field: empty}) if field is not None else policy
