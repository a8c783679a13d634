"""Path tries of an image: where each rule hangs, and the candidate lists of the nodes.

A rule hangs at the key that every matching path begins with: the path of an exact or prefix condition, the literal prefix of a
regex, "" for no condition. A node's list holds what hangs on the way from the root, in match order, cut after the first rule that
has no further condition. Where lists would grow long they are not merged but chained to the list of the nearest prefix above.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from fastgw.image.layout import NONE, SINGLE, lib
from fastgw.image.tables import Tables

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
_LABEL_INLINE: int = lib.FGW_LABEL_INLINE


class GroupKey(NamedTuple):
    """A text that rules look at, such as a header or a query parameter. ``name`` is its (offset, length) in the strings."""

    target: int
    header_id: int
    name: tuple[int, int]


THE_PATH = GroupKey(lib.FGW_ON_PATH, 0, (0, 0))


class Candidate(NamedTuple):
    """A rule as the trie sees it. ``rank``: its index in the image. ``exact``: values it requires, by group key.

    ``regexes``: the texts on which it requires a regex that a set can decide.
    """

    rank: int
    conditional: bool
    exact: dict[GroupKey, bytes]
    regexes: tuple[GroupKey, ...] = ()


class Spot:
    """What hangs at one key: for every path that begins with it, and for the path that is equal to it."""

    __slots__ = ("at_end", "below")

    def __init__(self) -> None:
        self.below: list[Candidate] = []
        self.at_end: list[Candidate] = []


class Inherited(NamedTuple):
    """The list of a node. ``merged``: its whole content when short, None for a chain. ``bound``: no rank above it can win."""

    ref: int
    merged: tuple[Candidate, ...] | None
    bound: int


NOTHING = Inherited(NONE, (), NONE)


def _cut(candidates: Iterable[Candidate], bound: int) -> tuple[Candidate, ...]:
    """Candidates that can win below ``bound``: in order, none after the first without a further condition."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if candidate.rank > bound:
            break
        kept.append(candidate)
        if not candidate.conditional:
            break
    return tuple(kept)


class Lists:
    """Writes candidate lists; equal ones once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._written: dict[tuple[tuple[int, ...], int], int] = {}
        self._sets: dict[tuple[GroupKey, tuple[int, ...]], tuple[int, int]] = {}
        self._set_lists: dict[tuple[GroupKey, tuple[int, ...], int], int] = {}
        self._members_left = SET_MEMBERS_A_RULE * tables["rules"].count

    def extend(self, above: Inherited, own: Sequence[Candidate]) -> Inherited:
        """The list of ``own`` and everything above."""
        kept = _cut(own, above.bound) if own else ()
        if not kept:
            return above
        bound = above.bound if kept[-1].conditional else kept[-1].rank
        if above.merged is not None and len(kept) + len(above.merged) <= MERGE_LIMIT:
            merged = _cut(sorted((*kept, *above.merged), key=lambda c: c.rank), bound)
            return Inherited(self._ref(merged, NONE), merged, bound)
        return Inherited(self._ref(kept, above.ref), None, bound)

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
        first = len(self._tables.candidates)
        self._tables.candidates += ranks
        return self._tables["lists"].add(first, len(ranks), group, NONE, following)

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
            first = len(self._tables.candidates)
            self._tables.candidates += members
            regex_set = self._tables["regex_sets"].add(first, len(members), key.target, key.header_id, *key.name)
            known = self._sets[key, members] = (first, regex_set)
        return known

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
        items = [(value, self._ref(_cut(same, NONE), NONE, 0), 0) for value, same in by_value.items()]
        slots = self._tables.add_slots(items, "forward")
        group = self._tables["groups"].add(key.target, key.header_id, *key.name, *slots)
        return self._add((), group, self._ref(tuple(rest), following, groups_left - 1))


def _common_length(first: bytes, last: bytes, start: int) -> int:
    if first is last:
        return len(first)
    end = min(len(first), len(last))
    while start < end and first[start] == last[start]:
        start += 1
    return start


@lru_cache(maxsize=4096)
def _child_map(children: tuple[int, ...]) -> tuple[tuple[int, ...], bytes]:
    """A bit for each child's byte, and how many bits stand in the words before each word."""
    words = [0, 0, 0, 0]
    for byte in children:
        words[byte // 64] |= 1 << byte % 64
    before = accumulate((word.bit_count() for word in words[:3]), initial=0)
    return tuple(words), bytes(count & 0xFF for count in before)


_NO_CHILDREN = _child_map(())


class _Pending(NamedTuple):
    """A node to be written: its place, its keys ``low``..``high - 1`` of which ``depth`` bytes are consumed, what it inherits."""

    node: int
    low: int
    high: int
    depth: int
    above: Inherited


class TrieWriter:
    """Writes tries; children of a node are adjacent and come after it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._nodes = tables["nodes"]
        self._lists = Lists(tables)

    def write(self, spots: dict[bytes, Spot], root: int) -> None:
        """Write the trie of ``spots`` with its root at node ``root``, which is reserved already."""
        keys = sorted(spots)
        if not keys:
            self._put(root, b"", [], 0, NONE, NONE)
            return
        queue = [_Pending(root, 0, len(keys), 0, NOTHING)]
        for pending in queue:
            queue += self._write_node(keys, spots, pending)

    def _write_node(self, keys: list[bytes], spots: dict[bytes, Spot], pending: _Pending) -> list[_Pending]:
        node, low, high, depth, below = pending
        key = keys[low]
        end = _common_length(key, keys[high - 1], depth)
        at_end = below
        if len(key) == end:
            low += 1
            below = self._lists.extend(below, spots[key].below)
            at_end = self._lists.extend(below, spots[key].at_end)
        ranges = self._children(keys, low, high, end) if low < high else []
        first = self._nodes.reserve(len(ranges)) if ranges else 0
        self._put(node, key[depth:end], [keys[start][end] for start, _ in ranges], first, below.ref, at_end.ref)
        return [_Pending(first + i, start, stop, end, below) for i, (start, stop) in enumerate(ranges)]

    @staticmethod
    def _children(keys: list[bytes], low: int, high: int, depth: int) -> list[tuple[int, int]]:
        """Ranges of keys[low:high] with the same byte at ``depth``."""
        starts = [i for i in range(low, high) if i == low or keys[i][depth] != keys[i - 1][depth]]
        return list(pairwise([*starts, high]))

    def _put(self, index: int, label: bytes, children: list[int], first: int, below: int, at_end: int) -> None:
        words, rank = _child_map(tuple(children)) if children else _NO_CHILDREN
        offset = self._tables.strings.span(label)[0] if len(label) > _LABEL_INLINE else 0
        self._nodes.put(index, *words, label[:_LABEL_INLINE], len(label), offset, rank, first, below, at_end)
