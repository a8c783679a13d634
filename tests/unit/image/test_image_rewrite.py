"""Locations of redirects and rewritten paths, as the data plane's own code makes them (statements M6 to M8, M11 to M14)."""

from __future__ import annotations

import pytest
from image_builders import image, rule, vhost

from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.model.plan import Action, PathMatch, Redirect, Rewrite, RoutePolicy, WeightedDestination

TO_A = (WeightedDestination("outbound|80||a.example", 100),)


def asked(target: str, authority: str = "a.com", scheme: str = "http") -> RouteRequest:
    path, mark, query = target.partition("?")
    return RouteRequest(
        authority.rpartition(":")[0].encode() if ":" in authority else authority.encode(),
        path.encode(),
        query.encode() if mark else None,
        scheme=scheme.encode(),
        authority=authority.encode(),
        secure=scheme == "https",
    )


def location(redirect: Redirect, request: RouteRequest, path: PathMatch | None = None) -> str:
    matcher = Matcher(image(vhost(["*"], rule("r", path, action=Action("redirect", redirect=redirect)))))
    return matcher.location(0, request).decode()


def rewritten(text: str, target: str, path: PathMatch | None = None, pattern: str = "") -> str | None:
    policy = RoutePolicy(Rewrite("regex" if pattern else "path", text, pattern))
    matcher = Matcher(image(vhost(["*"], rule("r", path, action=Action("route", TO_A, policy=policy)))))
    made = matcher.rewritten(0, asked(target))
    return None if made is None else made.decode()


@pytest.mark.parametrize(
    ("redirect", "authority", "scheme", "wanted"),
    [
        (Redirect(scheme="https"), "a.com:80", "http", "https://a.com/p?q=1"),
        (Redirect(scheme="https"), "a.com:8080", "http", "https://a.com:8080/p?q=1"),
        (Redirect(scheme="http"), "a.com:443", "https", "http://a.com/p?q=1"),
        (Redirect(scheme="https"), "a.com:443", "https", "https://a.com:443/p?q=1"),
        (Redirect(authority="b.com"), "a.com:80", "http", "http://b.com/p?q=1"),
        (Redirect(port=8443), "a.com:80", "http", "http://a.com:8443/p?q=1"),
        (Redirect(port=8443, authority="b.com", scheme="https"), "a.com", "http", "https://b.com:8443/p?q=1"),
        (Redirect(port=80), "a.com", "http", "http://a.com/p?q=1"),
        (Redirect(port=443, scheme="https"), "a.com:8080", "http", "https://a.com:8080/p?q=1"),
        (Redirect(port=443), "a.com", "http", "http://a.com:443/p?q=1"),
        (Redirect(scheme="https"), "[::1]:80", "http", "https://[::1]/p?q=1"),
        (Redirect(scheme="https"), "[::1]", "http", "https://[::1]/p?q=1"),
        (Redirect(port=65535), "[::1]", "http", "http://[::1]:65535/p?q=1"),
    ],
)
def test_scheme_host_and_port(redirect: Redirect, authority: str, scheme: str, wanted: str) -> None:
    assert location(redirect, asked("/p?q=1", authority, scheme)) == wanted


@pytest.mark.parametrize(
    ("redirect", "target", "path", "wanted"),
    [
        (Redirect(new_path="replace", path="/new"), "/old/x?q=1", None, "/new?q=1"),
        (Redirect(new_path="replace", path="/new?a=b"), "/old?q=1", None, "/new?a=b"),
        (Redirect(new_path="replace", path="new"), "/old", None, "/new"),
        (Redirect(new_path="prefix", path="/new"), "/old/x?q=1", PathMatch("prefix", "/old"), "/new/x?q=1"),
        (Redirect(new_path="prefix", path="/new"), "/OLD/x", PathMatch("prefix", "/old", True), "/new/x"),
        (Redirect(new_path="prefix", path="/"), "/old/x", PathMatch("prefix", "/old"), "/x"),
        (Redirect(new_path="prefix", path="/new/"), "/old/x", PathMatch("segment", "/old"), "/new/x"),
    ],
)
def test_path_of_a_location(redirect: Redirect, target: str, path: PathMatch | None, wanted: str) -> None:
    assert location(redirect, asked(target), path) == f"http://a.com{wanted}"


@pytest.mark.parametrize(
    ("text", "target", "path", "wanted"),
    [
        ("/new", "/old/x?q=1", PathMatch("prefix", "/old"), "/new/x?q=1"),
        ("/new", "/oldest?", PathMatch("prefix", "/old"), "/newest?"),
        ("/", "/old/x", PathMatch("prefix", "/old"), "/x"),
        ("/", "/old", PathMatch("prefix", "/old"), "/"),
        ("/", "/old/x", PathMatch("prefix", "/old/"), "/x"),
        ("new", "/old/x", PathMatch("prefix", "/old"), "/new/x"),
        ("/new", "/old?q", PathMatch("exact", "/old"), "/new?q"),
        ("/new", "/old/x?q", PathMatch("regex", "/old.*"), "/new?q"),
        ("/new", "/OLD/x", PathMatch("prefix", "/old", True), "/new/x"),
        ("/new", "/old/x", PathMatch("segment", "/old/"), "/new/x"),
        ("/new", "/x/y", None, "/newx/y"),
        ("/new/", "/x/y", None, "/new/x/y"),
    ],
)
def test_the_matched_part_is_rewritten(text: str, target: str, path: PathMatch | None, wanted: str) -> None:
    assert rewritten(text, target, path) == wanted


@pytest.mark.parametrize(
    ("pattern", "text", "target", "wanted"),
    [
        ("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api?q=1", "/v1/api/instance/foo?q=1"),
        ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
        ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
        ("/nothing", "/x", "/old", "/old"),
        ("^.*$", "", "/old?q", "/old?q"),  # an empty path is no path (M14)
        ("^/", "", "/old", "/old"),
        ("^/old", "//evil.example", "/old/x", "//evil.example/x"),
        (".", "a" * 100, "/" + "x" * 200, None),
    ],
)
def test_matches_of_a_regex_are_rewritten(pattern: str, text: str, target: str, wanted: str | None) -> None:
    assert rewritten(text, target, pattern=pattern) == wanted
