"""explain: JSON to the letter of the interface, exit codes, and which listener a URL means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

ROUTETESTS = Path(__file__).parents[2] / "golden/routetest"
Json = Callable[..., tuple[Any, int]]
Run = Callable[..., Result]

UNEDITED = {
    "edits": [],
    "authority": "shop.example.com",
    "requestHeaders": {"host": "shop.example.com"},
    "responseHeaders": {},
}
RESOLVE = ("--resolve", "fixed=10.9.9.9:1234")


def test_a_weighted_route(config: str, run_json: Json) -> None:
    answer, code = run_json("explain", config, "GET", "http://shop.example.com/cart/1?a=b", *RESOLVE)
    assert code == 0
    connection = {"chain": "http.80", "tls": "none", "sni": None}
    expected = {"name": "0.0.0.0_80", "port": 80, "server": "default/gw#0", "file": config, "line": 1}
    assert answer["listener"] == expected | connection
    assert answer["virtualHost"] == "shop.example.com"
    assert answer["matched"] == {
        "virtualService": "default/shop",
        "route": 1,
        "match": 0,
        "name": "",
        "file": config,
        "line": 26,
    }
    assert (answer["action"], answer["status"], answer["location"]) == ("route", None, None)
    assert answer["request"] == {"path": "/cart/1?a=b", "authority": "shop.example.com"}
    assert answer["destinations"] == [
        {
            "host": "cart.default.svc.cluster.local",
            "subset": "",
            "port": 80,
            "weight": 3,
            "share": 0.75,
            "cluster": "outbound|80||cart.default.svc.cluster.local",
            "known": True,
            "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"],
            "notReady": ["10.0.0.2:8080"],
            "file": config,
            "line": 37,
            "kept": False,
            **UNEDITED,
        },
        {
            "host": "fixed.default.svc.cluster.local",
            "subset": "",
            "port": 9000,
            "weight": 1,
            "share": 0.25,
            "cluster": "outbound|9000||fixed.default.svc.cluster.local",
            "known": True,
            "endpoints": ["10.9.9.9:1234"],
            "notReady": [],
            "file": config,
            "line": 32,
            "kept": False,
            **UNEDITED,
        },
    ]
    (first,) = answer["considered"]
    assert {key: first[key] for key in ("virtualService", "route", "match", "file", "line")} == {
        "virtualService": "default/shop",
        "route": 0,
        "match": 0,
        "file": config,
        "line": 19,
    }
    assert "x-user" in first["failed"]


def test_headers_and_query_choose_the_rule(config: str, run_json: Json) -> None:
    answer, code = run_json("explain", config, "GET", "http://shop.example.com/cart?v=2", "-H", "X-User: ann")
    assert (code, answer["matched"]["name"], answer["considered"]) == (0, "beta", [])
    assert answer["destinations"][0]["known"] is False, "no DestinationRule has the subset"
    answer, _ = run_json("explain", config, "GET", "http://shop.example.com/cart?v=3", "-H", "X-User: ann")
    assert "v" in answer["considered"][0]["failed"] and '"3"' in answer["considered"][0]["failed"]


@pytest.mark.parametrize(
    ("method", "url", "word"),
    [("GET", "http://shop.example.com/basket", "method"), ("POST", "http://shop.example.com/Basket", "uri")],
)
def test_nothing_matches(config: str, run_json: Json, method: str, url: str, word: str) -> None:
    answer, code = run_json("explain", config, method, url)
    assert (code, answer["action"], answer["status"], answer["matched"]) == (3, "not_found", 404, None)
    assert len(answer["considered"]) == 4
    assert word in answer["considered"][2]["failed"]


def test_an_unknown_host(config: str, run_json: Json) -> None:
    answer, code = run_json("explain", config, "GET", "http://nobody.example.com/")
    assert (code, answer["virtualHost"], answer["status"]) == (3, None, 404)


def test_a_redirect(config: str, run_json: Json) -> None:
    answer, code = run_json("explain", config, "GET", "http://shop.example.com/old?x=1")
    assert (code, answer["action"], answer["status"]) == (0, "redirect", 301)
    assert answer["location"] == "http://shop.example.com/new?x=1"


def test_https_redirect(config: str, run_json: Json) -> None:
    answer, code = run_json("explain", config, "GET", "http://other.example.com:8080/x?y=1")
    assert code == 0
    assert (answer["listener"]["port"], answer["listener"]["server"]) == (8080, "default/gw#1")
    assert (answer["action"], answer["status"]) == ("redirect", 301)
    assert answer["location"] == "https://other.example.com:8080/x?y=1"


def test_the_port_of_the_url_is_used_where_a_gateway_has_it(config: str, run_json: Json) -> None:
    answer, _ = run_json("explain", config, "GET", "http://shop.example.com:1234/cart")
    assert answer["listener"]["port"] == 80
    assert answer["request"]["authority"] == "shop.example.com:1234"
    answer, _ = run_json("explain", config, "GET", "http://shop.example.com/cart", "--port", "8080")
    assert answer["listener"]["port"] == 8080


def test_no_listener(config: str, run_json: Json) -> None:
    answer, code = run_json("explain", config, "GET", "https://shop.example.com/")
    assert (code, answer["listener"], answer["action"]) == (3, None, "no_listener")


@pytest.mark.parametrize(
    ("words", "reason", "status"),
    [
        (("G T", "http://shop.example.com/"), "bad_request_line", 400),
        (("G(T", "http://shop.example.com/"), "bad_method", 400),
        (("GET", "http://shop.example.com/a b"), "bad_request_line", 400),
        (("GET", "http://shop.example.com/\u00e9"), "bad_target", 400),
        (("GET", "http://shop.example.com/", "-H", "a(b: c"), "bad_field_name", 400),
        (("GET", "http://shop.example.com/", "-H", "content-length: -1"), "bad_content_length", 400),
        (("GET", "http://shop.example.com/", "-H", "expect: the-best"), "bad_expect", 417),
        (("GET", "http://shop.example.com/" + "x" * 17000), "target_too_long", 414),
        (("GET", "http://shop.example.com/", *("-H", "a: " + "b" * 9000) * 7), "head_too_large", 431),
    ],
)
def test_what_traffic_would_be_refused_for(config: str, run_json: Json, words: tuple[str, ...], reason: str, status: int) -> None:
    answer, code = run_json("explain", config, *words)
    assert (code, answer["action"], answer["detail"], answer["status"]) == (3, "rejected", reason, status)
    assert answer["matched"] is None


def test_a_host_header_wins_over_the_url(config: str, run_json: Json) -> None:
    answer, _ = run_json("explain", config, "GET", "http://127.0.0.1/cart", "-H", "Host: shop.example.com")
    assert answer["virtualHost"] == "shop.example.com"


def test_text(config: str, run: Run) -> None:
    result = run("explain", config, "GET", "http://shop.example.com/cart", *RESOLVE)
    assert result.exit_code == 0
    for part in ("default/gw#0", "default/shop http[1].match[0]", "config.yaml:26", "75 %", "x-user", "10.9.9.9:1234"):
        assert part in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("GET", "http://a.com/"),
        ("CONFIG", "GET", "ftp://a.com/"),
        ("CONFIG", "GET", "http:///x"),
        ("CONFIG", "GET", "http://a.com:99999/"),
        ("CONFIG", "GET", "http://a.com/", "-H", "nonsense"),
        ("CONFIG", "GET", "http://a.com/", "-H", "x: a\r\ny: b"),
        ("CONFIG", "G\nT", "http://a.com/"),
        ("/does/not/exist", "GET", "http://a.com/"),
        ("CONFIG", "GET", "http://a.com/", "--admin", "127.0.0.1:1"),
    ],
)
def test_usage_errors(config: str, run: Run, words: tuple[str, ...]) -> None:
    assert run("explain", *(config if word == "CONFIG" else word for word in words)).exit_code == 2


def test_edits_are_shown(run: Run, run_json: Json) -> None:
    config = str(ROUTETESTS / "edits/config.yaml")
    answer, _ = run_json("explain", config, "GET", "http://shop.example.com/cart", "-H", "x-user: ann")
    assert answer["edits"] == [
        "request: remove x-debug",
        "request: set x-caller: %REQ(x-user?x-app):5%",
        "request: set x-never: %REQ(x-none)%",
        "request: add x-tag: gw",
        "response: set cache-control: no-store",
        "response: set x-started: %START_TIME%",
    ]
    assert [each["edits"][-1] for each in answer["destinations"]] == ["authority: v1.internal", "authority: v2.internal"]
    assert answer["destinations"][1]["requestHeaders"] == {
        "x-user": "ann", "x-version": "v2", "x-caller": "ann", "x-tag": "gw", "host": "v2.internal",
    }  # fmt: skip
    assert answer["request"]["authority"] == "shop.example.com"
    lone, _ = run_json("explain", config, "GET", "http://shop.example.com/")
    assert lone["request"]["authority"] == "other.example.com"
    text = run("explain", config, "GET", "http://shop.example.com/cart").stdout
    assert "  edit:         request: set x-caller: %REQ(x-user?x-app):5%" in text
    assert "  edit:         response: add x-canary: yes" in text


def test_endpoints_that_are_not_ready_are_told_apart(config: str, run: Run, tmp_path: Path) -> None:
    asked = ("GET", "http://shop.example.com/cart/1", *RESOLVE)
    assert "10.0.0.1:8080, 10.0.0.2:8080 (not ready)" in run("explain", config, *asked).output
    none = tmp_path / "none.yaml"
    none.write_text(Path(config).read_text().replace("10.0.0.1", "no-address"))
    assert "none is ready: answered 503 (UH)" in run("explain", str(none), *asked).output


CORS = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cors}
spec:
  hosts: [plain.example.com]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /ignore}}]
    corsPolicy: {allowOrigins: [{exact: "https://a.test"}], unmatchedPreflights: IGNORE}
    route: [{destination: {host: cart, port: {number: 80}}}]
  - corsPolicy: {allowOrigins: [{exact: "https://a.test"}, {regex: "https://.*[.]b[.]test"}]}
    route: [{destination: {host: cart, port: {number: 80}}}]
"""


@pytest.mark.parametrize(
    ("method", "path", "origin", "question", "status"),
    [
        ("OPTIONS", "/", "https://a.test", "PUT", 200), ("OPTIONS", "/", "https://x.b.test", "PUT", 200),
        ("OPTIONS", "/", "https://b.test", "PUT", None), ("OPTIONS", "/ignore", "https://b.test", "PUT", 200),
        ("OPTIONS", "/", "https://a.test", "", None), ("OPTIONS", "/", "", "PUT", None),
        ("PUT", "/", "https://a.test", "PUT", None),
    ],
)  # fmt: skip
def test_preflights_that_are_answered_here(
    config: str, run_json: Json, tmp_path: Path, method: str, path: str, origin: str, question: str, status: int | None
) -> None:
    """N7, N8."""
    file = tmp_path / "cors.yaml"
    file.write_text(Path(config).read_text() + CORS)
    headers = ("-H", f"origin: {origin}", "-H", f"access-control-request-method: {question}")
    answer, _ = run_json("explain", str(file), method, f"http://plain.example.com{path}", *headers)
    assert (answer["action"], answer["status"]) == ("route", status)
