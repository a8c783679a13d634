"""What is said to be covered is never reached: measured with the matcher that serves traffic."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.analysis.path_cover import ANYTHING, Shape, path_covers, shape_of
from fastgw.analysis.rule_cover import Cover, Entry, implies
from fastgw.analysis.shadowed import shadows_of
from fastgw.image.matcher import Matcher
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Action, ObjectRef, PathMatch, Plan, Predicate, Rule, VirtualHost

sys.path.append(str(Path(__file__).resolve().parents[1] / "image"))
from image_plans import LISTENER, some_plan, some_request


def covered(host: VirtualHost) -> set[int]:
    """Positions of the rules that an earlier one covers."""
    cover, found = Cover(), set()
    for position, rule in enumerate(host.rules):
        shape = shape_of(rule.path)
        if cover.find(shape, rule.predicates) is not None:
            found.add(position)
        elif not any(one.target == "never" for one in rule.predicates):
            cover.add(Entry(shape, rule.predicates, position))
    return found


def ask(plan: Plan, random: Random, requests: int, crowded: bool) -> int:
    """How many rules are covered, after requests that must not reach them."""
    matcher = Matcher(write_image(plan, StateNumbers(), 1))
    listener = matcher.listener(LISTENER)
    assert listener is not None
    hosts = plan.route_tables["http.80"].virtual_hosts
    dead = [covered(host) for host in hosts]
    begins, count = [], 0
    for host in hosts:
        begins.append(count)
        count += len(host.rules)
    for _ in range(requests):
        request = some_request(random, plan, crowded)
        match = matcher.match(listener, request)
        if match.rule is not None and match.vhost is not None and request.path.startswith(b"/"):
            assert match.rule - begins[match.vhost] not in dead[match.vhost], request
    return sum(map(len, dead))


@settings(max_examples=100)
@given(st.integers(0, 1 << 30), st.booleans())
def test_random_plans(seed: int, crowded: bool) -> None:
    random = Random(seed)
    ask(some_plan(random, crowded), random, 30, crowded)


def test_seeded_plans_have_covered_rules() -> None:
    random = Random(7)
    assert sum(ask(some_plan(random, crowded), random, 100, crowded) for crowded in (False, True) for _ in range(30)) > 100


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (None, ANYTHING),
        (PathMatch("prefix", "/"), ANYTHING),
        (PathMatch("regex", ".*"), ANYTHING),
        (PathMatch("regex", "/.*"), ANYTHING),
        (PathMatch("regex", "/a\\.b"), Shape("exact", b"/a.b")),
        (PathMatch("regex", "^/a$"), Shape("exact", b"/a")),
        (PathMatch("regex", "/a/.*"), Shape("prefix", b"/a/")),
        (PathMatch("regex", "(?i)/A.*$"), Shape("prefix", b"/a", True)),
        (PathMatch("regex", "/a(/.*)?"), Shape("segment", b"/a")),
        (PathMatch("regex", "/a(/.*|$)"), Shape("segment", b"/a")),
        (PathMatch("regex", "/a|/b"), Shape("regex", b"/a|/b")),
        (PathMatch("regex", "/a+"), Shape("regex", b"/a+")),
        (PathMatch("regex", "/a\\d.*"), Shape("regex", b"/a\\d.*")),
        (PathMatch("segment", "/a/"), Shape("segment", b"/a")),
        (PathMatch("exact", "/A", True), Shape("exact", b"/a", True)),
    ],
)
def test_shapes(path: PathMatch | None, shape: Shape) -> None:
    assert shape_of(path) == shape


@pytest.mark.parametrize(
    ("wide", "narrow", "answer"),
    [
        (PathMatch("prefix", "/a"), PathMatch("segment", "/ab"), True),
        (PathMatch("segment", "/a"), PathMatch("prefix", "/a"), False),
        (PathMatch("segment", "/a"), PathMatch("prefix", "/a/"), True),
        (PathMatch("segment", "/a"), PathMatch("exact", "/ab"), False),
        (PathMatch("segment", "/a"), PathMatch("regex", "/a/[0-9]+"), True),
        (PathMatch("prefix", "/a", True), PathMatch("exact", "/ABC"), True),
        (PathMatch("prefix", "/a"), PathMatch("exact", "/abc", True), False),
        (PathMatch("regex", "/a[0-9]+"), PathMatch("exact", "/a12"), True),
        (PathMatch("regex", "/a[0-9]+"), PathMatch("prefix", "/a1"), False),
        (PathMatch("exact", "/a"), None, False),
    ],
)
def test_paths(wide: PathMatch, narrow: PathMatch | None, answer: bool) -> None:
    assert path_covers(shape_of(wide), shape_of(narrow)) is answer


@pytest.mark.parametrize(
    ("given_", "wanted", "answer"),
    [
        (("exact", "ab", False), ("prefix", "a", False), True),
        (("exact", "ab", False), ("present", "", False), True),
        (("exact", "ab", False), ("regex", "a[b-z]", False), True),
        (("exact", "ab", False), ("exact", "a", True), True),
        (("exact", "ab", False), ("prefix", "a", True), False),
        (("prefix", "ab", False), ("prefix", "abc", True), False),
        (("prefix", "ab", False), ("prefix", "b", True), True),
        (("prefix", "ab", False), ("exact", "abc", False), False),
        (("present", "", True), ("exact", "a", True), False),
        (("regex", "a", False), ("exact", "a", False), False),
    ],
)
def test_predicates(given_: tuple[str, str, bool], wanted: tuple[str, str, bool], answer: bool) -> None:
    def made(what: tuple[str, str, bool]) -> Predicate:
        return Predicate("header", what[0], "x", what[1], what[2])

    assert implies(made(given_), made(wanted)) is answer


def rule(owner: str, route: int, match: int, path: str, *predicates: Predicate) -> Rule:
    service = ObjectRef("VirtualService", f"n/{owner}")
    return Rule("", service, route, match, Action("route"), PathMatch("prefix", path), predicates)


def test_a_match_that_stands_twice_is_covered_when_both_are() -> None:
    get = Predicate("method", "exact", "", "GET")
    first, twice = rule("a", 0, 0, "/x/", get), [rule("b", 0, 0, "/x/y/", get), rule("b", 0, 0, "/x/z/")]
    assert shadows_of([first, *twice]) == []
    assert [one.whole for one in shadows_of([first, twice[0]])] == [True]


def test_what_its_own_virtual_service_covers_is_not_said_twice() -> None:
    assert shadows_of([rule("a", 0, 0, "/x/"), rule("a", 1, 0, "/x/y/"), rule("b", 0, 0, "/z/")]) == []


def test_many_rules_on_a_host() -> None:
    rules = [rule(f"v{n % 7}", n, 0, f"/team-{n % 100}/app-{n}/") for n in range(10_000)]
    hidden = [rule("late", n, 0, f"/team-{n}/app-{n}/v1/") for n in range(100)]
    assert len(shadows_of([*rules, *hidden])) == 100
    by_user = [rule(f"v{n}", 0, 0, "/x/", Predicate("header", "exact", "x-user", str(n))) for n in range(10_000)]
    assert len(shadows_of([*by_user, rule("late", 0, 0, "/x/y/", Predicate("header", "exact", "x-user", "77"))])) == 1
