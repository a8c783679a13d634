"""ErrorPages in the Plan: which pages a rule, a host and a route table get, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest
from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.annotations import ERROR_PAGES
from fastgw.compiler.compile import CompileCache, CompileResult, compile_plan
from fastgw.model.error_pages import merged
from fastgw.model.plan import ErrorPage, VirtualHost
from fastgw.model.resource import Resource

Pages = dict[str, str]
"""By status the body."""


def pages(name: str, target: str, *, hosts: tuple[str, ...] = (), routes: tuple[str, ...] = (), **by_status: str) -> Resource:
    """``target``: "Gateway/gw"; ``_503``: the body for 503."""
    kind, _, object_name = target.partition("/")
    ref: dict[str, Any] = {"kind": kind, "name": object_name, "hosts": list(hosts), "routes": list(routes)}
    listed = {status.lstrip("_"): [{"contentType": "text/html", "body": body}] for status, body in by_status.items()}
    return resource("ErrorPages", name, {"targetRefs": [ref], "pages": listed})


def compiled(*resources: Resource, cache: CompileCache | None = None) -> CompileResult:
    for order, each in enumerate(resources):
        each.order = order
    return compile_plan(list(resources), cache=cache)


def host_of(result: CompileResult, domain: str = "a.com") -> VirtualHost:
    return next(host for host in result.plan.route_tables["http.80"].virtual_hosts if domain in host.domains)


def bodies(found: tuple[ErrorPage, ...]) -> list[str]:
    return [page.body for page in found]


def of_rules(host: VirtualHost) -> list[list[str]]:
    return [bodies(rule.action.policy.pages) if rule.action.policy is not None else [] for rule in host.rules]


def named(name: str) -> dict[str, Any]:
    return {"name": name, **to("web", uri={"prefix": f"/{name}"})}


WEB = virtual_service("web", "a.com", named("one"), named("two"), annotations={ERROR_PAGES: '{"4xx": {"text/html": "noted"}}'})


def test_route_before_host_before_object_before_annotation_before_gateway() -> None:
    result = compiled(
        gateway(),
        WEB,
        pages("gw", "Gateway/gw", _404="gw 404", _5xx="gw 5xx"),
        pages("whole", "VirtualService/web", _503="whole 503", _502="whole 502"),
        pages("host", "VirtualService/web", hosts=("a.com",), _503="host 503"),
        pages("route", "VirtualService/web", routes=("one",), _5xx="route 5xx"),
    )
    host = host_of(result)
    assert of_rules(host) == [["route 5xx", "noted"], ["host 503", "whole 502", "noted"]]
    assert bodies(host.pages) == ["host 503", "whole 502", "noted"]
    assert bodies(host.gateway_pages) == ["gw 404", "gw 5xx"]
    assert bodies(result.plan.route_tables["http.80"].pages) == ["gw 404", "gw 5xx"]
    assert not result.diagnostics or {found.code for found in result.diagnostics} == {"FGW0020"}


def test_a_host_of_a_gateway() -> None:
    result = compiled(
        gateway(), WEB, virtual_service("b", "b.com"), pages("gw", "Gateway/gw", hosts=("b.com",), _404="b"),
    )  # fmt: skip
    assert [bodies(host_of(result, name).gateway_pages) for name in ("a.com", "b.com")] == [[], ["b"]]
    assert result.plan.route_tables["http.80"].pages == ()


def test_gateways_on_one_port() -> None:
    """The first one's pages come first where nobody knows the host; a host has those of its own Gateways."""
    one, two = gateway("gw"), gateway("other", "b.com")
    service = resource("VirtualService", "b", {"hosts": ["b.com"], "gateways": ["other"], "http": [to("web")]})
    result = compiled(
        one, two, WEB, service,
        pages("second", "Gateway/other", _404="second", _503="second 503"), pages("first", "Gateway/gw", _404="first"),
    )  # fmt: skip
    assert bodies(host_of(result).gateway_pages) == ["first"]
    assert bodies(host_of(result, "b.com").gateway_pages) == ["second", "second 503"]
    assert bodies(result.plan.route_tables["http.80"].pages) == ["first", "second 503"]


def test_a_gateway_without_virtual_services() -> None:
    result = compiled(gateway(), pages("gw", "Gateway/gw", _404="nobody"))
    table = result.plan.route_tables["http.80"]
    assert (table.virtual_hosts, bodies(table.pages)) == ([], ["nobody"])


def test_pages_of_a_gateway_cost_its_rules_nothing() -> None:
    """The actions are the very same objects, so that rules share them whatever their hosts ask for."""
    cache = CompileCache()
    before = host_of(compiled(gateway(), WEB, cache=cache)).rules
    after = host_of(compiled(gateway(), WEB, pages("gw", "Gateway/gw", _404="x"), cache=cache)).rules
    assert all(one.action is two.action for one, two in zip(before, after, strict=True))


def test_a_delegate_comes_before_its_root() -> None:
    root = virtual_service("root", "a.com", {"match": [{"uri": {"prefix": "/"}}], "delegate": {"name": "inner"}})
    inner = resource("VirtualService", "inner", {"http": [named("one")]})
    result = compiled(
        gateway(), root, inner,
        pages("outer", "VirtualService/root", _503="root", _404="root 404"), pages("own", "VirtualService/inner", _503="inner"),
    )  # fmt: skip
    assert of_rules(host_of(result)) == [["inner", "root 404"]]
    assert bodies(host_of(result).pages) == ["root", "root 404"]


def test_what_is_no_route_has_pages_for_its_guards() -> None:
    rules = [{"redirect": {"uri": "/x"}, "match": [{"uri": {"prefix": "/r"}}]}, {"directResponse": {"status": 200}}]
    result = compiled(gateway(), virtual_service("web", "a.com", *rules), pages("p", "VirtualService/web", _403="out"))
    assert of_rules(host_of(result)) == [["out"], ["out"]]


def test_the_older_one_counts() -> None:
    result = compiled(
        gateway(), WEB, pages("first", "VirtualService/web", _503="first"),
        pages("second", "VirtualService/web", _503="second", _500="five"),
    )  # fmt: skip
    assert bodies(host_of(result).pages) == ["first", "five", "noted"]
    [found] = [found for found in result.diagnostics if found.code == "FGW0119"]
    assert (found.name, found.path) == ("second", 'spec.pages["503"]')
    assert "ErrorPages default/first at first.yaml:1 counts" in found.message


@pytest.mark.parametrize(
    ("target", "rest", "words"),
    [
        ("VirtualService/nobody", {}, 'VirtualService "default/nobody" not found'),
        ("Gateway/nobody", {}, 'Gateway "default/nobody" not found'),
        ("VirtualService/web", {"routes": ("three",)}, '"three" is no http route'),
        ("VirtualService/web", {"hosts": ("b.com",)}, 'is not served under "b.com"'),
    ],
)
def test_a_target_that_is_not_there(target: str, rest: dict[str, Any], words: str) -> None:
    result = compiled(gateway(), WEB, pages("p", target, _503="x", **rest))
    assert bodies(host_of(result).pages) == ["noted"]
    [found] = [found for found in result.diagnostics if found.code == "IST0101"]
    assert words in found.message and "spec.targetRefs[0]" in found.path


def test_a_file_that_could_not_be_read() -> None:
    """It has been reported; the page beside it counts."""
    page = {"contentType": "text/html", "file": "503.html"}
    spec = {"targetRefs": [{"kind": "VirtualService", "name": "web"}], "pages": {"503": [page, {**page, "file": "other.html"}]}}
    asked = resource("ErrorPages", "p", spec)
    asked.texts = {"other.html": "read"}
    found = host_of(compiled(gateway(), WEB, asked)).pages
    assert found[0] == ErrorPage(503, 503, "text/html", "read", "default/p", "other.html")
    assert bodies(found) == ["read", "noted"]


def test_a_changed_body_reaches_rules_and_hosts() -> None:
    cache = CompileCache()
    for body in ("old", "new", "old"):
        asked = [pages("v", "VirtualService/web", _503=body), pages("g", "Gateway/gw", _404=body)]
        result = compiled(gateway(), WEB, *asked, cache=cache)
        host = host_of(result)
        assert of_rules(host) == [[body, "noted"]] * 2
        assert bodies(host.gateway_pages) == bodies(result.plan.route_tables["http.80"].pages) == [body]


def page(low: int, high: int, body: str) -> ErrorPage:
    return ErrorPage(low, high, "text/html", body)


def test_merging() -> None:
    """A class of who comes first takes all of its statuses; a single status leaves the rest of the class."""
    first = (page(404, 404, "a"), page(404, 404, "b"), page(500, 599, "c"))
    second = (page(404, 404, "d"), page(503, 503, "e"), page(400, 499, "f"), page(500, 599, "g"))
    assert bodies(merged([first, second])) == ["a", "b", "c", "f"]
    assert bodies(merged([second, first])) == ["d", "e", "f", "g"]
    assert merged([]) == ()
