"""The rules of one virtual host before and after: which is which, what is different, and whether a new order matters.

A rule is known by what it does; then by its condition; then by its name; then by its place in its VirtualService. A rule that moved
is a change only where it passed one that overlaps with it and does something else, since first match wins.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec

from fastgw.diff.changes import ADDED, CHANGED, MOVED, REMOVED, FieldChange
from fastgw.model.plan import Action, PathMatch, Rule
from fastgw.model.plan_text import (
    action_text,
    conditions_text,
    destinations_text,
    edits_text,
    guards_text,
    plain_text,
    policy_text,
    rule_name,
)

_IDENTITY = frozenset(("name", "virtual_service", "route_index", "match_index", "origin"))
_CONDITION = frozenset(("path", "predicates"))
_EFFECT = tuple(field for field in Rule.__struct_fields__ if field not in _IDENTITY | _CONDITION | {"action"})
_IN_WORDS = ("redirect", "policy", "guards")
"""Fields of an action whose changes other words tell."""
_ACTION = tuple(field for field in Action.__struct_fields__ if field not in ("kind", "detail", "destinations", "edits"))

Found = tuple[str, Rule | None, Rule | None, tuple[FieldChange, ...], Rule | None]
"""(change, old, new, fields, the rule that was passed), as in RuleChange."""


class Comparer:
    """Compares lists of rules; what a rule comes down to is worked out once, since hosts share rules."""

    def __init__(self) -> None:
        self._keys: dict[int, tuple[bytes, bytes]] = {}

    def compare(self, old: Sequence[Rule], new: Sequence[Rule]) -> list[Found]:
        """In the order of the new list; removed rules come last."""
        if old is new or [self._key(rule) for rule in old] == [self._key(rule) for rule in new]:
            return []
        pairs = self._pair(old, new)
        passed = self._passed(old, new, pairs)
        found: list[Found] = []
        for position, rule in enumerate(new):
            if position not in pairs:
                found.append((ADDED, None, rule, (), None))
            else:
                found += self._paired(old[pairs[position]], rule, passed.get(position))
        kept = set(pairs.values())
        return found + [(REMOVED, rule, None, (), None) for position, rule in enumerate(old) if position not in kept]

    def _paired(self, old: Rule, new: Rule, passed: Rule | None) -> Iterator[Found]:
        fields = tuple(_field_changes(old, new)) if self._key(old) != self._key(new) else ()
        if passed is not None:
            before, after = conditions_text(passed), rule_name(passed)
            fields = (*fields, FieldChange("order", f"after {after} {before}", f"before {after} {before}"))
        if fields:
            yield (CHANGED if len(fields) > (passed is not None) else MOVED, old, new, fields, passed)

    def _key(self, rule: Rule) -> tuple[bytes, bytes]:
        """(condition, effect)."""
        key = self._keys.get(id(rule))
        if key is None:
            key = self._keys[id(rule)] = (_condition_key(rule), _effect_key(rule))
        return key

    def _pair(self, old: Sequence[Rule], new: Sequence[Rule]) -> dict[int, int]:
        """Position in ``new`` -> position in ``old``."""
        steps: tuple[Callable[[Rule], Hashable], ...] = (
            lambda rule: (rule.virtual_service.key, self._key(rule)),
            self._key,
            lambda rule: (rule.virtual_service.key, self._key(rule)[0]),
            lambda rule: self._key(rule)[0],
            lambda rule: (rule.virtual_service.key, rule.name) if rule.name else None,
            lambda rule: (rule.virtual_service.key, rule.route_index, rule.match_index),
        )
        pairs: dict[int, int] = {}
        left = list(range(len(old)))
        for step in steps:
            waiting: dict[Hashable, deque[int]] = {}
            for position in left:
                waiting.setdefault(step(old[position]), deque()).append(position)
            waiting.pop(None, None)
            for position, rule in enumerate(new):
                if position not in pairs and (same := waiting.get(step(rule))):
                    pairs[position] = same.popleft()
            taken = set(pairs.values())
            left = [position for position in left if position not in taken]
        return pairs

    def _passed(self, old: Sequence[Rule], new: Sequence[Rule], pairs: dict[int, int]) -> dict[int, Rule]:
        """For each moved position of ``new``, a rule that it passed and that makes it matter."""
        order = sorted(pairs)
        stayed = _longest_rising([pairs[position] for position in order])
        found = {}
        for index, position in enumerate(order):
            if index in stayed:
                continue
            for other in order:
                crossed = (position - other) * (pairs[position] - pairs[other]) < 0
                if crossed and self._key(new[position])[1] != self._key(new[other])[1] and overlap(new[position], new[other]):
                    found[position] = new[other]
                    break
        return found


def _longest_rising(values: Sequence[int]) -> set[int]:
    """Indexes of a longest rising subsequence: the rules that can be said to have stayed."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, value in enumerate(values):
        at = bisect_left(tails, value)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1], ends[at : at + 1] = [value], [index]
    chosen, index = set(), ends[-1] if ends else -1
    while index >= 0:
        chosen.add(index)
        index = before[index]
    return chosen


def _condition_key(rule: Rule) -> bytes:
    return _json([rule.path, sorted(map(_json, rule.predicates))])


def _effect_key(rule: Rule) -> bytes:
    """Weights count as shares, whatever they add up to, and in any order."""
    listed = rule.action.destinations
    total = sum(each.weight for each in listed) or 1
    shares = sorted((each.cluster, str(Fraction(each.weight, total)), edits_text(each.edits)) for each in listed)
    rest = [getattr(rule.action, field) for field in _ACTION] + [getattr(rule, field) for field in _EFFECT]
    return _json([rule.action.kind, rule.action.detail, edits_text(rule.action.edits), shares, rest])


def _json(value: Any) -> bytes:
    encoded: bytes = msgspec.json.encode(value)
    return encoded


def _field_changes(old: Rule, new: Rule) -> Iterator[FieldChange]:
    if _condition_key(old) != _condition_key(new):
        yield FieldChange("match", conditions_text(old), conditions_text(new))
    sides = [(action_text(rule.action), destinations_text(rule.action.destinations)) for rule in (old, new)]
    for field, before, after in zip(("action", "destinations"), *sides, strict=True):
        if before != after:
            yield FieldChange(field, before, after)
    edits = [_edits(rule.action) for rule in (old, new)]
    if edits[0] != edits[1]:
        yield FieldChange("headers", *edits)
    for field, words in (("guards", guards_text), ("policy", policy_text)):
        told = ["; ".join(words(getattr(rule.action, field))) or "none" for rule in (old, new)]
        if told[0] != told[1]:
            yield FieldChange(field, *told)
    for field, before, after in (
        *((field, getattr(old.action, field), getattr(new.action, field)) for field in _ACTION if field not in _IN_WORDS),
        *((field, getattr(old, field), getattr(new, field)) for field in _EFFECT),
    ):
        if before != after:
            yield FieldChange(field, plain_text(before), plain_text(after))


def _edits(action: Action) -> str:
    """In one line; those of a destination after its cluster."""
    own = [f"{each.cluster}: {text}" for each in action.destinations for text in edits_text(each.edits)]
    return "; ".join([*edits_text(action.edits), *own]) or "unchanged"


def overlap(one: Rule, other: Rule) -> bool:
    """Whether some request may meet both conditions. True when in doubt."""
    return _paths_meet(one.path, other.path) and not _exclude(one, other)


def _paths_meet(one: PathMatch | None, other: PathMatch | None) -> bool:
    if one is None or other is None or "regex" in (one.kind, other.kind):
        return True
    fold = one.ignore_case or other.ignore_case
    first, second = (_plain_path(path, fold) for path in (one, other))
    if one.kind == other.kind == "exact":
        return first == second
    if one.kind == "exact":
        return first.startswith(second)
    if other.kind == "exact":
        return second.startswith(first)
    return first.startswith(second) or second.startswith(first)


@lru_cache(maxsize=4096)
def _plain_path(path: PathMatch, fold: bool) -> str:
    value = path.value.rstrip("/") if path.kind == "segment" else path.value
    return value.lower() if fold else value


def _exclude(one: Rule, other: Rule) -> bool:
    """Both want one thing to be exactly this, and exactly that."""
    wanted = {(each.target, each.name): each.value for each in one.predicates if each.op == "exact" and not each.invert}
    return any(
        each.op == "exact" and not each.invert and wanted.get((each.target, each.name), each.value) != each.value
        for each in other.predicates
    )
