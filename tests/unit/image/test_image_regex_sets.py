"""Many regexes without a common beginning are tried in one pass, and the answer is the one that trying them in turn would give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_builders import image, request, rule, taken, vhost

from fastgw.image.layout import NONE, ffi, lib
from fastgw.image.matcher import Matcher
from fastgw.image.reader import ImageReader
from fastgw.image.tries import SET_MAX, SET_MIN
from fastgw.model.plan import PathMatch, Predicate, Rule

FILLERS = [rule(f"filler-{i}", PathMatch("regex", f".*/filler-{i}")) for i in range(SET_MIN)]


def regex(name: str, pattern: str, *predicates: Predicate) -> Rule:
    return rule(name, PathMatch("regex", pattern), *predicates)


def sets_of(data: bytes) -> list[list[int]]:
    """The rules of each regex set."""
    reader = ImageReader(data)
    candidates = reader.candidates()
    return [[candidates[i] for i in reader.range(row, "members")] for row in reader.rows("regex_sets")]


def answers(data: bytes, path: bytes) -> list[int]:
    """What each set says: the number of its hits, or -1."""
    pointer, hits = ffi.from_buffer(data), ffi.new("uint32_t **")
    regexes = ffi.gc(lib.fgw_regexes_open(pointer), lib.fgw_regexes_close)
    return [lib.fgw_regexes_match_set(regexes, i, path, len(path), hits) for i in range(len(sets_of(data)))]


def test_the_first_rule_in_order_wins_and_not_the_first_in_the_set() -> None:
    data = image(vhost(["a.com"], *FILLERS, regex("one", ".*/x"), regex("two", "[^q]*/x"), regex("three", ".*")))
    assert sets_of(data) == [list(range(SET_MIN + 3))]
    assert [taken(data, request(path)) for path in ("/a/x", "/q/x", "/filler-3", "/y")] == ["one", "one", "filler-3", "three"]


def test_a_further_condition_hands_on_to_the_next_that_matches() -> None:
    wants = Predicate("header", "exact", "x-user", "a")
    data = image(vhost(["a.com"], *FILLERS, regex("conditional", ".*/x", wants), regex("other", ".*/(x|y)")))
    assert taken(data, request("/x", x_user="a")) == "conditional"
    assert taken(data, request("/x", x_user="b")) == "other"
    assert taken(data, request("/z")) is None


def test_rules_with_other_paths_keep_their_place_between_regexes() -> None:
    prefix, late = rule("prefix", PathMatch("prefix", "/b")), rule("late", PathMatch("prefix", "/"))
    data = image(vhost(["a.com"], regex("early", ".*/x"), *FILLERS, prefix, regex("never", ".*/b"), regex("mid", ".*/c"), late))
    expected = {
        "/b/x": "early",
        "/b": "prefix",
        "/a/b": "never",
        "/c": "mid",
        "/b/c": "prefix",
        "/d": "late",
        "/filler-0": "filler-0",
    }
    assert {path: taken(data, request(path)) for path in expected} == expected


def test_a_pattern_that_does_not_compile_spoils_no_set() -> None:
    data = image(vhost(["a.com"], *FILLERS, regex("broken", ".*(x"), regex("last", ".*x")))
    assert sets_of(data) == [[*range(SET_MIN), SET_MIN + 1]]
    assert taken(data, request("/x")) == "last"


def test_few_regexes_make_no_set() -> None:
    data = image(vhost(["a.com"], *FILLERS[1:], rule("rest", PathMatch("prefix", "/"))))
    assert sets_of(data) == []
    assert taken(data, request("/a/filler-9")) == "filler-9"


def test_a_long_list_becomes_several_sets_in_order() -> None:
    count = 2 * SET_MAX + 5
    data = image(vhost(["a.com"], *(regex(str(i), f".*/(item-{i}|all-{i % SET_MAX})") for i in range(count))))
    assert sorted(map(len, sets_of(data))) == [5, SET_MAX, SET_MAX]
    for i in (0, SET_MAX - 1, SET_MAX, count - 1):
        assert taken(data, request(f"/a/item-{i}")) == str(i)
    assert taken(data, request("/a/all-7")) == "7"


@pytest.mark.parametrize("repeats", [20, 60, 200, 900])
def test_a_set_too_large_for_its_memory_is_asked_one_by_one(repeats: int) -> None:
    """From sets that fit to those that cannot even be compiled: the answers stay the same."""
    rules = [regex(str(i), f".*[a-y]{{{repeats}}}-[b-z]{{{repeats}}}/{i}") for i in range(SET_MIN)]
    data = image(vhost(["a.com"], *rules))
    for i in (0, SET_MIN - 1):
        assert taken(data, request(f"/{'m' * repeats}-{'n' * repeats}/{i}")) == str(i)
    assert taken(data, request(f"/{'m' * repeats}-{'a' * repeats}/1")) is None
    if repeats == 20:
        assert answers(data, b"/" + b"m" * 20 + b"-" + b"n" * 20 + b"/1") == [1]
    if repeats == 900:
        assert answers(data, b"/x") == [-1]


def test_an_unknown_set_cannot_say() -> None:
    data = image(vhost(["a.com"], *FILLERS))
    pointer, hits = ffi.from_buffer(data), ffi.new("uint32_t **")
    regexes = ffi.gc(lib.fgw_regexes_open(pointer), lib.fgw_regexes_close)
    assert lib.fgw_regexes_match_set(regexes, 1, b"/", 1, hits) == -1
    assert lib.fgw_regexes_match_set(ffi.NULL, 0, b"/", 1, hits) == -1


_PARTS = st.sampled_from(["a", "b", "/", ".", "[ab]", "[^a]", "(a|b/)", "(ab)?", ".*", "a+", "b{2}"])
_PATTERNS = st.lists(_PARTS, max_size=5).map("".join)
_PREDICATES = st.sampled_from(
    [(), (), (Predicate("header", "exact", "x-user", "a"),), (Predicate("method", "exact", value="PUT"),)]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(_PATTERNS, _PREDICATES), min_size=SET_MIN, max_size=60),
    st.lists(st.text("ab/", max_size=8), min_size=1, max_size=8),
)
def test_sets_agree_with_trying_in_turn(rules: list[tuple[str, tuple[Predicate, ...]]], paths: list[str]) -> None:
    data = image(vhost(["a.com"], *(regex(str(i), pattern, *predicates) for i, (pattern, predicates) in enumerate(rules))))
    matcher, reader = Matcher(data), ImageReader(data)
    for path in paths:
        for wanted in (request(f"/{path}"), request(path, method="PUT"), request(f"/{path}", x_user="a")):
            found = matcher.match(0, wanted)
            assert (found.verdict, found.vhost, found.rule) == reader.match(0, wanted)


def test_a_set_is_named_by_one_list_with_the_same_members() -> None:
    reader = ImageReader(image(vhost(["a.com"], *FILLERS)))
    lists = [row for row in reader.rows("lists") if row["regex_set"] != NONE]
    assert len(lists) == 1
    members = reader.range(reader.row("regex_sets", reader.number(lists[0], "regex_set")), "members")
    assert (members.start, len(members)) == (lists[0]["first"], lists[0]["count"])
