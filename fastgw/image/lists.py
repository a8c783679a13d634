"""Long candidate lists of an image: grouped by the value of a header or query parameter, regexes tried together in sets.

Short lists without regexes, which nearly all are, are written by ``fastgw.image.tries`` as they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fastgw.image.layout import NONE, SINGLE, TARGETS, lib
from fastgw.image.symbols import to_bytes
from fastgw.image.tables import Tables
from fastgw.model.plan import Predicate, Rule

MERGE_LIMIT = 16
"""Longest list that is merged into every node below; chaining longer ones keeps the image linear in the rules."""
GROUP_MIN = 8
"""Fewest distinct values of one header or query parameter for which a hash pays."""
GROUPS_MAX = 8
SET_MIN = 3
"""Fewest regexes of a list on one text that are tried together: a set costs what one or two of its members cost."""
SET_MEMBERS_A_RULE = 4
"""Members of all sets of short lists, for each rule: short lists are repeated in nodes, and sets must stay linear in the rules."""
SET_MAX = 1024
"""Most members of a set, which bounds the automaton's memory; longer lists become several sets."""
_INLINE: int = lib.FGW_SLOT_INLINE
_GROUPABLE = {"header", "query"}


class GroupKey(NamedTuple):
    """A text that rules look at, such as a header or a query parameter. ``name`` is its (offset, length) in the strings."""

    target: int
    header_id: int
    name: tuple[int, int]


THE_PATH = GroupKey(lib.FGW_ON_PATH, 0, (0, 0))


class Candidate(NamedTuple):
    """A rule as a list sees it. ``rank``: its index in the image. ``exact``: values it requires, by group key.

    ``regexes``: the texts on which it requires a regex that a set can decide.
    """

    rank: int
    conditional: bool
    exact: dict[GroupKey, bytes]
    regexes: tuple[GroupKey, ...] = ()


class Lists:
    """Writes the lists of one trie after another; equal ones once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rules: Sequence[Rule] = ()
        self._candidates: dict[int, Candidate] = {}
        self._written: dict[tuple[tuple[int, ...], int], int] = {}
        self._sets: dict[tuple[GroupKey, tuple[int, ...]], tuple[int, int]] = {}
        self._set_lists: dict[tuple[GroupKey, tuple[int, ...], int], int] = {}
        self._members_left = 0

    def begin(self, rules: Sequence[Rule]) -> None:
        """Other rules, whose records are in the tables when their lists are asked for."""
        self._rules, self._candidates, self._written = rules, {}, {}
        self._sets, self._set_lists = {}, {}
        self._members_left = SET_MEMBERS_A_RULE * len(rules)

    def ref(self, ranks: Sequence[int], following: int) -> int:
        """A list reference for these rules, in match order and cut, and what comes after them."""
        return self._ref(tuple(map(self._candidate, ranks)), following)

    def _ref(self, candidates: tuple[Candidate, ...], following: int, groups_left: int = GROUPS_MAX) -> int:
        if not candidates:
            return following
        if len(candidates) == 1 and following == NONE:
            return SINGLE | candidates[0].rank
        ranks = tuple(c.rank for c in candidates)
        ref = self._written.get((ranks, following))
        if ref is None:
            ref = self._written[ranks, following] = self._write(candidates, following, groups_left)
        return ref

    def _write(self, candidates: tuple[Candidate, ...], following: int, groups_left: int) -> int:
        key = self._group_key(candidates) if groups_left and len(candidates) >= GROUP_MIN else None
        if key is not None:
            return self._add_grouped(candidates, key, following, groups_left)
        sets, rest = self._regex_sets(candidates, whole=not groups_left)
        # what costs least is asked first, then the sets in order: once a rule has won, sets of later rules are passed over
        for key, members in reversed(sets):
            following = self._set_ref(key, members, following)
        return self._add([c.rank for c in rest], NONE, following) if rest else following

    def _add(self, ranks: Sequence[int], group: int, following: int) -> int:
        return self._tables["lists"].add(self._tables.add_candidates(ranks), len(ranks), group, NONE, following)

    # --- regexes ---

    def _regex_sets(
        self, candidates: tuple[Candidate, ...], *, whole: bool
    ) -> tuple[list[tuple[GroupKey, tuple[int, ...]]], list[Candidate]]:
        """(sets by the text and the members, what is in none). ``whole``: one set of all candidates or none."""
        rest, sets = list(candidates), []
        while len(rest) >= SET_MIN:
            counts = Counter(key for candidate in rest for key in candidate.regexes)
            key, count = max(counts.items(), key=lambda item: item[1], default=(THE_PATH, 0))
            if count < (len(rest) if whole else SET_MIN) or (whole and count > SET_MAX):
                break
            ranks = [c.rank for c in rest if key in c.regexes]
            if count <= MERGE_LIMIT and (key, tuple(ranks)) not in self._sets:
                if count > self._members_left:
                    break
                self._members_left -= count
            sets += [(key, tuple(ranks[start : start + SET_MAX])) for start in range(0, count, SET_MAX)]
            rest = [c for c in rest if key not in c.regexes]
        return sorted(sets, key=lambda item: item[1][0]), rest

    def _set_ref(self, key: GroupKey, members: tuple[int, ...], following: int) -> int:
        """The list with these members; lists with the same members share their set."""
        ref = self._set_lists.get((key, members, following))
        if ref is None:
            first, regex_set = self._set(key, members)
            ref = self._tables["lists"].add(first, len(members), NONE, regex_set, following)
            self._set_lists[key, members, following] = ref
        return ref

    def _set(self, key: GroupKey, members: tuple[int, ...]) -> tuple[int, int]:
        """(first of the candidates, index of the set)"""
        known = self._sets.get((key, members))
        if known is None:
            first = self._tables.add_candidates(members)
            regex_set = self._tables["regex_sets"].add(first, len(members), key.target, key.header_id, *key.name)
            known = self._sets[key, members] = (first, regex_set)
        return known

    # --- candidates ---

    def _candidate(self, rank: int) -> Candidate:
        found = self._candidates.get(rank)
        if found is None:
            found = self._candidates[rank] = self._look_at(rank, self._rules[rank])
        return found

    def _look_at(self, rank: int, rule: Rule) -> Candidate:
        exact: dict[GroupKey, bytes] = {}
        regexes: dict[GroupKey, bool] = {}
        for p in rule.predicates:
            if p.op == "regex" and not p.invert:
                # the first on a text is the one that a set decides
                regexes.setdefault(self._key(p), self._tables.is_usable_regex(p.value))
            elif p.target in _GROUPABLE and p.op == "exact" and not p.invert:
                value = to_bytes(p.value)
                if len(value) <= lib.FGW_GROUP_KEY_MAX:
                    exact.setdefault(self._key(p), value)
        is_regex = rule.path is not None and rule.path.kind == "regex"
        if rule.path is not None and is_regex:
            regexes[THE_PATH] = self._tables.is_usable_regex(rule.path.value)
        usable = tuple(key for key, compiles in regexes.items() if compiles)
        return Candidate(rank, bool(rule.predicates) or is_regex, exact, usable)

    def _key(self, p: Predicate) -> GroupKey:
        """The text that a predicate looks at, named as its record in the image names it."""
        name = to_bytes(p.name).lower() if p.target == "header" else to_bytes(p.name)
        header_id = lib.fgw_header_id_of(name, len(name)) if p.target == "header" else 0
        return GroupKey(TARGETS[p.target], header_id, self._tables.span(name))

    # --- groups ---

    @staticmethod
    def _group_key(candidates: tuple[Candidate, ...]) -> GroupKey | None:
        values: dict[GroupKey, set[bytes]] = {}
        for candidate in candidates:
            for key, value in candidate.exact.items():
                values.setdefault(key, set()).add(value)
        best = max(values, key=lambda key: len(values[key]), default=None)
        return best if best is not None and len(values[best]) >= GROUP_MIN else None

    def _add_grouped(self, candidates: tuple[Candidate, ...], key: GroupKey, following: int, groups_left: int) -> int:
        by_value: dict[bytes, list[Candidate]] = {}
        rest: list[Candidate] = []
        for candidate in candidates:
            value = candidate.exact.get(key)
            if value is None:
                rest.append(candidate)
            else:
                by_value.setdefault(value, []).append(candidate)
        items = [(value, self._ref(_cut(same), NONE, 0)) for value, same in by_value.items()]
        slots = self._add_slots(items)
        group = self._tables["groups"].add(key.target, key.header_id, *key.name, *slots)
        return self._add((), group, self._ref(tuple(rest), following, groups_left - 1))

    def _add_slots(self, items: list[tuple[bytes, int]]) -> tuple[int, int]:
        """A hash table of (key, value) with distinct keys: (first slot, number of slots)."""
        count = len(items) * 3 // 2 + 1
        places: list[tuple[int, bytes, int] | None] = [None] * count
        for key, value in items:
            code: int = lib.fgw_hash_forward(key, len(key))
            at = code * count >> 32
            while places[at] is not None:
                at = at + 1 if at + 1 < count else 0
            places[at] = (code, key, value)
        first = self._tables["slots"].count
        for place in places:
            self._add_slot(place)
        return first, count

    def _add_slot(self, place: tuple[int, bytes, int] | None) -> None:
        slots = self._tables["slots"]
        if place is None:
            slots.add(0, NONE, NONE, 0, 0, b"")
            return
        code, key, value = place
        offset = self._tables.span(key)[0] if len(key) > _INLINE else 0
        slots.add(code, value, 0, len(key), offset, key[:_INLINE])


def _cut(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """None after the first without a further condition."""
    for i, candidate in enumerate(candidates):
        if not candidate.conditional:
            return tuple(candidates[: i + 1])
    return tuple(candidates)
