"""Which rule a live request takes: every kind of match, weights, several VirtualServices on a host, wildcard hosts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fastgw.cli.main import group

from .support.client import Client, request_bytes
from .support.config import destination, gateway_of, http_server, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin

NAMES = ("alpha", "beta", "gamma", "delta")


def uri(**match: str) -> dict[str, Any]:
    return {"uri": match}


def matches(*match: dict[str, Any]) -> list[dict[str, Any]]:
    return list(match)


RULES = [
    route("alpha", match=matches(uri(exact="/exact"))),
    route("beta", match=matches(uri(prefix="/pre"))),
    route("gamma", match=matches(uri(regex="/re/[0-9]+(/x)?"))),
    route("delta", match=matches({**uri(exact="/case"), "ignoreUriCase": True}, {**uri(prefix="/CPre/"), "ignoreUriCase": True})),
    route(
        "alpha",
        match=matches({**uri(prefix="/m"), "method": {"exact": "DELETE"}}, {**uri(prefix="/m"), "method": {"regex": "P(OS|U)T"}}),
    ),
    route("alpha", match=matches({**uri(prefix="/h"), "headers": {"x-user": {"exact": "a"}, "X-Kind": {"prefix": "k"}}})),
    route("beta", match=matches({**uri(prefix="/h"), "headers": {"x-user": {"regex": "b+"}}})),
    route("gamma", match=matches({**uri(prefix="/h"), "headers": {"x-there": {}}})),
    route("delta", match=matches({**uri(prefix="/h"), "withoutHeaders": {"x-not": {"exact": "1"}}})),
    route("alpha", match=matches({**uri(prefix="/q"), "queryParams": {"v": {"exact": "1"}}})),
    route("beta", match=matches({**uri(prefix="/q"), "queryParams": {"v": {"regex": "[0-9]+"}}})),
    route("gamma", match=matches({**uri(prefix="/q"), "queryParams": {"flag": {"exact": ""}}})),
    route("delta", match=matches({**uri(prefix="/a"), "authority": {"exact": "r.test:8080"}})),
    route("alpha", match=matches({**uri(prefix="/a"), "authority": {"prefix": "r.te"}})),
    route("beta", match=matches({**uri(prefix="/s"), "scheme": {"exact": "https"}})),
    route("gamma", match=matches({**uri(prefix="/s"), "scheme": {"exact": "http"}})),
    route("alpha", match=matches({**uri(prefix="/port"), "port": 8081})),
    route("beta", match=matches({**uri(prefix="/port"), "port": 80})),
    route("gamma", match=matches({**uri(prefix="/gw"), "gateways": ["other"]})),
    route("delta", match=matches({**uri(prefix="/gw"), "gateways": ["gw"]})),
    route("alpha", match=matches(uri(exact="/or"), uri(exact="/either"))),
    route("alpha", match=matches(uri(prefix="/order/long"))),
    route("beta", match=matches(uri(prefix="/order"))),
    route("gamma", match=matches(uri(prefix="/order/long/er"))),
    {
        "match": matches(uri(prefix="/weights")),
        "route": [destination("alpha", weight=75), destination("beta", weight=25), destination("gamma", weight=0)],
    },
    {"match": matches(uri(prefix="/single")), "route": [destination("delta", weight=0), destination("gamma", weight=100)]},
]

# method, path, headers, wanted origin (None: 404)
TABLE: list[tuple[str, str, tuple[str, ...], str | None]] = [
    ("GET", "/exact", (), "alpha"),
    ("GET", "/exact?x=1", (), "alpha"),
    ("GET", "/exact/", (), None),
    ("GET", "/Exact", (), None),
    ("GET", "/exac", (), None),
    ("GET", "/pre", (), "beta"),
    ("GET", "/prefix", (), "beta"),
    ("GET", "/pre/a/b?c", (), "beta"),
    ("GET", "/Pre", (), None),
    ("GET", "/re/7", (), "gamma"),
    ("GET", "/re/7/x?y=1", (), "gamma"),
    ("GET", "/re/7/", (), None),
    ("GET", "/re/x", (), None),
    ("GET", "/x/re/7", (), None),
    ("GET", "/CASE", (), "delta"),
    ("GET", "/case/", (), None),
    ("GET", "/cpre/z", (), "delta"),
    ("DELETE", "/m", (), "alpha"),
    ("POST", "/m", (), "alpha"),
    ("PUT", "/m", (), "alpha"),
    ("GET", "/m", (), None),
    ("delete", "/m", (), None),
    ("POSTS", "/m", (), None),
    ("GET", "/h", ("X-User: a", "x-kind: k1"), "alpha"),
    ("GET", "/h", ("x-user: a", "x-not: 1"), None),
    ("GET", "/h", ("x-user: A", "x-kind: k", "x-not: 1"), None),
    ("GET", "/h", ("x-user: bbb",), "beta"),
    ("GET", "/h", ("x-user: bbc", "x-not: 1"), None),
    ("GET", "/h", ("x-there:", "x-not: 1"), "gamma"),
    ("GET", "/h", (), "delta"),
    ("GET", "/h", ("x-not: 2",), "delta"),
    ("GET", "/q?v=1", (), "alpha"),
    ("GET", "/q?a=b&v=1", (), "alpha"),
    ("GET", "/q?v=1&v=2", (), "alpha"),
    ("GET", "/q?v=22", (), "beta"),
    ("GET", "/q?v=2x", (), None),
    ("GET", "/q?flag", (), "gamma"),
    ("GET", "/q?flag=", (), "gamma"),
    ("GET", "/q?flag=1", (), None),
    ("GET", "/q", (), None),
    ("GET", "/a", ("Host: r.test:8080",), "delta"),
    ("GET", "/a", ("Host: r.test",), "alpha"),
    ("GET", "/s", (), "gamma"),
    ("GET", "/s", ("X-Forwarded-Proto: https",), "gamma"),
    ("GET", "/port", (), "beta"),
    ("GET", "/gw", (), "delta"),
    ("GET", "/or", (), "alpha"),
    ("GET", "/either", (), "alpha"),
    ("GET", "/order/long/er", (), "alpha"),
    ("GET", "/order/x", (), "beta"),
    ("GET", "/single", (), "gamma"),
    ("GET", "/x/../exact", (), "alpha"),
    ("GET", "/%65xact", (), "alpha"),
    ("GET", "/nothing", (), None),
]


def documents(origins: dict[str, RecordingOrigin]) -> list[dict[str, Any]]:
    """Hosts: r.test (all rules), *.wild.test and a.wild.test, two.test (three VirtualServices), any host on port 8081."""
    found = [
        gateway_of("gw", [http_server(["r.test", "*.wild.test", "two.test"]), http_server(["*"], 8081)]),
        gateway_of("other", [http_server(["r.test"], 8082)]),
        virtual_service("all", ["r.test"], RULES, gateways=["gw", "other"]),
        virtual_service("wild", ["*.wild.test"], [route("alpha")]),
        virtual_service("deep", ["*.b.wild.test"], [route("beta")]),
        virtual_service("shadow", ["a.wild.test"], [route("gamma", match=matches(uri(prefix="/only")))]),
        virtual_service(
            "newer", ["two.test"], [route("alpha", match=matches(uri(prefix="/api/v1")))], created="2026-02-01T00:00:00Z"
        ),
        virtual_service("older", ["two.test"], [route("beta", match=matches(uri(prefix="/api")))], created="2026-01-01T00:00:00Z"),
        virtual_service("oldest", ["two.test"], [route("gamma")], created="2025-01-01T00:00:00Z"),
        virtual_service("any", ["*"], [route("delta", match=matches({"port": 8081}))]),
    ]
    return found + [service_entry(name, [("127.0.0.1", origin.port)]) for name, origin in origins.items()]


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    origins = {name: RecordingOrigin(name) for name in NAMES}
    try:
        with Gateway(tmp_path_factory.mktemp("routing"), documents(origins), ports=(80, 8081, 8082)) as running:
            yield running
    finally:
        for origin in origins.values():
            origin.stop()


def send(client: Client, method: str, target: str, headers: tuple[str, ...], host: str = "r.test") -> str | None:
    """The origin that answered; None for 404."""
    named = [h for h in headers if h.lower().startswith("host:")]
    host = named[0].partition(":")[2].strip() if named else host
    others = [h for h in headers if h not in named]
    answer = client.request(request_bytes(method, target, host, others))
    assert answer.status in (200, 404), answer.text
    return answer.value("x-origin") if answer.status == 200 else None


@pytest.mark.parametrize(("method", "target", "headers", "wanted"), TABLE, ids=lambda value: str(value))
def test_match(routed: Gateway, method: str, target: str, headers: tuple[str, ...], wanted: str | None) -> None:
    with routed.client() as client:
        assert send(client, method, target, headers) == wanted


@pytest.mark.parametrize(
    ("port", "target", "wanted"),
    [(8081, "/port", "alpha"), (8082, "/port", None), (8082, "/gw", "gamma"), (8082, "/exact", "alpha")],
)
def test_match_by_port_and_gateway(routed: Gateway, port: int, target: str, wanted: str | None) -> None:
    with routed.client(port) as client:
        assert send(client, "GET", target, ()) == wanted


@pytest.mark.parametrize(
    ("host", "target", "wanted"),
    [
        ("x.wild.test", "/", "alpha"),
        ("x.y.wild.test", "/", "alpha"),
        ("X.WILD.test:99", "/", "alpha"),
        ("wild.test", "/", None),
        ("xwild.test", "/", None),
        ("x.b.wild.test", "/", "beta"),
        ("b.wild.test", "/", "alpha"),
        ("a.wild.test", "/only", "gamma"),
        ("a.wild.test", "/", None),
        ("r.test.", "/exact", None),
    ],
)
def test_hosts(routed: Gateway, host: str, target: str, wanted: str | None) -> None:
    with routed.client() as client:
        assert send(client, "GET", target, (), host) == wanted


def test_any_host_on_its_port(routed: Gateway) -> None:
    with routed.client(8081) as client:
        assert send(client, "GET", "/zzz", (), "whatever.example") == "delta"
        assert send(client, "GET", "/zzz", (), "r.test") is None, "the exact host shadows the wildcard"


@pytest.mark.parametrize(("target", "wanted"), [("/api/v1", "beta"), ("/api", "beta"), ("/", "gamma"), ("/x", "gamma")])
def test_several_virtual_services_on_a_host(routed: Gateway, target: str, wanted: str) -> None:
    """Older first, a catch-all last however old it is (statement E4)."""
    with routed.client() as client:
        assert send(client, "GET", target, (), "two.test") == wanted


def test_weights(routed: Gateway) -> None:
    with routed.client() as client:
        counts = Counter(send(client, "GET", "/weights", ()) for _ in range(400))
    assert set(counts) == {"alpha", "beta"}
    # 25 % of 400 has a standard deviation of 8.7: five of them to each side
    assert 57 <= counts["beta"] <= 143, counts


# --- explain says what live traffic does

PATHS = st.sampled_from(
    [
        "/exact",
        "/pre",
        "/prefix/x",
        "/re/1",
        "/re/x",
        "/case",
        "/CPRE/",
        "/m",
        "/h",
        "/q",
        "/a",
        "/s",
        "/port",
        "/gw",
        "/or",
        "/order/long",
        "/",
        "/nope",
    ]
)
HEADERS = st.lists(
    st.sampled_from(["x-user: a", "x-user: b", "x-kind: k", "x-there: 1", "x-not: 1", "x-not: 2"]),
    max_size=3,
    unique_by=lambda h: h.split(":")[0],
)
QUERIES = st.sampled_from(["", "?v=1", "?v=7", "?flag", "?a&v=x", "?flag=1&v=1"])
HOSTS = st.sampled_from(["r.test", "r.test:8080", "x.wild.test", "a.wild.test", "two.test", "wild.test", "nobody.test"])


def explained(running: Gateway, method: str, host: str, target: str, headers: list[str]) -> tuple[int, dict[str, Any]]:
    words = ["explain", str(running.config), method, f"http://{host}{target}", "--port", "80", "-o", "json"]
    for header in headers:
        words += ["-H", header]
    result = CliRunner().invoke(group, words)
    assert result.exit_code in (0, 3), result.output
    return result.exit_code, json.loads(result.stdout)


@given(method=st.sampled_from(["GET", "POST", "DELETE"]), host=HOSTS, path=PATHS, query=QUERIES, headers=HEADERS)
def test_explain_agrees_with_live_traffic(
    routed: Gateway, method: str, host: str, path: str, query: str, headers: list[str]
) -> None:
    code, answer = explained(routed, method, host, path + query, headers)
    with routed.client() as client:
        live = send(client, method, path + query, tuple(headers), host)
    if live is None:
        assert (code, answer["matched"]) == (3, None)
    else:
        assert code == 0
        assert live in {d["host"].partition(".")[0] for d in answer["destinations"]}
        lines = Path(answer["matched"]["file"]).read_text().splitlines()
        assert answer["matched"]["virtualService"].startswith("default/") and 0 < answer["matched"]["line"] <= len(lines)


def test_explain_says_why_the_others_did_not_match(routed: Gateway) -> None:
    code, answer = explained(routed, "GET", "r.test", "/h", ["x-not: 1"])
    assert code == 3
    failed = " | ".join(entry["failed"] for entry in answer["considered"])
    for word in ("x-user", "x-there", "x-not", "uri"):
        assert word in failed.lower(), failed
