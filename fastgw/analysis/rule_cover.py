"""Which of many rules in match order is covered by an earlier one, without a look at each pair.

Rules are kept by their path condition, those of one path by a predicate of theirs. What is said to be covered is; a cover may
go unnoticed where very many candidates would have to be tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from fastgw.analysis.path_cover import EXACT, PREFIX, REGEX, SEGMENT, Shape, beginning, path_covers, wider_keys
from fastgw.analysis.regex_engine import full_match
from fastgw.model.plan import Predicate

GATEWAYS = "gateways"
"""Target of a predicate of our own: the names of gateways, any of which will do, joined with blanks."""

TRIES = 64
"""Candidates that are tried in one place."""


class Entry(NamedTuple):
    """A rule as it is compared. ``what`` is the caller's."""

    shape: Shape
    predicates: tuple[Predicate, ...]
    what: Any


class Cover:
    """The rules so far."""

    def __init__(self) -> None:
        self._paths: dict[Shape, _Bucket] = {}
        self._lengths: dict[tuple[str, bool], set[int]] = {}
        self._regexes: dict[bytes, list[Shape]] = {}

    def add(self, entry: Entry) -> None:
        """To be called for rules that are not covered themselves: what they cover, the one that covers them does, too."""
        shape = entry.shape
        bucket = self._paths.get(shape)
        if bucket is None:
            bucket = self._paths[shape] = _Bucket()
            if shape.kind in (PREFIX, SEGMENT):
                self._lengths.setdefault((shape.kind, shape.fold), set()).add(len(shape.value))
            elif shape.kind == REGEX:
                self._regexes.setdefault(beginning(shape), []).append(shape)
        bucket.add(entry)

    def find(self, shape: Shape, predicates: tuple[Predicate, ...]) -> Any:
        """``what`` of an earlier rule that matches every request that a rule of these conditions matches; None if none is known."""
        for key in wider_keys(shape, self._lengths):
            bucket = self._paths.get(key)
            if bucket is not None and path_covers(key, shape):
                found = bucket.find(predicates)
                if found is not None:
                    return found.what
        return self._find_regex(shape, predicates) if self._regexes and shape.kind == EXACT else None

    def _find_regex(self, shape: Shape, predicates: tuple[Predicate, ...]) -> Any:
        known = (
            regex
            for length in range(len(shape.value) + 1)
            if (same := self._regexes.get(shape.value[:length])) is not None
            for regex in same
        )
        for regex in islice(known, TRIES):
            found = self._paths[regex].find(predicates) if path_covers(regex, shape) else None
            if found is not None:
                return found.what
        return None


class _Bucket:
    """Rules with one path condition, by one of their predicates: the equal one has to be there, or one about the same thing."""

    __slots__ = ("_about", "_equal", "_free")

    def __init__(self) -> None:
        self._free: Entry | None = None
        self._equal: dict[Predicate, list[Entry]] = {}
        self._about: dict[tuple[str, str], list[Entry]] = {}

    def add(self, entry: Entry) -> None:
        if not entry.predicates:
            self._free = self._free or entry
            return
        strict = [one for one in entry.predicates if _only_equal(one)]
        if strict:
            rarest = min(strict, key=lambda one: len(self._equal.get(one, ())))
            self._equal.setdefault(rarest, []).append(entry)
            return
        about = min(((one.target, one.name) for one in entry.predicates), key=lambda key: len(self._about.get(key, ())))
        self._about.setdefault(about, []).append(entry)

    def find(self, predicates: Sequence[Predicate]) -> Entry | None:
        if self._free is not None:
            return self._free
        for one in predicates:
            for entry in self._candidates(one):
                if covers_all(entry.predicates, predicates):
                    return entry
        return None

    def _candidates(self, one: Predicate) -> Iterable[Entry]:
        yield from islice(self._equal.get(one, ()), TRIES)
        yield from islice(self._about.get((one.target, one.name), ()), TRIES)


def _only_equal(wide: Predicate) -> bool:
    """Nothing but the same predicate implies this one."""
    return wide.op == "exact" and not wide.invert and wide.target != GATEWAYS


def covers_all(wide: Iterable[Predicate], narrow: Sequence[Predicate]) -> bool:
    """Whether every predicate of ``wide`` holds when all of ``narrow`` do."""
    return all(any(implies(given, wanted) for given in narrow) for wanted in wide)


def implies(given: Predicate, wanted: Predicate) -> bool:
    """Whether ``wanted`` is proved to hold whenever ``given`` does. Repeated headers are one joined text for both (G6)."""
    if given == wanted:
        return True
    if given.target != wanted.target or given.name != wanted.name or given.invert:
        return False
    if wanted.target == GATEWAYS:
        return set(given.value.split()) <= set(wanted.value.split())
    if wanted.invert:
        return _excludes(given, wanted)
    if wanted.op == "present":
        return True
    if wanted.op == "prefix":
        return given.op in ("exact", "prefix") and given.value.startswith(wanted.value)
    return wanted.op == "regex" and given.op == "exact" and full_match(wanted.value, given.value.encode())


def _excludes(given: Predicate, wanted: Predicate) -> bool:
    """``given`` leaves no text that the inverted predicate forbids."""
    if given.op not in ("exact", "prefix"):
        return False
    if wanted.op == "exact":
        return wanted.value != given.value if given.op == "exact" else not wanted.value.startswith(given.value)
    if wanted.op == "prefix":
        apart = not given.value.startswith(wanted.value)
        return apart if given.op == "exact" else apart and not wanted.value.startswith(given.value)
    return wanted.op == "regex" and given.op == "exact" and not full_match(wanted.value, given.value.encode())
