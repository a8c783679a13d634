"""Regular expressions that never match, or are slow elsewhere; the former measured against RE2."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.analysis.regex_engine import full_match, literal_prefix
from fastgw.analysis.regex_shape import judge
from fastgw.compiler.regexes import regex_problem


@pytest.mark.parametrize(
    "pattern",
    ["foo", "foo.*", "[a-z]+/x", "(a|b/).*", "(foo|bar)?", "[^/]+", "/a\\?b=.*", "/x[?#]y", "/a$b", "/a^b", "(/a$)b", "/a(^b|^c)"],
)
def test_never_a_path(pattern: str) -> None:
    assert judge(pattern, True).never


@pytest.mark.parametrize(
    "pattern",
    [
        ".*", "/.*", "^/a$", "(?i)/FOO", "[^a]*", "foo|/bar", "(foo)?/bar", "/x(\\?y)?", "\\*", "(^/a|^/b)$", "(^)/a", "\\D+",
        "[[:punct:]]a", "\\pPa", "/a{,3}b", "(|/)a", "/a(b$)?", "(?:/a|b)", "/a(?:$|/.*)", "\\x2f.*", "[+-9].*",
    ],
)  # fmt: skip
def test_may_be_a_path(pattern: str) -> None:
    assert not judge(pattern, True).never


def test_only_anchors_count_in_other_texts() -> None:
    assert not judge("foo", False).never
    assert judge("a$b", False).never


@pytest.mark.parametrize("pattern", ["(a+)+", "/(a*)*b", "(.*)*", "((a|b)+)+", "(/.*)*", "(a+b?)*", "(?:[a-z]+ ?)*x", "(x+x+)+y"])
def test_slow_elsewhere(pattern: str) -> None:
    assert judge(pattern, False).slow


@pytest.mark.parametrize("pattern", ["a+", "(a+b)*", "(/[^/]+)*", "/[a-z]+(-[a-z]+)*", "(a{1,3})+", "(ab*c)*", ".*foo.*", "(a|b)*"])
def test_not_slow(pattern: str) -> None:
    assert not judge(pattern, False).slow


atoms = st.sampled_from(["a", "/", ".", "[a-c]", "[^/]", "\\?", "^", "$", "\\d", "b", "(?i)", "\\b"])
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)
paths = st.text("/abAB1-", max_size=5).map(lambda rest: f"/{rest}")


@settings(max_examples=300)
@given(patterns, st.lists(paths, min_size=10, max_size=30))
def test_what_never_matches_never_matches(pattern: str, texts: list[str]) -> None:
    if not regex_problem(pattern):
        matched = [text for text in texts if full_match(pattern, text.encode())]
        assert not (matched and judge(pattern, True).never)
        assert all(text.encode().startswith(literal_prefix(pattern)) for text in matched)
