"""Plain values into Structs, and the exact place of what does not fit."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.model.decode import Problem, decode, describe
from fastgw.model.duration import Duration
from fastgw.model.kinds import KINDS
from fastgw.model.kinds.base import Spec, UInt32


class Leaf(Spec):
    number: UInt32 = 0
    on: bool = False
    share: float = 0.0
    mode: Literal["NONE", "SOME", "ALL"] = "NONE"
    wait_for: Duration | None = None
    either: int | str | None = None
    anything: Any = None


class Tree(Spec):
    name: str = ""
    leaves: tuple[Leaf, ...] = ()
    by_name: dict[str, Leaf] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class Strict(Spec):
    needed: str


def problems(value: object) -> list[tuple[str, str]]:
    tree, found = decode(value, Tree, "spec")
    assert (tree is None) == bool(found)
    return [(problem.path, problem.message) for problem in found]


def test_what_fits() -> None:
    value = {"name": "a", "leaves": [{"number": 1, "waitFor": "1.5h"}], "byName": {"x": {"mode": "ALL"}}}
    tree, found = decode(value, Tree, "spec")
    assert found == []
    assert tree == Tree(name="a", leaves=(Leaf(number=1, wait_for="1.5h"),), by_name={"x": Leaf(mode="ALL")})


def test_null_is_absent_in_a_field() -> None:
    tree, found = decode({"name": None, "leaves": None, "byName": {"x": {"share": None, "either": None}}}, Tree, "spec")
    assert (tree, found) == (Tree(by_name={"x": Leaf()}), [])


def test_enums_by_number_and_whole_floats() -> None:
    tree, found = decode({"leaves": [{"mode": 2, "number": 80.0, "share": 1}]}, Tree, "spec")
    assert (tree, found) == (Tree(leaves=(Leaf(mode="ALL", number=80, share=1.0),)), [])


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ([], "spec", "expected a mapping, got a list"),
        ({"nmae": 1}, "spec.nmae", 'unknown field "nmae", did you mean "name"?'),
        ({"leaves": [{}, {"wait_for": "1s"}]}, "spec.leaves[1].wait_for", 'unknown field "wait_for", did you mean "waitFor"?'),
        ({"zzz": 1}, "spec.zzz", 'unknown field "zzz"'),
        ({"name": 8}, "spec.name", "expected text, got the number 8: put it in quotes"),
        ({"name": True}, "spec.name", "expected text, got true: put it in quotes"),
        ({"name": ["x"]}, "spec.name", "expected text, got a list"),
        ({"leaves": {}}, "spec.leaves", "expected a list, got a mapping"),
        ({"leaves": [None]}, "spec.leaves[0]", "null is not allowed in this list"),
        ({"byName": {"x": None}}, "spec.byName.x", "null is not allowed here"),
        ({"byName": []}, "spec.byName", "expected a mapping, got a list"),
        ({"labels": {"a.b/c": 1}}, 'spec.labels["a.b/c"]', "expected text, got the number 1: put it in quotes"),
        ({"leaves": [{"number": -1}]}, "spec.leaves[0].number", "-1 is too small, the least is 0"),
        ({"leaves": [{"number": 2**32}]}, "spec.leaves[0].number", "4294967296 is too large, the most is 4294967295"),
        (
            {"leaves": [{"number": "80"}]},
            "spec.leaves[0].number",
            'expected a whole number, got the text "80": take the quotes away',
        ),
        ({"leaves": [{"number": 1.5}]}, "spec.leaves[0].number", "expected a whole number, got the number 1.5"),
        ({"leaves": [{"number": True}]}, "spec.leaves[0].number", "expected a whole number, got true"),
        ({"leaves": [{"on": "true"}]}, "spec.leaves[0].on", 'expected true or false, got the text "true": take the quotes away'),
        ({"leaves": [{"share": "1"}]}, "spec.leaves[0].share", 'expected a number, got the text "1"'),
        (
            {"leaves": [{"mode": "all"}]},
            "spec.leaves[0].mode",
            'expected one of NONE, SOME, ALL, got the text "all", did you mean "ALL"?',
        ),
        ({"leaves": [{"mode": 3}]}, "spec.leaves[0].mode", "expected one of NONE, SOME, ALL, got the number 3"),
        ({"leaves": [{"mode": []}]}, "spec.leaves[0].mode", "expected one of NONE, SOME, ALL, got a list"),
        (
            {"leaves": [{"waitFor": 10}]},
            "spec.leaves[0].waitFor",
            'expected a duration such as "10s" or "100ms", got the number 10',
        ),
        (
            {"leaves": [{"waitFor": "10"}]},
            "spec.leaves[0].waitFor",
            'expected a duration such as "10s" or "100ms", got the text "10"',
        ),
        ({"leaves": [{"either": 1.5}]}, "spec.leaves[0].either", "expected a whole number, got the number 1.5"),
    ],
)
def test_misfits(value: object, path: str, message: str) -> None:
    assert problems(value) == [(path, message)]


def test_all_misfits_are_found_at_once() -> None:
    assert len(problems({"a": 1, "b": 2, "name": 3, "leaves": [{"on": 1}, {"x": 1}]})) == 5


def test_missing_field() -> None:
    assert decode({}, Strict, "spec") == (None, [Problem("spec", 'the field "needed" is missing')])


def test_unknown_fields_may_be_passed_over() -> None:
    tree, found = decode({"name": "a", "new": 1}, Tree, "", drop_unknown=True)
    assert tree == Tree(name="a")
    assert [(problem.path, problem.at_key, problem.unknown_field) for problem in found] == [("new", True, True)]


def test_describe_shortens() -> None:
    assert describe("x" * 100) == 'the text "' + "x" * 57 + '..."'
    assert describe(None) == "null"
    assert describe({}) == "a mapping"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False) | st.sampled_from(["", "10s", "ALL", "x", "80"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "leaves", "byName", "labels", "number", "mode", "on", "waitFor", "x"]), inner)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_a_value_is_decoded_or_has_problems_never_both_nor_neither(value: object) -> None:
    """The walk and msgspec agree on what fits: no value is refused without a place that is more precise than the whole."""
    tree, found = decode(value, Tree, "spec")
    assert (tree is None) == bool(found)
    assert not any("`$" in problem.message for problem in found)


@pytest.mark.parametrize(
    "info", [info for info in KINDS.values() if info.spec is not None], ids=lambda info: f"{info.group}-{info.kind}"
)
def test_every_kind_can_be_walked(info: Any) -> None:
    """Each type that a kind uses has a rule in the walk: an unknown field is found in every Struct of it."""
    spec, found = decode({"surelyNoField": 1}, info.spec, "spec")
    assert spec is None
    assert [problem.path for problem in found] == ["spec.surelyNoField"]
