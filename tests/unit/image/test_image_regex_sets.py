"""Regexes of a list on the same text are tried in one pass, and the answer is the one that trying them in turn would give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_builders import image, request, rule, taken, vhost

from fastgw.image.layout import NONE, TABLES, ffi, lib
from fastgw.image.lists import MERGE_LIMIT, SET_MAX, SET_MEMBERS_A_RULE, SET_MIN
from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.image.reader import ImageReader
from fastgw.model.plan import PathMatch, Predicate, Rule

MANY = MERGE_LIMIT + 1
FILLERS = [rule(f"filler-{i}", PathMatch("regex", f".*/filler-{i}")) for i in range(MANY)]


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
    regexes = ffi.gc(lib.fgw_regexes_open(pointer, ffi.NULL), lib.fgw_regexes_close)
    return [lib.fgw_regexes_match_set(regexes, i, path, len(path), hits) for i in range(len(sets_of(data)))]


def test_the_first_rule_in_order_wins_and_not_the_first_in_the_set() -> None:
    data = image(vhost(["a.com"], *FILLERS, regex("one", ".*/x"), regex("two", "[^q]*/x"), regex("three", ".*")))
    assert sets_of(data) == [list(range(MANY + 3))]
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
    assert sets_of(data) == [[*range(MANY), MANY + 1]]
    assert taken(data, request("/x")) == "last"


def test_few_regexes_make_no_set() -> None:
    for count, expected in ((SET_MIN - 1, []), (SET_MIN, [list(range(SET_MIN))])):
        data = image(vhost(["a.com"], *FILLERS[:count], rule("rest", PathMatch("prefix", "/"))))
        assert sets_of(data) == expected
        assert taken(data, request(f"/a/filler-{count - 1}")) == f"filler-{count - 1}"
        assert taken(data, request("/a")) == "rest"


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
    rules = [regex(str(i), f".*[a-y]{{{repeats}}}-[b-z]{{{repeats}}}/{i}") for i in range(MANY)]
    data = image(vhost(["a.com"], *rules))
    for i in (0, MANY - 1):
        assert taken(data, request(f"/{'m' * repeats}-{'n' * repeats}/{i}")) == str(i)
    assert taken(data, request(f"/{'m' * repeats}-{'a' * repeats}/1")) is None
    if repeats == 20:
        assert answers(data, b"/" + b"m" * 20 + b"-" + b"n" * 20 + b"/1") == [1]
    if repeats == 900:
        assert answers(data, b"/x") == [-1]


def test_an_unknown_set_cannot_say() -> None:
    data = image(vhost(["a.com"], *FILLERS))
    pointer, hits = ffi.from_buffer(data), ffi.new("uint32_t **")
    regexes = ffi.gc(lib.fgw_regexes_open(pointer, ffi.NULL), lib.fgw_regexes_close)
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


# --- other texts than the path ---


def on(target: str, name: str, pattern: str, *more: Predicate, path: PathMatch | None = None, rule_name: str = "") -> Rule:
    return rule(rule_name or pattern, path, Predicate(target, "regex", name, pattern), *more)


def targets_of(data: bytes) -> list[tuple[int, str, list[int]]]:
    """(target, name, rules) of each regex set."""
    reader = ImageReader(data)
    rows = reader.rows("regex_sets")
    return [(reader.number(row, "target"), reader.text(row, "name"), rules) for row, rules in zip(rows, sets_of(data), strict=True)]


def test_regexes_on_a_header_are_one_set() -> None:
    data = image(vhost(["a.com"], *(on("header", "x-user", p) for p in ("ja.*", ".*son", "[a-z]+", ".*"))))
    assert targets_of(data) == [(lib.FGW_ON_HEADER, "x-user", [0, 1, 2, 3])]
    expected = {"jason": "ja.*", "mason": ".*son", "bob": "[a-z]+", "": ".*", "Bob": ".*"}
    assert {value: taken(data, request(x_user=value)) for value in expected} == expected
    assert taken(data, request()) is None


def test_a_repeated_header_is_joined_for_the_set() -> None:
    data = image(vhost(["a.com"], *(on("header", "x-user", p) for p in ("a", "b", "b,c", "(b|,|a)*", "x{3}.*"))))
    wanted = RouteRequest(b"a.com", b"/", headers=((b"x-user", b"b"), (b"other", b"q"), (b"X-User", b"c")))
    assert taken(data, wanted) == "b,c"
    assert taken(data, RouteRequest(b"a.com", b"/", headers=((b"x-user", b"a"), (b"x-user", b"b")))) == "(b|,|a)*"
    long = b"x" * 40_000
    assert taken(data, RouteRequest(b"a.com", b"/", headers=((b"x-user", long),))) == "x{3}.*"
    assert taken(data, RouteRequest(b"a.com", b"/", headers=((b"x-user", long), (b"x-user", long)))) is None


@pytest.mark.parametrize(
    ("target", "name", "wanted"),
    [
        ("query", "v", request(query="v=b1")),
        ("authority", "", request(host="b1")),
        ("method", "", request(method="b1")),
        ("raw_path", "", request("b1")),
    ],
)
def test_every_text_can_have_a_set(target: str, name: str, wanted: RouteRequest) -> None:
    data = image(vhost(["*"], *(on(target, name, p) for p in ("a.*", "b", "b[0-9]", ".*"))))
    assert [rules for _, _, rules in targets_of(data)] == [[0, 1, 2, 3]]
    assert taken(data, wanted) == "b[0-9]"


def test_each_text_has_its_own_set_and_the_order_stays() -> None:
    rules = [
        on("header", "x", "a.*", rule_name="x1"),
        on("query", "q", "a.*", rule_name="q1"),
        rule("plain", None, Predicate("method", "exact", value="PUT")),
        on("header", "x", ".*b", rule_name="x2"),
        on("query", "q", ".*b", rule_name="q2"),
        on("header", "x", ".*", rule_name="x3"),
        on("query", "q", ".*", rule_name="q3"),
        on("header", "y", ".*", rule_name="y1"),
    ]
    data = image(vhost(["a.com"], *rules))
    assert [(name, members) for _, name, members in targets_of(data)] == [("q", [1, 4, 6]), ("x", [0, 3, 5])]
    expected = {
        "x1": request(x="a", query="q=a", method="PUT"),
        "q1": request(x="b", query="q=a", method="PUT"),
        "plain": request(x="b", query="q=b", method="PUT"),
        "x2": request(x="b", query="q=b"),
        "q2": request(x="c", query="q=b"),
        "x3": request(x="c", query="q=c"),
        "q3": request(y="c", query="q=c"),
        "y1": request(y="c"),
    }
    assert {name: taken(data, wanted) for name, wanted in expected.items()} == {name: name for name in expected}


def test_what_the_set_does_not_decide_is_asked() -> None:
    """A second regex on the same header, a path regex, an inverted condition."""
    rules = [
        on("header", "x", "a.*", Predicate("header", "regex", "x", ".*z"), rule_name="two"),
        on("header", "x", "a.*", path=PathMatch("regex", ".*/p"), rule_name="path"),
        on("header", "x", "a.*", Predicate("header", "regex", "y", ".+", invert=True), rule_name="without"),
        on("header", "x", "a.*", rule_name="last"),
    ]
    data = image(vhost(["a.com"], *rules))
    assert [members for _, _, members in targets_of(data)] == [[0, 1, 2, 3]]
    assert taken(data, request("/p", x="az")) == "two"
    assert taken(data, request("/p", x="a")) == "path"
    assert taken(data, request("/", x="a")) == "without"
    assert taken(data, request("/", x="a", y="b")) == "last"


def test_inverted_and_broken_regexes_are_in_no_set() -> None:
    inverted = [rule(f"not-{i}", None, Predicate("header", "regex", "x", f"{i}.*", invert=True)) for i in range(4)]
    broken = [on("header", "x", "(", rule_name="broken"), on("header", "x", "(", Predicate("header", "regex", "x", "a"))]
    data = image(vhost(["a.com"], *broken, *(on("header", "x", p) for p in ("a", "b", "c")), *inverted))
    assert [members for _, _, members in targets_of(data)] == [[2, 3, 4]]
    assert taken(data, request(x="b")) == "b"
    assert taken(data, request(x="0")) == "not-1"


def test_lists_with_the_same_regexes_share_their_set() -> None:
    everywhere = [on("header", "x", p, path=PathMatch("prefix", "/")) for p in ("a.*", "b.*", "c.*")]
    needs_y = Predicate("header", "present", "y")
    exact = [rule(f"e{i}", PathMatch("exact", f"/{i}"), needs_y) for i in range(50)]
    data = image(vhost(["a.com"], *everywhere, *exact))
    assert [members for _, _, members in targets_of(data)] == [[0, 1, 2]]
    reader = ImageReader(data)
    assert sum(row["regex_set"] != NONE for row in reader.rows("lists")) == 1  # each of the 50 lists goes on with it
    assert sum(row["next"] != NONE for row in reader.rows("lists")) == 50
    assert taken(data, request("/7", x="b", y="")) == "b.*"
    assert taken(data, request("/7", x="q", y="")) == "e7"


def test_short_lists_make_no_more_sets_than_the_rules_allow() -> None:
    rules = []
    for i in range(200):  # every list is a little different from the one above it
        rules.append(on("header", "x", f"{i}.*", path=PathMatch("prefix", "/" + "a" * (i % 9)), rule_name=str(i)))
        rules.append(rule(f"e{i}", PathMatch("prefix", f"/{'a' * (i % 9)}/{i}")))
    data = image(vhost(["a.com"], *rules))
    short = [members for members in sets_of(data) if len(members) <= MERGE_LIMIT]
    assert sum(map(len, short)) <= SET_MEMBERS_A_RULE * len(rules)
    reader = ImageReader(data)
    matcher = Matcher(data)
    for i in (0, 7, 63, 199):
        wanted = request("/" + "a" * (i % 9) + "/b", x=f"{i}!")
        assert matcher.match(0, wanted).rule == reader.match(0, wanted)[2]


def test_a_set_with_a_member_that_has_no_such_regex_is_refused() -> None:
    data = image(vhost(["a.com"], *(on("header", "x-user", p) for p in ("ja.*", ".*son", "[a-z]+", ".*"))))
    at = ImageReader(data).header["regex_sets.off"]
    row = list(TABLES["regex_sets"].unpack_from(data, at))
    for field, value in (
        ("target", lib.FGW_ON_QUERY),
        ("header_id", lib.FGW_HDR_HOST),
        ("name.len", 5),
        ("target", lib.FGW_ON_PATH),
    ):
        changed = row.copy()
        changed[TABLES["regex_sets"].names.index(field)] = value
        broken = data[:at] + TABLES["regex_sets"].pack(*changed) + data[at + TABLES["regex_sets"].size :]
        assert lib.fgw_image_check(ffi.from_buffer(broken), len(broken)) < 0, field


# --- one image after another ---


class Opened:
    """The regexes of images that follow one another."""

    def __init__(self, data: bytes, before: Opened | None = None) -> None:
        self.data = data
        self._pointer = ffi.from_buffer(data)
        self._regexes = ffi.gc(
            lib.fgw_regexes_open(self._pointer, ffi.NULL if before is None else before._regexes), lib.fgw_regexes_close
        )

    def ask(self, path: bytes) -> list[int]:
        """The answers of all regexes, then of all sets."""
        hits, reader = ffi.new("uint32_t **"), ImageReader(self.data)
        one = [lib.fgw_regexes_match(self._regexes, i, path, len(path)) for i in range(reader.header["regexes.count"])]
        sets = range(reader.header["regex_sets.count"])
        return one + [lib.fgw_regexes_match_set(self._regexes, i, path, len(path), hits) for i in sets]

    @property
    def compiled(self) -> int:
        return int(lib.fgw_regexes_compiled(self._regexes))

    def close(self) -> None:
        ffi.release(self._regexes)


def crowd(*names: str) -> bytes:
    return image(vhost(["a.com"], *(regex(name, f".*/{name}") for name in names)))


def test_what_was_compiled_is_good_for_the_next_image() -> None:
    first = Opened(crowd("a", "b", "c"))
    assert (first.ask(b"/b"), first.compiled) == ([0, 1, 0, 1], 4)
    second = Opened(crowd("x", "c", "b", "a"), first)
    assert (second.ask(b"/b"), second.compiled) == ([0, 0, 1, 0, 1], 6)
    first.close()
    third = Opened(crowd("a", "b", "c"), second)
    second.close()
    assert (third.ask(b"/x"), third.compiled) == ([0, 0, 0, 0], 6)
    assert Opened(crowd("a", "b", "c")).compiled == 0


def test_what_no_image_uses_any_more_is_forgotten() -> None:
    first = Opened(crowd("a", "b", "c"))
    first.ask(b"/b")
    keeper, other = first, crowd("d", "e", "f")
    for _ in range(40):
        opened = Opened(other, keeper)
        opened.ask(b"/d")
        if keeper is not first:
            keeper.close()
        keeper = opened
    assert keeper.compiled == 8
    again = Opened(crowd("a", "b", "c"), keeper)
    again.ask(b"/b")
    assert again.compiled == 8, "the first image still holds its regexes"
    first.close()
    again.close()
    for _ in range(40):
        opened = Opened(other, keeper)
        keeper.close()
        keeper = opened
    again = Opened(crowd("a", "b", "c"), keeper)
    again.ask(b"/b")
    assert again.compiled == 12
