"""Single fields of an expectation against what happens."""

from __future__ import annotations

from typing import Any

import pytest

from fastgw.model.kinds.route_test import Expectation, ExpectedDestination
from fastgw.routetest.actual import Actual
from fastgw.routetest.compare import differences
from fastgw.routetest.results import Difference

CART = {"host": "cart.default.svc.cluster.local", "subset": "v2", "port": 80, "weight": 1}
EXTERNAL = {"host": "api.example.com", "subset": "", "port": 443, "weight": 3}


def actual(**fields: Any) -> Actual:
    return Actual(
        **({"virtual_service": "default/shop", "route": "", "destinations": [CART, EXTERNAL], "statuses": [200, 503]} | fields)
    )


@pytest.mark.parametrize(
    "expect",
    [
        Expectation(virtual_service="shop"),
        Expectation(virtual_service="default/shop"),
        Expectation(route=""),
        Expectation(status=503),
        Expectation(location=None),
        Expectation(destination=ExpectedDestination(host="Cart", subset="v2")),
        Expectation(destination=ExpectedDestination(host="cart.default.svc.cluster.local")),
        Expectation(destination=ExpectedDestination(host="api.example.com", port=443, subset="")),
        Expectation(request_headers={"X-None": None}),
    ],
)
def test_agrees(expect: Expectation) -> None:
    assert differences(expect, actual()) == []


@pytest.mark.parametrize(
    ("expect", "field", "words"),
    [
        (Expectation(virtual_service="other/shop"), "virtualService", ("other/shop", "default/shop")),
        (Expectation(virtual_service="sho"), "virtualService", ("sho", "default/shop")),
        (Expectation(route="a"), "route", ("a", "(a route without a name)")),
        (Expectation(status=404), "status", ("404", "200 or 503")),
        (Expectation(location="/x"), "location", ("/x", "none")),
        (Expectation(request_headers={"X": "1"}), "requestHeaders.X", ("1", "none")),
    ],
)
def test_differs(expect: Expectation, field: str, words: tuple[str, str]) -> None:
    assert differences(expect, actual()) == [Difference(field, *words)]


@pytest.mark.parametrize(
    "expected",
    [
        ExpectedDestination(host="cart", subset=""),
        ExpectedDestination(host="cart", port=443),
        ExpectedDestination(host="cart.other.svc.cluster.local"),
        ExpectedDestination(host="api"),
        ExpectedDestination(subset="v3"),
    ],
)
def test_one_destination_has_to_agree_in_everything(expected: ExpectedDestination) -> None:
    (found,) = differences(Expectation(destination=expected), actual())
    assert found.field == "destination"
    assert found.actual == "host cart.default.svc.cluster.local, subset v2, port 80; host api.example.com, port 443"


def test_a_route_whose_name_begins_alike_is_another() -> None:
    assert differences(Expectation(route="beta"), actual(route="beta.by-user")) == []
    assert differences(Expectation(route="beta"), actual(route="beta2")) == [Difference("route", "beta", "beta2")]


def test_nothing_at_all() -> None:
    nothing = actual(virtual_service=None, route=None, destinations=[], statuses=[])
    found = differences(
        Expectation(virtual_service="a", route="b", destination=ExpectedDestination(subset=""), status=200), nothing
    )
    assert [(each.expected, each.actual) for each in found] == [
        ("a", "none"),
        ("b", "none"),
        ("one without a subset", "none"),
        ("200", "no answer to the connection: it is refused or closed"),
    ]


@pytest.mark.parametrize(("expected", "agrees"), [("/a", True), ("/a?x=1", True), ("/a?", False), ("/a?x=2", False), ("/", False)])
def test_the_query_counts_where_it_is_written(expected: str, agrees: bool) -> None:
    assert (differences(Expectation(path=expected), actual(path="/a?x=1")) == []) is agrees
    assert differences(Expectation(path=expected), actual(path=None)) == [Difference("path", expected, "none")]


def test_an_expected_absence() -> None:
    assert differences(Expectation(response_headers={"Location": None}), actual(response_headers={"location": "/x"})) == [
        Difference("responseHeaders.Location", "none", "/x")
    ]
