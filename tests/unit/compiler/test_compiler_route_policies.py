"""What routes ask for beyond destinations, as the Plan has it (fields.md 2.4 to 2.10), and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from made_resources import gateway, to, virtual_service

from fastgw.compiler.compile import compile_plan
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Action, Cors, DirectResponse, Fault, Predicate, Redirect, Retries, Rewrite, RoutePolicy


def compiled(route: dict[str, Any]) -> tuple[Action, list[str]]:
    """The action of a rule, and the fields that something is said about."""
    result = compile_plan([gateway(), virtual_service("web", "a.com", route)])
    assert write_image(result.plan, StateNumbers(), 1)
    (rule,) = result.plan.route_tables["http.80"].virtual_hosts[0].rules
    said = [found.path.removeprefix("spec.http[0]") for found in result.diagnostics if found.kind == "VirtualService"]
    return rule.action, [path for path in said if "destination" not in path]


def policy(**route: Any) -> tuple[RoutePolicy | None, list[str]]:
    action, said = compiled({**to("b.com"), **route})
    assert action.kind == "route"
    return action.policy, said


DEFAULT_ON = ("connect-failure", "refused-stream")
DEFAULT_GRPC = ("UNAVAILABLE", "CANCELLED")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"uri": "/new"}, Redirect(301, new_path="replace", path="/new")),
        ({"prefixRewrite": "/new", "redirectCode": 308}, Redirect(308, new_path="prefix", path="/new")),
        ({"scheme": "https", "derivePort": "FROM_PROTOCOL_DEFAULT"}, Redirect(scheme="https")),
        ({"authority": "b.com", "derivePort": "FROM_REQUEST_PORT"}, Redirect(authority="b.com", port=80)),
        ({"port": 8443}, Redirect(port=8443)),
    ],
)
def test_redirects(asked: dict[str, Any], wanted: Redirect) -> None:
    action, said = compiled({"redirect": asked})
    assert (action.kind, action.redirect, said) == ("redirect", wanted, [])


@pytest.mark.parametrize(
    ("route", "field"),
    [
        ({"redirect": {"uri": "/x", "redirectCode": 304}}, ".redirect.redirectCode"),
        ({"redirect": {"uri": "/a b"}}, ".redirect.uri"),
        ({"redirect": {"authority": "b.com\r\nx: y"}}, ".redirect.authority"),
        ({"directResponse": {"status": 700}}, ".directResponse.status"),
        ({"directResponse": {"status": 200, "body": {"bytes": "%"}}}, ".directResponse.body.bytes"),
        ({"directResponse": {"status": 200, "body": {"string": "x" * 1_048_577}}}, ".directResponse.body"),
        ({**to("b.com"), "rewrite": {"uri": "/a b"}}, ".rewrite.uri"),
        ({**to("b.com"), "rewrite": {"uriRegexRewrite": {"match": "(", "rewrite": "/"}}}, ".rewrite.uriRegexRewrite"),
        ({**to("b.com"), "rewrite": {"uriRegexRewrite": {"match": "a", "rewrite": r"\1"}}}, ".rewrite.uriRegexRewrite"),
        ({**to("b.com"), "fault": {"abort": {"grpcStatus": "NO", "percentage": {"value": 100}}}}, ".fault.abort"),
    ],
)
def test_what_closes_a_rule(route: dict[str, Any], field: str) -> None:
    action, said = compiled(route)
    assert (action.kind, said) == ("unsupported", [field])


@pytest.mark.parametrize(
    ("body", "wanted"), [({"string": "hé"}, "hé".encode()), ({"bytes": "aGk="}, b"hi"), (None, b""), ({"string": ""}, b"")]
)
def test_direct_responses(body: dict[str, str] | None, wanted: bytes) -> None:
    action, said = compiled({"directResponse": {"status": 418, **({"body": body} if body else {})}})
    assert (action.kind, action.answer, said) == ("direct_response", DirectResponse(418, wanted), [])


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, Retries(0)),
        ({"attempts": 0}, Retries(0)),
        ({"attempts": 3}, Retries(3, DEFAULT_ON, DEFAULT_GRPC)),
        ({"attempts": 1, "retryOn": "5xx,409,unavailable"}, Retries(1, ("5xx",), ("UNAVAILABLE",), (409,))),
        ({"attempts": 1, "retryOn": "reset", "perTryTimeout": "2s"}, Retries(1, ("reset",), per_try_timeout_ms=2000)),
        ({"attempts": 1, "retryOn": "reset", "backoff": "1s"}, Retries(1, ("reset",), backoff_ms=1000)),
        ({"attempts": 1, "retryOn": "reset", "retryIgnorePreviousHosts": False}, Retries(1, ("reset",), avoid_tried=False)),
        ({"attempts": 1, "retryOn": "reset", "retryRemoteLocalities": True}, Retries(1, ("reset",), other_localities=True)),
        ({"attempts": 1, "retryOn": "reset", "retryRemoteLocalities": False}, Retries(1, ("reset",))),
        ({"attempts": 1, "retryOn": "retriable-headers,http3-post-connect-failure"}, Retries(1)),
    ],
)
def test_retries(asked: dict[str, Any], wanted: Retries) -> None:
    found, said = policy(retries=asked)
    assert found is not None
    assert (found.retries, said) == (wanted, [])


def test_an_unknown_condition_is_said() -> None:
    found, said = policy(retries={"attempts": 1, "retryOn": "5xx,never"})
    assert found is not None and found.retries is not None
    assert (found.retries.on, said) == (("5xx",), [".retries.retryOn"])


@pytest.mark.parametrize(("per_try", "wanted"), [("1s", 1000), ("5s", 0), ("6s", 0)])
def test_the_time_of_a_try_is_shorter_than_that_of_the_route(per_try: str, wanted: int) -> None:
    """J11."""
    found, _ = policy(timeout="5s", retries={"attempts": 1, "perTryTimeout": per_try})
    assert found is not None and found.retries is not None
    assert (found.timeout_ms, found.retries.per_try_timeout_ms) == (5000, wanted)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"delay": {"fixedDelay": "1s"}}, None),
        ({"delay": {"fixedDelay": "1s", "percentage": {"value": 0.0001}}}, Fault(1000, 1)),
        ({"delay": {"fixedDelay": "1s", "percent": 5}}, Fault(1000, 50_000)),
        ({"abort": {"httpStatus": 503, "percentage": {"value": 12.5}}}, Fault(0, 0, 503, None, 125_000)),
        ({"abort": {"grpcStatus": "NOT_FOUND", "percentage": {"value": 100}}}, Fault(0, 0, 0, 5, 1_000_000)),
        ({"abort": {"httpStatus": 503}}, None),
        ({"abort": {"httpStatus": 503, "percentage": {"value": 0}}}, None),
    ],
)
def test_faults(asked: dict[str, Any], wanted: Fault | None) -> None:
    found, _ = policy(fault=asked)
    assert (found.fault if found is not None else None) == wanted


def test_cors() -> None:
    origins = [{"exact": "*"}, {"exact": "http://a"}, {"prefix": "http://b"}, {"regex": "http://c.*"}]
    asked = {"allowOrigins": origins, "allowMethods": ["GET", "POST"], "allowHeaders": ["*"], "exposeHeaders": ["x-a"]}
    found, _ = policy(corsPolicy={**asked, "maxAge": "1m", "allowCredentials": True, "unmatchedPreflights": "IGNORE"})
    matches = tuple(
        Predicate("header", op, "origin", value)
        for op, value in (("present", ""), ("exact", "http://a"), ("prefix", "http://b"), ("regex", "http://c.*"))
    )
    assert found is not None
    assert found.cors == Cors(matches, "GET,POST", "*", "x-a", "60", credentials=True, ignore_unmatched=True)


@pytest.mark.parametrize(
    ("asked", "shares"),
    [
        ({"mirror": {"host": "m.com"}}, [1_000_000]),
        ({"mirror": {"host": "m.com"}, "mirrorPercentage": {"value": 0.5}}, [5000]),
        ({"mirror": {"host": "m.com"}, "mirrorPercentage": {"value": 0}}, []),
        ({"mirror": {"host": "m.com"}, "mirrorPercent": 50}, [500_000]),
        ({"mirrors": [{"destination": {"host": "m.com"}}, {"destination": {"host": "n.com"}, "percentage": {"value": 1}}]},
         [1_000_000, 10_000]),
    ],
)  # fmt: skip
def test_mirrors(asked: dict[str, Any], shares: list[int]) -> None:
    found, _ = policy(**asked)
    assert [mirror.per_million for mirror in (found.mirrors if found is not None else ())] == shares


def test_rewrites() -> None:
    assert policy(rewrite={"uri": "/new"})[0] == RoutePolicy(Rewrite("path", "/new"))
    regex = {"match": "^/(.*)$", "rewrite": r"/x/\1"}
    assert policy(rewrite={"uriRegexRewrite": regex})[0] == RoutePolicy(Rewrite("regex", r"/x/\1", "^/(.*)$"))
    assert policy(rewrite={"authority": "b.com"})[0] is None
