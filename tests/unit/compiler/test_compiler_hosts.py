"""Host names: B6 to B8 against a plain reading of the rules, with names made of few labels so that they meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgw.compiler.hosts import HostIndex, ServerHosts, covers, full_name, narrowest_around, normalise_server_hosts

LABELS = st.sampled_from(["a", "b", "com"])
EXACT = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PATTERN = st.one_of(EXACT, EXACT.map(lambda name: f"*.{name}"), st.just("*"))


def narrower(one: str, other: str) -> str | None:
    """B6 read plainly: equal names, the specific one under a wildcard, the longer of two wildcards."""
    if one == other:
        return one
    if covers(one, other):
        return other
    return one if covers(other, one) else None


@given(st.lists(PATTERN, max_size=5), PATTERN)
def test_intersection_is_the_narrower_of_every_pair(own: list[str], host: str) -> None:
    expected = {found for name in own if (found := narrower(name, host)) is not None}
    assert set(HostIndex(own).intersect(host)) == expected


@pytest.mark.parametrize(
    ("pattern", "host", "answer"),
    [
        ("*.foo.com", "a.b.foo.com", True),
        ("*.foo.com", "foo.com", False),
        ("*.foo.com", ".foo.com", False),
        ("*", "foo.com", True),
        ("*foo.com", "barfoo.com", True),
        ("foo.com", "foo.com", True),
        ("foo.com", "*.foo.com", False),
        ("*.com", "*.foo.com", True),
    ],
)
def test_wildcards_match_by_suffix(pattern: str, host: str, answer: bool) -> None:
    assert covers(pattern, host) is answer


def test_a_partial_wildcard_of_a_server_counts_too() -> None:
    assert HostIndex(["*foo.com"]).intersect("barfoo.com") == ["barfoo.com"]
    assert HostIndex(["*foo.com"]).intersect("foo.com") == []


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("web", "web.team.svc.cluster.local"),
        ("web.team", "web.team"),
        ("*", "*"),
        ("*-x", "*-x"),
        ("::1", "::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_only_names_without_a_dot_are_completed(host: str, full: str) -> None:
    assert full_name(host, "team") == full


def test_server_hosts_are_bound_by_their_namespaces() -> None:
    hosts = ServerHosts(["team/*.example.com", "./own.example.com", "*/any.example.com"], "edge")
    wanted = ["x.example.com", "own.example.com", "any.example.com"]
    assert hosts.domains(wanted, "team") == ("x.example.com", "own.example.com", "any.example.com")
    assert hosts.domains(wanted, "edge") == ("own.example.com", "any.example.com")
    assert hosts.domains(wanted, "other") == ("any.example.com",)
    assert hosts.plain_names() == ("*.example.com", "own.example.com", "any.example.com")


def test_star_star_swallows_the_list() -> None:
    assert normalise_server_hosts(["a.com", "*/*", "team/b.com"], "edge") == ("*",)


def test_domains_come_in_lower_case_and_once() -> None:
    assert ServerHosts(["*.Example.com"], "edge").domains(["A.EXAMPLE.com", "a.example.com"], "x") == ("a.example.com",)


@pytest.mark.parametrize(
    ("host", "around"),
    [
        ("a.b.example.com", "*.b.example.com"),
        ("a.example.com", "*.example.com"),
        ("*.b.example.com", "*.example.com"),
        ("*.c.example.com", "*.example.com"),
        ("example.com", "*"),
        ("*.example.com", "*"),
        ("*", ""),
    ],
)
def test_the_narrowest_wildcard_around_a_host(host: str, around: str) -> None:
    wide = {"*", "*.example.com", "*.b.example.com", "a.example.com"}
    assert narrowest_around(host, wide) == around
    assert narrowest_around(host, {"other.com", "*.other.com"}) == ""
