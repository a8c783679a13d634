"""explain: the verdict, the rules that were passed over, and the words for why."""

from __future__ import annotations

import pytest
from image_builders import LISTENER, image, plan, rule, vhost

from fastgw.image.explain import ExplainRequest, explain
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Action, Cluster, Endpoint, PathMatch, Predicate, WeightedDestination


def failed(path: PathMatch | None, *predicates: Predicate, **request: object) -> str:
    data = image(vhost(["a.com"], rule("first", path, *predicates)))
    values = {"method": "GET", "authority": "a.com", "path": "/b", **request}
    answer = explain(data, LISTENER, ExplainRequest(**values))  # type: ignore[arg-type]
    assert (answer.verdict, answer.matched) == ("no_rule", None)
    return answer.considered[0].failed


X_USER = Predicate("header", "exact", "x-user", "a")


@pytest.mark.parametrize(
    ("path", "predicates", "request_", "words"),
    [
        (PathMatch("prefix", "/a"), [], {}, 'uri: want prefix "/a", got "/b"'),
        (PathMatch("exact", "/A", True), [], {}, 'uri: want exact "/a" (ignoring case), got "/b"'),
        (PathMatch("regex", "/a.*"), [], {}, 'uri: want regex "/a.*", got "/b"'),
        (PathMatch("segment", "/a"), [], {}, 'uri: want path prefix "/a", got "/b"'),
        (None, [X_USER], {"headers": (("X-User", "b"),)}, 'header x-user: want exact "a", got "b"'),
        (None, [X_USER], {}, 'header x-user: want exact "a", got none'),
        (None, [Predicate("header", "present", "x-user")], {}, "header x-user: want it present, got none"),
        (
            None,
            [Predicate("header", "present", "x-user", "", True)],
            {"headers": (("x-user", ""),)},
            'header x-user: want it absent, got ""',
        ),
        (
            None,
            [Predicate("header", "prefix", "x-user", "a", True)],
            {"headers": (("x-user", "a"), ("x-user", "b"))},
            'header x-user: want not prefix "a", got "a,b"',
        ),
        (None, [Predicate("method", "exact", value="POST")], {}, 'method: want exact "POST", got "GET"'),
        (None, [Predicate("scheme", "exact", value="https")], {}, 'scheme: want exact "https", got "http"'),
        (None, [Predicate("authority", "exact", value="b")], {}, 'authority: want exact "b", got "a.com"'),
        (None, [Predicate("query", "exact", "v", "2")], {"query": "v=1&v=2"}, 'query parameter v: want exact "2", got "1"'),
        (
            None,
            [Predicate("method", "exact", value="GET"), Predicate("query", "present", "v")],
            {},
            "query parameter v: want it present, got none",
        ),
    ],
)  # fmt: skip
def test_the_failed_condition_in_words(
    path: PathMatch | None, predicates: list[Predicate], request_: dict[str, object], words: str
) -> None:
    assert failed(path, *predicates, **request_) == words


def test_a_match_with_its_destinations() -> None:
    action = Action(
        "route",
        (
            WeightedDestination("outbound|80|v1|a.example", 75, "a", "v1", 80),
            WeightedDestination("outbound|81|v2|lost.example", 25, "lost", "v2", 81),
            WeightedDestination("outbound|80|v3|a.example", 0),
        ),
    )
    endpoints = [Endpoint("10.0.0.1", 8080), Endpoint("fd00::1", 8080), Endpoint("unix:/run/a.sock", 0)]
    cluster = Cluster("outbound|80|v1|a.example", "a.example", 80, "v1", endpoints=endpoints)
    host = vhost(["a.com"], rule("early", PathMatch("prefix", "/x")), rule("taken", None, action=action), rule("late"))
    answer = explain(
        write_image(plan(host, clusters=[cluster]), StateNumbers(), 1), LISTENER, ExplainRequest("GET", "A.com:80", "/a/../b")
    )
    assert (answer.verdict, answer.virtual_host, answer.action, answer.path) == ("match", "a.com:80", "route", "/b")
    assert answer.matched is not None
    assert (answer.matched.virtual_service, answer.matched.name, answer.matched.file, answer.matched.line) == (
        "default/shop",
        "taken",
        "shop.yaml",
        10,
    )
    assert [c.name for c in answer.considered] == ["early"]
    first, second = answer.destinations
    assert (first.host, first.subset, first.port, first.weight, first.known) == ("a.example", "v1", 80, 75, True)
    assert first.endpoints == ("10.0.0.1:8080", "[fd00::1]:8080", "unix:/run/a.sock")
    assert (second.host, second.subset, second.port, second.weight, second.known) == ("lost.example", "v2", 81, 25, False)


@pytest.mark.parametrize(
    ("listener", "authority", "path", "verdict"),
    [
        ("0.0.0.0_81", "a.com", "/", "no_listener"),
        (LISTENER, "b.com", "/", "no_virtual_host"),
        (LISTENER, "a.com", "/%zz", "bad_escape"),
        (LISTENER, "a.com:x", "/", "bad_host"),
        (LISTENER, "a.com", "/a b", "bad_request_line"),
        (LISTENER, "a.com", "/\u00e4", "bad_target"),
        (LISTENER, "tls.com", "/", "require_tls"),
    ],
)
def test_other_verdicts(listener: str, authority: str, path: str, verdict: str) -> None:
    data = image(vhost(["a.com"], rule("r")), vhost(["tls.com"], rule("r"), require_tls=True))
    assert explain(data, listener, ExplainRequest("GET", authority, path)).verdict == verdict
