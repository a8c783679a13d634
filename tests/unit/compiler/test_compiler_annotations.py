"""Values of the annotations on VirtualServices, and how a changed annotation takes effect."""

from __future__ import annotations

import pytest
from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.annotations import (
    ERROR_PAGES,
    MAX_PRIORITY,
    MAX_TTL_S,
    PATH_MATCH,
    PRIORITY,
    STICKY,
    Wishes,
    parse_error_pages,
    parse_sticky,
    wishes_of,
)
from fastgw.compiler.compile import CompileCache, compile_plan
from fastgw.compiler.report import Report
from fastgw.model.plan import ErrorPage, Plan, Sticky


def understood(**annotations: str) -> tuple[Wishes, list[str]]:
    """What the annotations (priority, path_match, sticky) mean, and the messages about them."""
    report = Report()
    names = {"priority": PRIORITY, "path_match": PATH_MATCH, "sticky": STICKY}
    service = virtual_service("web", "a.com", annotations={names[key]: value for key, value in annotations.items()})
    wishes = wishes_of(service, report)
    assert {(found.severity, found.code) for found in report.diagnostics} <= {("warning", "FGW0110")}
    return wishes, [found.message for found in report.diagnostics]


def paths(plan: Plan, host: str = "a.com") -> list[str]:
    [found] = [vhost for vhost in plan.route_tables["http.80"].virtual_hosts if vhost.name == f"{host}:80"]
    return [rule.path.value if rule.path else "*" for rule in found.rules]


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("-5", -5), ("+7", 7), (" 3 ", 3), ("0", 0), (str(MAX_PRIORITY), MAX_PRIORITY)]
)
def test_priorities(text: str, number: int) -> None:
    assert understood(priority=text) == (Wishes(priority=number), [])


@pytest.mark.parametrize("text", ["", "high", "1.5", "1e3", "0x1", "--1", str(MAX_PRIORITY + 1), "9" * 30, "1 2", "\u0661"])
def test_what_is_no_priority_has_no_effect(text: str) -> None:
    wishes, messages = understood(priority=text)
    assert wishes == Wishes()
    assert len(messages) == 1 and "is no integer" in messages[0]


@pytest.mark.parametrize(
    ("text", "sticky"),
    [
        ("cookie:v", Sticky("cookie", "v")),
        ("cookie:v;ttl=1h", Sticky("cookie", "v", 3600)),
        ("cookie: v ; ttl = 90s ", Sticky("cookie", "v", 90)),
        ("cookie:__Host-v;ttl=1m30s", Sticky("cookie", "__Host-v", 90)),
        ("header:X-User", Sticky("header", "x-user")),
        ("source-ip", Sticky("source_ip")),
    ],
)
def test_what_a_client_is_known_by(text: str, sticky: Sticky) -> None:
    assert parse_sticky(text) == sticky
    assert understood(sticky=text) == (Wishes(sticky=sticky), [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cookie",
        "cookie:",
        "cookie:a b",
        "cookie:a=b",
        "cookie:" + "n" * 129,
        "cookie:v;ttl",
        "cookie:v;ttl=",
        "cookie:v;ttl=0s",
        "cookie:v;ttl=-1h",
        "cookie:v;ttl=1500ms",
        "cookie:v;ttl=1h;ttl=2h",
        "cookie:v;secure",
        f"cookie:v;ttl={MAX_TTL_S + 1}s",
        "cookie:v\r\nx: y",
        "header:",
        "header::path",
        "header:host",
        "header:x;ttl=1h",
        "source-ip:",
        "source_ip",
        "Cookie:v",
    ],
)
def test_what_nobody_is_known_by_has_no_effect(text: str) -> None:
    wishes, messages = understood(sticky=text)
    assert wishes == Wishes()
    assert len(messages) == 1


def test_one_wrong_value_leaves_the_others() -> None:
    wishes, messages = understood(priority="x", path_match="segment", sticky="source-ip")
    assert wishes == Wishes(segments=True, sticky=Sticky("source_ip"))
    assert len(messages) == 1


def test_annotations_of_others_are_none_of_ours() -> None:
    service = virtual_service(
        "web", "a.com", annotations={"fastgw.io/priority": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    )
    report = Report()
    assert wishes_of(service, report) == Wishes()
    assert report.diagnostics == []


def test_a_changed_priority_takes_effect_with_a_warm_cache() -> None:
    cache, gate = CompileCache(), gateway()
    services = [virtual_service(name, "a.com", to("10.0.0.1", uri={"prefix": f"/{name}"})) for name in ("one", "two")]
    assert paths(compile_plan([gate, *services], cache=cache).plan) == ["/one", "/two"]
    raised = virtual_service("two", "a.com", to("10.0.0.1", uri={"prefix": "/two"}), annotations={PRIORITY: "1"})
    assert paths(compile_plan([gate, services[0], raised], cache=cache).plan) == ["/two", "/one"]
    assert paths(compile_plan([gate, *services], cache=cache).plan) == ["/one", "/two"]


def test_equal_priorities_are_the_order_without_any() -> None:
    names = ("one", "two", "three")
    orders = [
        paths(
            compile_plan(
                [gateway(), *(virtual_service(n, "a.com", to("10.0.0.1", uri={"prefix": f"/{n}"}), **extra) for n in names)]
            ).plan
        )
        for extra in ({}, {"annotations": {PRIORITY: "4"}})
    ]
    assert orders == [["/one", "/two", "/three"]] * 2


def test_error_pages() -> None:
    text = '{"5xx": {"text/plain": "b"}, "503": {"text/html; charset=utf-8": "h", "application/json": "j"}}'
    assert parse_error_pages(text) == (
        ErrorPage(503, 503, "text/html; charset=utf-8", "h"),
        ErrorPage(503, 503, "application/json", "j"),
        ErrorPage(500, 599, "text/plain", "b"),
    )


def pages_of_hosts(*annotations: dict[str, str]) -> list[list[str]]:
    """The bodies of the pages of a.com, for VirtualServices that share it, as they come and with the first one given up."""
    cache, found = CompileCache(), []
    services = [
        virtual_service(f"s{i}", "a.com", to("10.0.0.1", uri={"prefix": f"/{i}"}), annotations=each)
        for i, each in enumerate(annotations)
    ]
    for some in (services, services[1:], services):
        [host] = compile_plan([gateway(), *some], cache=cache).plan.route_tables["http.80"].virtual_hosts
        found.append([page.body for page in host.pages])
    assert found[0] == found[2]
    return found[:2]


def test_the_first_virtual_service_with_error_pages_gives_them_to_the_host() -> None:
    one, two = ({ERROR_PAGES: f'{{"404": {{"text/html": "{body}"}}}}'} for body in ("one", "two"))
    assert pages_of_hosts(one, two) == [["one"], ["two"]]
    assert pages_of_hosts({}, two, one) == [["two"], ["two"]]
    assert pages_of_hosts(one, {PRIORITY: "1", **two}) == [["two"], ["two"]]
    assert pages_of_hosts({PRIORITY: "1"}, one) == [["one"], ["one"]]
    assert pages_of_hosts({}, {}) == [[], []]


def test_a_changed_error_page_reaches_the_host() -> None:
    cache, gate = CompileCache(), gateway()
    for body in ("old", "new"):
        pages = f'{{"4xx": {{"text/html": "{body}"}}}}'
        service = virtual_service("web", "a.com", to("10.0.0.1"), annotations={ERROR_PAGES: pages})
        [host] = compile_plan([gate, service], cache=cache).plan.route_tables["http.80"].virtual_hosts
        assert host.pages == (ErrorPage(400, 499, "text/html", body),)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"200": {"text/html": "x"}}', '{"503": "x"}', '{"503": {"html": "x"}}', '{"503": {"a/b\\r\\nx: y": "x"}}',
     '{"503": {"text/html": "' + "x" * 70_000 + '"}}'],
)  # fmt: skip
def test_error_pages_that_cannot_be_understood(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_error_pages(text)


@pytest.mark.parametrize(("value", "kept"), [("source-ip", Sticky("source_ip")), ("cookie:v", None), ("header:x-user", None)])
def test_connections_are_kept_by_address_only(value: str, kept: Sticky | None) -> None:
    ports = [{"number": 9000, "name": "tcp", "protocol": "TCP"}]
    entries = [resource("ServiceEntry", name, {"hosts": [name], "ports": ports, "resolution": "DNS"}) for name in ("a.db", "b.db")]
    halves = [{"destination": {"host": name, "port": {"number": 9000}}, "weight": 50} for name in ("a.db", "b.db")]
    spec = {"hosts": ["*"], "gateways": ["default/gw"], "tcp": [{"route": halves}]}
    service = resource("VirtualService", "db", spec, annotations={STICKY: value})
    plan = compile_plan([gateway(port=9000, protocol="TCP"), service, *entries]).plan
    action = plan.listeners[0].chains[0].action
    assert action is not None and action.sticky == kept
