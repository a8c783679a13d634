"""Delegates, statement by statement (section F), on the http routes that come out of the merge."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from made_resources import resource

from fastgw.compiler.delegates import Expanded, expand
from fastgw.compiler.report import Report
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.resource import Resource

HERE = [{"destination": {"host": "here"}}]


def root_of(*http: dict[str, Any], **metadata: Any) -> Resource:
    return resource("VirtualService", "root", {"hosts": ["a.com"], "gateways": ["gw"], "http": list(http)}, **metadata)


def leaf_of(*http: dict[str, Any], namespace: str = "default", name: str = "leaf", **spec: Any) -> Resource:
    return resource("VirtualService", name, {"http": list(http), **spec}, namespace)


def merged(root: Resource, *leaves: Resource) -> tuple[list[Expanded], list[str]]:
    """The expanded routes, and the messages about what was left out."""
    report = Report()
    found = list(expand(root, {leaf.key: leaf for leaf in leaves}, report))
    return found, [entry.message for entry in report.diagnostics]


def merged_matches(root: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The matches of the only route, in the form of YAML; None when it is left out."""
    found, _ = merged(root_of({"match": root, "delegate": {"name": "leaf"}}), leaf_of({"match": own, "route": HERE}))
    if not found:
        return None
    [expanded] = found
    return [{} if match is None else as_yaml(match) for _, match in expanded.matches]


def as_yaml(match: HttpMatch) -> dict[str, Any]:
    plain = msgspec.json.decode(msgspec.json.encode(match))
    return {key: value for key, value in plain.items() if value not in (None, "", 0, False, {}, [])}


def test_f1_the_routes_of_the_delegate_stand_in_place_of_the_roots() -> None:
    root = root_of({"name": "a", "route": HERE}, {"delegate": {"name": "leaf"}}, {"name": "z", "route": HERE})
    found, _ = merged(root, leaf_of({"name": "b", "route": HERE}, {"name": "c", "route": HERE}))
    assert [(entry.owner.name, entry.index, entry.route.name) for entry in found] == [
        ("root", 0, "a"),
        ("leaf", 0, "b"),
        ("leaf", 1, "c"),
        ("root", 2, "z"),
    ]


@pytest.mark.parametrize(
    ("delegate", "leaf", "left"),
    [
        ({"name": "leaf"}, leaf_of({"route": HERE}, namespace="default"), 2),
        ({"name": "leaf"}, leaf_of({"route": HERE}, namespace="team"), 1),
        ({"name": "leaf", "namespace": "team"}, leaf_of({"route": HERE}, namespace="team"), 2),
        ({"name": "other"}, leaf_of({"route": HERE}), 1),
        ({"name": "leaf", "namespace": "team"}, leaf_of({"route": HERE}, namespace="team", exportTo=["default"]), 2),
        ({"name": "leaf", "namespace": "team"}, leaf_of({"route": HERE}, namespace="team", exportTo=["*"]), 2),
        ({"name": "leaf", "namespace": "team"}, leaf_of({"route": HERE}, namespace="team", exportTo=["."]), 1),
        ({"name": "leaf", "namespace": "team"}, leaf_of({"route": HERE}, namespace="team", exportTo=["~"]), 1),
        ({"name": "leaf", "namespace": "team"}, leaf_of({"route": HERE}, namespace="team", exportTo=["elsewhere"]), 1),
    ],
)
def test_f2_a_delegate_that_is_missing_or_hidden_takes_only_its_own_route_away(
    delegate: dict[str, str], leaf: Resource, left: int
) -> None:
    found, messages = merged(root_of({"delegate": delegate}, {"name": "rest", "route": HERE}), leaf)
    assert len(found) == left and found[-1].route.name == "rest"
    assert len(messages) == 2 - left


def test_f3_a_delegate_does_not_delegate_again() -> None:
    leaf = leaf_of({"name": "again", "delegate": {"name": "deeper"}}, {"name": "own", "route": HERE})
    found, messages = merged(root_of({"delegate": {"name": "leaf"}}), leaf, leaf_of({"name": "deep", "route": HERE}, name="deeper"))
    assert [entry.route.name for entry in found] == ["own"]
    assert len(messages) == 1 and "delegate again" in messages[0]


A, B = {"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}


@pytest.mark.parametrize(
    ("root", "own", "result"),
    [
        ([], [], [{}]),
        ([A, B], [], [A, B]),
        ([], [A, B], [A, B]),
        ([A, B], [{"method": {"exact": "GET"}}], [{**A, "method": {"exact": "GET"}}, {**B, "method": {"exact": "GET"}}]),
        (
            [A, B],
            [{"uri": {"exact": "/a/x"}}, {"uri": {"exact": "/b/x"}}],
            [{"uri": {"exact": "/a/x"}}, {"uri": {"exact": "/b/x"}}],
        ),
        ([A, B], [{"uri": {"exact": "/a/x"}}, {"uri": {"exact": "/c"}}], None),
    ],
)
def test_f4_matches_are_multiplied(root: list[Any], own: list[Any], result: list[Any] | None) -> None:
    assert merged_matches(root, own) == result


TEXTS: list[tuple[dict[str, str], dict[str, str], bool]] = [
    ({"prefix": "/a"}, {"prefix": "/a"}, True),
    ({"prefix": "/a"}, {"prefix": "/a/b"}, True),
    ({"prefix": "/a"}, {"prefix": "/ab"}, True),
    ({"prefix": "/a"}, {"exact": "/a"}, True),
    ({"prefix": "/a"}, {"exact": "/b"}, False),
    ({"prefix": "/a/b"}, {"prefix": "/a"}, False),
    ({"exact": "/a"}, {"exact": "/a"}, True),
    ({"exact": "/a"}, {"exact": "/a/b"}, False),
    ({"exact": "/a"}, {"prefix": "/a"}, False),
    ({"regex": "/a"}, {"regex": "/a"}, False),
    ({"regex": "/a"}, {"exact": "/a"}, False),
    ({"prefix": "/a"}, {"regex": "/a.*"}, False),
]


@pytest.mark.parametrize(("root", "own", "fits"), TEXTS)
def test_f5_the_narrower_condition_of_the_delegate_fits(root: dict[str, str], own: dict[str, str], fits: bool) -> None:
    for key in ("uri", "scheme", "method", "authority"):
        assert merged_matches([{key: root}], [{key: own}]) == ([{key: own}] if fits else None), key
    for key in ("headers", "withoutHeaders", "queryParams"):
        assert merged_matches([{key: {"x": root}}], [{key: {"x": own}}]) == ([{key: {"x": own}}] if fits else None), key
        assert merged_matches([{key: {"x": root}}], [{key: {"y": own}}]) == [{key: {"x": root, "y": own}}]


@pytest.mark.parametrize(
    ("root", "own", "result"),
    [
        ({**A, "ignoreUriCase": True}, {}, None),
        ({**A, "ignoreUriCase": True}, {"ignoreUriCase": True}, {**A, "ignoreUriCase": True}),
        ({"port": 80}, {"port": 81}, None),
        ({"port": 80}, {"port": 80}, {"port": 80}),
        ({"port": 80}, {}, {"port": 80}),
        ({}, {"port": 81}, {"port": 81}),
        ({"sourceNamespace": "x"}, {}, None),
        ({"sourceNamespace": "x"}, {"sourceNamespace": "x"}, {"sourceNamespace": "x"}),
        ({}, {"sourceNamespace": "x"}, {"sourceNamespace": "x"}),
        ({"sourceLabels": {"a": "1"}}, {"sourceLabels": {"a": "2"}}, None),
        ({"sourceLabels": {"a": "1"}}, {"sourceLabels": {"b": "2"}}, {"sourceLabels": {"a": "1", "b": "2"}}),
        ({"gateways": ["ns/a", "ns/b"]}, {"gateways": ["ns/b"]}, {"gateways": ["ns/b"]}),
        ({"gateways": ["ns/a"]}, {"gateways": ["ns/b"]}, None),
        ({"gateways": ["ns/a"]}, {"gateways": ["ns/a", "ns/b"]}, None),
        ({"gateways": ["a"]}, {"gateways": ["default/a"]}, {"gateways": ["default/a"]}),
    ],
)
def test_f6_conditions_on_gateway_and_source(root: dict[str, Any], own: dict[str, Any], result: dict[str, Any] | None) -> None:
    assert merged_matches([root], [own]) == (None if result is None else [result])


def test_f7_the_delegates_values_win_and_maps_are_unions() -> None:
    root = {"uri": {"prefix": "/"}, "headers": {"a": {"prefix": "1"}, "b": {"exact": "2"}}, "statPrefix": "root", "name": "r"}
    own = {"uri": {"prefix": "/x"}, "headers": {"a": {"exact": "11"}, "c": {}}, "statPrefix": "own", "name": "d"}
    assert merged_matches([root], [own]) == [
        {
            "name": "r-d",
            "uri": {"prefix": "/x"},
            "headers": {"a": {"exact": "11"}, "b": {"exact": "2"}, "c": {}},
            "statPrefix": "own",
        }
    ]


BLOCKS: list[tuple[str, Any, Any]] = [
    ("rewrite", {"uri": "/r"}, {"authority": "own"}),
    ("timeout", "1s", "2s"),
    ("retries", {"attempts": 1}, {"attempts": 0}),
    ("fault", {"delay": {"fixedDelay": "1s"}}, {"abort": {"httpStatus": 500}}),
    ("mirror", {"host": "r"}, {"host": "d"}),
    ("mirrorPercent", 5, 0),
    ("mirrorPercentage", {"value": 5.0}, {"value": 0.0}),
    ("mirrors", [{"destination": {"host": "r"}}], [{"destination": {"host": "d"}}]),
    ("corsPolicy", {"allowOrigins": [{"exact": "r"}]}, {"allowMethods": ["GET"]}),
    ("headers", {"request": {"set": {"a": "r"}}}, {"response": {"remove": ["b"]}}),
]


@pytest.mark.parametrize(("block", "of_root", "own"), BLOCKS)
def test_f8_blocks_are_the_delegates_or_else_the_roots(block: str, of_root: Any, own: Any) -> None:
    def value(root: dict[str, Any], leaf: dict[str, Any]) -> Any:
        found, _ = merged(root_of({"delegate": {"name": "leaf"}, **root}), leaf_of({"route": HERE, **leaf}))
        return msgspec.to_builtins(found[0].route).get(block)

    alone = value({}, {block: own})
    assert value({block: of_root}, {block: own}) == alone, "the whole block, not key by key"
    assert value({block: of_root}, {}) == value({}, {block: of_root}) != alone
    assert value({}, {}) in (None, [], ())


def test_f8_redirect_and_route_are_the_delegates_alone() -> None:
    found, _ = merged(root_of({"delegate": {"name": "leaf"}}), leaf_of({"redirect": {"uri": "/x"}}, {"route": HERE}))
    assert [(entry.route.redirect is not None, len(entry.route.route)) for entry in found] == [(True, 0), (False, 1)]


@pytest.mark.parametrize(("root", "own", "name"), [("r", "d", "r-d"), ("", "d", "d"), ("r", "", "r"), ("", "", "")])
def test_f9_names_are_joined(root: str, own: str, name: str) -> None:
    found, _ = merged(root_of({"name": root, "delegate": {"name": "leaf"}}), leaf_of({"name": own, "route": HERE}))
    assert found[0].route.name == name


def test_f9_a_delegate_sees_the_path_before_the_rewrite() -> None:
    root = root_of({"match": [A], "rewrite": {"uri": "/x"}, "delegate": {"name": "leaf"}})
    found, messages = merged(root, leaf_of({"match": [{"uri": {"prefix": "/x"}}], "route": HERE}))
    assert found == [] and len(messages) == 1
