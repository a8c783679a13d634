"""The matcher, statement by statement; the numbers are those of Istio's observable behaviour that the matcher's comments name."""

from __future__ import annotations

import pytest
from image_builders import image, request, rule, taken, vhost

from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.model.plan import PathMatch, Predicate


def exact(value: str, ignore_case: bool = False) -> PathMatch:
    return PathMatch("exact", value, ignore_case)


def prefix(value: str, ignore_case: bool = False) -> PathMatch:
    return PathMatch("prefix", value, ignore_case)


def regex(value: str) -> PathMatch:
    return PathMatch("regex", value)


def header(name: str, op: str = "exact", value: str = "", invert: bool = False) -> Predicate:
    return Predicate("header", op, name, value, invert)


HOSTS = image(
    vhost(["a.com"], rule("exact")),
    vhost(["*.a.com"], rule("one label")),
    vhost(["*.b.a.com"], rule("two labels")),
    vhost(["*b.org"], rule("part of a label")),
    vhost(["*"], rule("any")),
)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.com", "exact"),
        ("A.COM", "exact"),
        ("x.a.com", "one label"),
        ("y.x.a.com", "one label"),
        ("x.b.a.com", "two labels"),
        ("b.a.com", "one label"),
        (".a.com", "any"),
        ("xa.com", "any"),
        ("ab.org", "part of a label"),
        ("x.b.org", "part of a label"),
        ("b.org", "any"),
        ("a.com.", "any"),
        ("", "any"),
        ("h" * 1000 + ".a.com", "one label"),
        ("h" * 5000, "any"),
    ],
)
def test_d2_d4_hosts(host: str, name: str) -> None:
    assert taken(HOSTS, request(host=host)) == name


def test_d8_no_fall_through_to_a_wildcard_host() -> None:
    data = image(vhost(["a.com"], rule("only", exact("/x"))), vhost(["*"], rule("any")))
    assert taken(data, request("/y")) is None
    assert Matcher(data).match(0, request("/y"))[:2] == ("no_rule", 0)


def test_d3_no_host() -> None:
    assert Matcher(image(vhost(["a.com"], rule("r")))).match(0, request(host="b.com")).verdict == "no_virtual_host"


def test_m1_https_redirect_comes_before_routes() -> None:
    matcher = Matcher(image(vhost(["a.com"], rule("r"), require_tls=True)))
    assert matcher.match(0, request()).verdict == "require_tls"
    assert matcher.match(0, RouteRequest(b"a.com", b"/", secure=True)).verdict == "match"


def test_m1_a_challenge_of_acme_is_not_redirected_when_a_rule_matches_it() -> None:
    matcher = Matcher(image(vhost(["a.com"], rule("solver", prefix("/.well-known/acme-challenge/")), require_tls=True)))
    verdicts = {path: matcher.match(0, request(path)).verdict for path in ("/", "/.well-known/acme-challenge/token")}
    assert verdicts == {"/": "require_tls", "/.well-known/acme-challenge/token": "match"}
    for path in ("/.well-known/acme-challenge/", "/.well-known/acme-challenge", "/.well-known/ACME-challenge/x", "/x"):
        assert matcher.match(0, request(path)).verdict == "require_tls"
    without = Matcher(image(vhost(["a.com"], rule("other", prefix("/other")), require_tls=True)))
    assert without.match(0, request("/.well-known/acme-challenge/token")).verdict == "require_tls"


ORDER = image(
    vhost(
        ["a.com"],
        rule("users", regex("/api/v[12]/users(/[0-9]+)?")),
        rule("case", exact("/Api", ignore_case=True)),
        rule("post", prefix("/api"), Predicate("method", "exact", value="POST")),
        rule("api", prefix("/api")),
        rule("longer, too late", prefix("/api/v1")),
        rule("exact, too late", exact("/api/v1")),
        rule("any image", regex(".*\\.(png|jpg)")),
        rule("shop", PathMatch("segment", "/shop")),
        rule("slash", PathMatch("segment", "/cart/")),
        rule("upper", prefix("/STATIC", ignore_case=True)),
        rule("rest", prefix("/"), header("x-user", "present")),
    )
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/users", "users"),
        ("/api/v2/users/7", "users"),
        ("/api/v3/users", "api"),
        ("/API", "case"),
        ("/api", "case"),
        ("/api/v1", "api"),
        ("/apiary", "api"),
        ("/x/y.png", "any image"),
        ("/shop", "shop"),
        ("/shop/", "shop"),
        ("/shop/a", "shop"),
        ("/shopping", None),
        ("/cart", "slash"),
        ("/cart/1", "slash"),
        ("/carts", None),
        ("/static/a", "upper"),
        ("/StAtIc", "upper"),
        ("*", None),
        ("", None),
    ],
)
def test_e1_first_full_match_wins_over_all_kinds(path: str, name: str | None) -> None:
    assert taken(ORDER, request(path)) == name


def test_e1_conditions_of_an_earlier_rule() -> None:
    assert taken(ORDER, request("/api/x", method="POST")) == "post"
    assert taken(ORDER, request("/other", x_user="")) == "rest"


def holds(predicate: Predicate, wanted: RouteRequest) -> bool:
    return taken(image(vhost(["a.com"], rule("r", None, predicate))), wanted) == "r"


def with_headers(*headers: tuple[str, str]) -> RouteRequest:
    return RouteRequest(b"a.com", b"/", headers=tuple((k.encode(), v.encode()) for k, v in headers))


@pytest.mark.parametrize(
    ("predicate", "headers", "expected"),
    [
        (header("x-a", "exact", "1"), [("X-A", "1")], True),
        (header("x-a", "exact", "1"), [("x-a", "1"), ("X-a", "2")], False),
        (header("x-a", "exact", "1,2"), [("x-a", "1"), ("X-a", "2")], True),
        (header("x-a", "regex", "1,.*"), [("x-a", "1"), ("X-a", "2")], True),
        (header("x-a", "regex", "1"), [("x-a", "12")], False),
        (header("x-a", "prefix", "1"), [("x-a", "12")], True),
        (header("x-a", "exact", ""), [], False),
        (header("x-a", "exact", ""), [("x-a", "")], True),
        (header("x-a", "present"), [("x-a", "")], True),
        (header("x-a", "present"), [], False),
        (header("x-a", "exact", "a", invert=True), [], True),
        (header("x-a", "exact", "a", invert=True), [("x-a", "a")], False),
        (header("x-a", "exact", "a", invert=True), [("x-a", "a"), ("x-a", "b")], True),
        (header("x-a", "exact", "", invert=True), [], False),
        (header("x-a", "regex", "", invert=True), [], False),
        (header("x-a", "present", invert=True), [], True),
        (header("x-a", "present", invert=True), [("x-a", "")], False),
        (header("user-agent", "exact", "curl"), [("User-Agent", "curl")], True),
        (header("x-envoy-a", "present"), [("x-envoy-b", "1")], False),
        (header("x-envoy-a", "present"), [("X-Envoy-A", "1")], True),
        (Predicate("never", "present"), [("x-a", "1")], False),
    ],
)
def test_g6_g9_headers(predicate: Predicate, headers: list[tuple[str, str]], expected: bool) -> None:
    assert holds(predicate, with_headers(*headers)) == expected


def test_a_repeated_header_longer_than_any_head_satisfies_nothing() -> None:
    long = with_headers(("x-a", "a" * 60_000), ("x-a", "a" * 60_000))
    assert not holds(header("x-a", "prefix", "a"), long)
    assert not holds(header("x-a", "prefix", "b", invert=True), long)


@pytest.mark.parametrize(
    ("op", "value", "query", "expected"),
    [
        ("exact", "1", "a=1", True),
        ("exact", "1", "a=2&a=1", False),
        ("exact", "1", "b=2&a=1&a=2", True),
        ("exact", "", "a", True),
        ("exact", "", "a=", True),
        ("exact", "", "b", False),
        ("present", "", "a", True),
        ("present", "", "&&a=%31", True),
        ("exact", "1", "a=%31", False),
        ("exact", "b=c", "a=b=c", True),
        ("regex", "[0-9]+", "a=12", True),
        ("regex", "[0-9]+", "a=1x", False),
        ("prefix", "1", "aa=1", False),
        ("present", "", None, False),
    ],
)
def test_g13_query(op: str, value: str, query: str | None, expected: bool) -> None:
    assert holds(Predicate("query", op, "a", value), request(query=query)) == expected


def test_g10_g11_pseudo_headers() -> None:
    assert holds(Predicate("authority", "exact", value="a.com:80"), RouteRequest(b"a.com", b"/", authority=b"a.com:80"))
    assert not holds(Predicate("authority", "exact", value="a.com:80"), RouteRequest(b"a.com", b"/", authority=b"A.com:80"))
    assert holds(Predicate("raw_path", "exact", value="/x?y=1"), request("/x", query="y=1"))
    assert not holds(Predicate("method", "exact", value="get"), request(method="GET"))
    assert holds(Predicate("scheme", "exact", value="http"), request())


def tenant_image(count: int, tail: list[str]) -> bytes:
    """``count`` rules by the value of x-tenant, the later ones doubled by a rule without effect, and ``tail`` unconditional."""
    rules = [rule(f"tenant-{i}", prefix("/"), header("x-tenant", "exact", f"t{i % (count - 5)}")) for i in range(count)]
    return image(vhost(["a.com"], *rules, *(rule(name) for name in tail)))


def test_a_list_that_differs_in_one_header_is_hashed() -> None:
    data = tenant_image(500, ["rest"])
    for i in (0, 1, 250, 494):
        assert taken(data, request(x_tenant=f"t{i}")) == f"tenant-{i}"
    assert taken(data, request(x_tenant="t495")) == "rest"
    assert taken(data, request()) == "rest"
    joined = RouteRequest(b"a.com", b"/", headers=((b"x-tenant", b"t1"), (b"x-tenant", b"t2")))
    assert taken(data, joined) == "rest"
    assert taken(tenant_image(500, []), joined) is None


def test_a_rule_before_the_hashed_ones_wins() -> None:
    rules = [rule(f"t{i}", None, header("x-t", "exact", str(i))) for i in range(40)]
    early = rule("early", prefix("/a"), header("x-early", "present"))
    data = image(vhost(["a.com"], *rules[:20], early, *rules[20:]))
    assert taken(data, request("/a", x_t="30", x_early="")) == "early"
    assert taken(data, request("/a", x_t="10", x_early="")) == "t10"
    assert taken(data, request("/b", x_t="30", x_early="")) == "t30"
