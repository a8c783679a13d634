"""Lists of rules: what is paired with what, and which new orders matter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastgw.diff.rules import Comparer, overlap
from fastgw.model.origin import Origin
from fastgw.model.plan import Action, ObjectRef, PathMatch, Predicate, Rule, Sticky, WeightedDestination


def to(*clusters: str, weights: tuple[int, ...] = (), **more: Any) -> Action:
    shares = weights or (1,) * len(clusters)
    return Action("route", tuple(WeightedDestination(c, w, c, "", 80) for c, w in zip(clusters, shares, strict=True)), **more)


def rule(path: str, action: Action | str = "a", index: int = 0, name: str = "", owner: str = "default/vs", line: int = 1) -> Rule:
    """``/x*`` is a prefix, ``~x`` a regex, "" any path, else an exact path."""
    kinds = {"~": PathMatch("regex", path[1:]), "*": PathMatch("prefix", path.rstrip("*"))}
    match = None if not path else kinds.get(path[0]) or kinds.get(path[-1]) or PathMatch("exact", path)
    target = to(action) if isinstance(action, str) else action
    place = Origin("a.yaml", line, 1)
    return Rule(name, ObjectRef("VirtualService", owner, place), index, 0, target, match, (), place)


def numbered(*rules: Rule) -> list[Rule]:
    return [msgspec.structs.replace(each, route_index=index) for index, each in enumerate(rules)]


def changes(old: list[Rule], new: list[Rule]) -> list[tuple[str, str, list[str]]]:
    """(change, path, fields)."""
    found = Comparer().compare(old, new)
    return [(change, path_of(new or old), [each.field for each in fields]) for change, old, new, fields, _ in found]


def path_of(found: Rule | None) -> str:
    assert found is not None
    return found.path.value if found.path is not None else ""


def test_names_files_and_weights_that_come_to_the_same_are_no_change() -> None:
    old = [rule("/a", to("x", "y", weights=(1, 1))), rule("/b*")]
    new = [rule("/a", to("y", "x", weights=(50, 50)), 3, "named", "other/vs", 9), rule("/b*", "a", 7, owner="other/vs")]
    assert changes(old, new) == []


def test_added_and_removed() -> None:
    old, new = numbered(rule("/a"), rule("/b")), numbered(rule("/a"), rule("/c", "new"), rule("/d", "new"))
    assert changes(old, numbered(rule("/a"))) == [("removed", "/b", [])]
    assert changes(numbered(rule("/a")), new) == [("added", "/c", []), ("added", "/d", [])]


def test_inserting_a_rule_moves_nobody() -> None:
    old = numbered(rule("/a*"), rule("/b*", "b"), rule("", "c"))
    new = numbered(rule("/z", "z"), rule("/a*"), rule("/b*", "b"), rule("", "c"))
    assert changes(old, new) == [("added", "/z", [])]


def test_a_condition_or_a_destination_changes() -> None:
    old = numbered(rule("/a*", "x"), rule("/b*", "y"), rule("", "z"))
    new = numbered(rule("/a*", "other"), rule("/bb*", "y"), rule("", "z"))
    assert changes(old, new) == [("changed", "/a", ["destinations"]), ("changed", "/bb", ["match"])]


def test_a_named_rule_is_known_by_its_name() -> None:
    old = numbered(rule("/a", "x", name="first"), rule("/b", "y", name="second"))
    new = numbered(rule("/c", "w", name="second"), rule("/a", "x", name="first"))
    assert changes(old, new) == [("changed", "/c", ["match", "destinations"])]


def test_every_field_of_an_action_counts() -> None:
    old, new = [rule("/a", to("x"))], [rule("/a", to("x", sticky=Sticky("cookie", "user")))]
    assert changes(old, new) == [("changed", "/a", ["sticky"])]
    assert changes(old, [rule("/a", Action("unsupported", (), "redirect"))]) == [("changed", "/a", ["action", "destinations"])]


def test_shares() -> None:
    ((_, _, _, (field,), _),) = Comparer().compare(
        [rule("/a", to("x", "y", weights=(3, 1)))], [rule("/a", to("x", "y", weights=(1, 1)))]
    )
    assert (field.old, field.new) == ("x:80 75 %, y:80 25 %", "x:80 50 %, y:80 50 %")


def test_a_rule_that_passed_one_it_overlaps_with() -> None:
    old, new = numbered(rule("/a*", "x"), rule("/ab", "y")), numbered(rule("/ab", "y"), rule("/a*", "x"))
    ((change, _, moved, (field,), over),) = Comparer().compare(old, new)
    assert (change, field.field) == ("moved", "order")
    assert {path_of(moved), path_of(over)} == {"/a", "/ab"}


def test_a_rule_that_moved_and_changed() -> None:
    old = numbered(rule("/a*", "x"), rule("/ab", "y", name="n"), rule("", "z"))
    new = numbered(rule("/ab", "w", name="n"), rule("/a*", "x"), rule("", "z"))
    found = {change: fields for change, _, fields in changes(old, new)}
    assert found in ({"changed": ["destinations", "order"]}, {"changed": ["destinations"], "moved": ["order"]})


@pytest.mark.parametrize(("one", "other"), [("/a", "/b"), ("/a*", "/b*"), ("/a*", "/b"), ("/b", "/a*")])
def test_a_new_order_of_rules_that_cannot_meet(one: str, other: str) -> None:
    first, second = rule(one, "x"), rule(other, "y")
    assert not overlap(first, second)
    assert changes(numbered(first, second), numbered(second, first)) == []


def test_a_new_order_of_rules_that_do_the_same() -> None:
    assert changes(numbered(rule("/a*"), rule("/ab")), numbered(rule("/ab"), rule("/a*"))) == []


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (PathMatch("prefix", "/a"), PathMatch("prefix", "/ab"), True),
        (PathMatch("exact", "/a"), PathMatch("exact", "/A"), False),
        (PathMatch("exact", "/a"), PathMatch("exact", "/A", True), True),
        (PathMatch("prefix", "/A", True), PathMatch("exact", "/ab"), True),
        (PathMatch("segment", "/a/"), PathMatch("exact", "/a"), True),
        (PathMatch("segment", "/a"), PathMatch("exact", "/b"), False),
        (PathMatch("regex", "/a"), PathMatch("exact", "/b"), True),
        (None, PathMatch("exact", "/b"), True),
    ],
)
def test_paths_that_meet(one: PathMatch | None, other: PathMatch | None, meet: bool) -> None:
    first, second = (msgspec.structs.replace(rule("/"), path=path) for path in (one, other))
    assert overlap(first, second) is meet
    assert overlap(second, first) is meet


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (Predicate("header", "exact", "x", "1"), Predicate("header", "exact", "x", "2"), False),
        (Predicate("header", "exact", "x", "1"), Predicate("header", "exact", "x", "1"), True),
        (Predicate("header", "exact", "x", "1"), Predicate("header", "exact", "y", "2"), True),
        (Predicate("header", "exact", "x", "1"), Predicate("query", "exact", "x", "2"), True),
        (Predicate("header", "exact", "x", "1"), Predicate("header", "prefix", "x", "2"), True),
        (Predicate("header", "exact", "x", "1", True), Predicate("header", "exact", "x", "2"), True),
        (Predicate("method", "exact", value="GET"), Predicate("method", "exact", value="POST"), False),
    ],
)
def test_conditions_that_exclude_each_other(one: Predicate, other: Predicate, meet: bool) -> None:
    first, second = (msgspec.structs.replace(rule("/"), predicates=(each,)) for each in (one, other))
    assert overlap(first, second) is meet


def test_the_order_of_conditions_is_nothing() -> None:
    one, two = Predicate("header", "exact", "x", "1"), Predicate("query", "present", "q")
    old, new = (msgspec.structs.replace(rule("/"), predicates=pair) for pair in ((one, two), (two, one)))
    assert changes([old], [new]) == []
