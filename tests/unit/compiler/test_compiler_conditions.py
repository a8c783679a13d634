"""Conditions of a match (section G): what becomes a predicate, what is dropped, what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastgw.compiler.conditions import InvalidMatch, conditions_of, is_catch_all
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.plan import PathMatch, Predicate


def conditions(**match: Any) -> Any:
    return conditions_of(msgspec.convert(match, HttpMatch))


@pytest.mark.parametrize(
    ("match", "answer"),
    [
        ({}, True),
        ({"uri": {"prefix": "/"}}, True),
        ({"uri": {"regex": ".*"}}, True),
        ({"uri": {}}, True),
        ({"uri": {"prefix": ""}}, False),
        ({"uri": {"prefix": "/a"}}, False),
        ({"uri": {"exact": "/"}}, False),
        ({"uri": {"prefix": "/"}, "method": {"exact": "GET"}}, False),
        ({"uri": {"prefix": "/"}, "queryParams": {"a": {}}}, False),
        ({"uri": {"prefix": "/"}, "withoutHeaders": {"a": {}}}, False),
        ({"scheme": {"exact": "http"}}, False),
    ],
)
def test_catch_all(match: dict[str, Any], answer: bool) -> None:
    assert is_catch_all(conditions(**match)) is answer


def test_regexes_keep_their_case() -> None:
    assert conditions(uri={"regex": "/A.*"}, ignoreUriCase=True).path == PathMatch("regex", "/A.*")
    assert conditions(uri={"exact": "/A"}, ignoreUriCase=True).path == PathMatch("exact", "/A", True)


def test_header_names_are_lower_case_and_in_order() -> None:
    found = conditions(headers={"X-B": {"exact": "V"}, "X-A": {"prefix": "p"}}, withoutHeaders={"X-C": {}})
    assert found.predicates == (
        Predicate("header", "prefix", "x-a", "p"),
        Predicate("header", "exact", "x-b", "V"),
        Predicate("header", "present", "x-c", "", True),
    )


def test_query_parameter_names_keep_their_case() -> None:
    assert conditions(queryParams={"Id": {"regex": "[0-9]+"}}).predicates == (Predicate("query", "regex", "Id", "[0-9]+"),)


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({}, True),
        ({"exact": "x"}, True),
        ({"exact": ""}, False),
        ({"prefix": ""}, False),
        ({"regex": ".*"}, False),
        ({"regex": ".+"}, True),
    ],
)
def test_without_the_host_header(wanted: dict[str, str], holds: bool) -> None:
    """G8 and G12: "host" is never there, and what is not there counts as the empty text."""
    predicates = conditions(withoutHeaders={"Host": wanted}).predicates
    assert predicates == (() if holds else (Predicate("never", "present", "host"),))


def test_claims_never_hold_even_when_negated() -> None:
    for field in ("headers", "withoutHeaders"):
        found = conditions(**{field: {"@request.auth.claims.sub": {"exact": "x"}}})
        assert [predicate.target for predicate in found.predicates] == ["never"]
        assert "not supported yet" in found.remarks[0][1]


@pytest.mark.parametrize(
    ("match", "field"),
    [
        ({"uri": {"regex": "("}}, ".uri.regex"),
        ({"uri": {"regex": "*"}}, ".uri.regex"),
        ({"uri": {"regex": ""}}, ".uri.regex"),
        ({"uri": {"regex": "a" * 1025}}, ".uri.regex"),
        ({"method": {"exact": "a", "regex": "b"}}, ".method"),
        ({"headers": {"x": {"regex": "(?<n>a"}}}, ".headers[x].regex"),
        ({"queryParams": {"q": {"exact": "a", "prefix": "b"}}}, ".queryParams[q]"),
    ],
)
def test_meaningless_matches_are_refused(match: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidMatch) as caught:
        conditions(**match)
    assert caught.value.field == field


def test_a_star_as_regex_of_a_header_asks_for_presence() -> None:
    assert conditions(headers={"x": {"regex": "*"}}).predicates == (Predicate("header", "present", "x"),)
