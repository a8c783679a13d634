"""Expectation against what happens: the fields that differ. What is not expected is not compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastgw.compiler.hosts import full_name
from fastgw.image.edited import Outcome
from fastgw.model.kinds.route_test import Expectation, ExpectedDestination
from fastgw.routetest.actual import Actual
from fastgw.routetest.results import Difference

NONE = "none"


def differences(expect: Expectation, actual: Actual) -> list[Difference]:
    """In the order in which the fields are documented."""
    return [difference for difference in _all(expect, actual) if difference is not None]


def _all(expect: Expectation, actual: Actual) -> Iterator[Difference | None]:
    yield _virtual_service(expect.virtual_service, actual.virtual_service)
    yield _route(expect.route, actual.route)
    if expect.destination is not None:
        yield _destination(expect.destination, actual)
    if expect.status is not None and expect.status not in actual.statuses:
        silent = "its bytes go on" if actual.destinations else "it is refused or closed"
        got = " or ".join(map(str, actual.statuses)) or f"no answer to the connection: {silent}"
        yield Difference("status", str(expect.status), got)
    yield _text("location", expect.location, actual.location)
    yield _path(expect.path, actual.path)
    yield from _outcome(expect, actual)


def _outcome(expect: Expectation, actual: Actual) -> list[Difference]:
    """Of the destinations that the request may go to, and that agree with the expected one, the nearest to what is expected."""
    listed = list(zip(actual.destinations, actual.outcomes, strict=False))
    namespace = (actual.virtual_service or "").partition("/")[0]
    agreeing = [pair for pair in listed if expect.destination is None or _agrees(expect.destination, pair[0], namespace)]
    found = [list(_changes(expect, outcome)) for _, outcome in agreeing or listed]
    return min(found, key=len) if found else list(_changes(expect, Outcome("", {}, actual.response_headers)))


def _changes(expect: Expectation, outcome: Outcome) -> Iterator[Difference]:
    authority = _text("authority", expect.authority, outcome.authority or None)
    if authority is not None:
        yield authority
    yield from _headers("requestHeaders", expect.request_headers, outcome.request_headers)
    yield from _headers("responseHeaders", expect.response_headers, outcome.response_headers)


def _text(field: str, expected: str | None, got: str | None) -> Difference | None:
    if expected is None or expected == got:
        return None
    return Difference(field, expected, NONE if got is None else got)


def _path(expected: str | None, got: str | None) -> Difference | None:
    """An expectation without a query leaves the query open."""
    if expected is not None and got is not None and "?" not in expected and got.partition("?")[0] == expected:
        return None
    return _text("path", expected, got)


def _virtual_service(expected: str | None, got: str | None) -> Difference | None:
    """A name without a namespace stands for that name in any of them."""
    if expected is None or got == expected or ("/" not in expected and got is not None and got.rpartition("/")[2] == expected):
        return None
    return Difference("virtualService", expected, got or NONE)


def _route(expected: str | None, got: str | None) -> Difference | None:
    """A rule is named after its route, or ``route.match`` where the match has a name as well."""
    if expected is None or (got is not None and (got == expected or got.startswith(f"{expected}."))):
        return None
    return Difference("route", expected, NONE if got is None else got or "(a route without a name)")


def _destination(expected: ExpectedDestination, actual: Actual) -> Difference | None:
    """One of the destinations that the request may go to has to agree in all that is expected."""
    namespace = (actual.virtual_service or "").partition("/")[0]
    if any(_agrees(expected, each, namespace) for each in actual.destinations):
        return None
    got = "; ".join(_destination_text(each["host"], each["subset"], each["port"]) for each in actual.destinations)
    return Difference("destination", _destination_text(expected.host, expected.subset, expected.port), got or NONE)


def _agrees(expected: ExpectedDestination, got: dict[str, Any], namespace: str) -> bool:
    host = (expected.host or "").lower()
    return (
        (expected.host is None or got["host"] in (host, full_name(host, namespace).lower()))
        and expected.subset in (None, got["subset"])
        and expected.port in (None, got["port"])
    )


def _destination_text(host: str | None, subset: str | None, port: int | None) -> str:
    words = [("host", host), ("subset", subset), ("port", port)]
    return ", ".join(f"{name} {value}" for name, value in words if value) or "one without a subset"


def _headers(field: str, expected: Mapping[str, str | None], got: Mapping[str, str]) -> Iterator[Difference]:
    for name, value in expected.items():
        found = got.get(name.lower())
        if found != value:
            yield Difference(f"{field}.{name}", NONE if value is None else value, NONE if found is None else found)
