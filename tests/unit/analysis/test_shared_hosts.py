"""Why the rules of one VirtualService come before those of another: the reason that is given is the one that the order has."""

from __future__ import annotations

from typing import Any

import pytest

from fastgw.analysis.examine import ExamineOptions, examine
from fastgw.analysis.shared_hosts import reason_of_order
from fastgw.compiler.compile import CompileOptions, compile_plan
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.gateway import Gateway, Port, Server
from fastgw.model.kinds.http_route import Destination, HttpMatch, HttpRoute, HttpRouteDestination
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.origin import Origin
from fastgw.model.resource import Resource

DESTINATION = (HttpRouteDestination(destination=Destination(host="10.0.0.1")),)


def service(name: str, order: int, *, catch_all: bool = False, **more: Any) -> Resource:
    spec: dict[str, Any] = {"hosts": ("shop.test",), "gateways": ("n/gw",), **more.pop("spec", {})}
    match = () if catch_all else (HttpMatch(uri=StringMatch(exact=f"/{name}")),)
    spec["http"] = (HttpRoute(match=match, route=DESTINATION),)
    more.setdefault("namespace", "n")
    return Resource(
        kind="VirtualService",
        api_version="v1",
        name=name,
        order=order,
        spec=VirtualService(**spec),
        origin=Origin("f", order, 1),
        **more,
    )


def gateway(name: str) -> Resource:
    server = Server(port=Port(number=80, name="http", protocol="HTTP"), hosts=("*",))
    spec = Gateway(selector={}, servers=(server,))
    return Resource(kind="Gateway", api_version="v1", namespace="n", name=name, spec=spec, origin=Origin("f", 1, 1))


OLD, NEW = "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"
PRIORITY = "gateway.fastgw.io/priority"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (service("b", 1), service("a", 2), "neither has a creationTimestamp, and it comes first in file order"),
        (service("b", 2, creation_timestamp=OLD), service("a", 1), "it has a creationTimestamp, this one has none"),
        (
            service("b", 2, creation_timestamp=OLD),
            service("a", 1, creation_timestamp=NEW),
            f"it is older ({OLD}, this one {NEW})",
        ),
        (
            service("a", 2, creation_timestamp=OLD),
            service("b", 1, creation_timestamp=OLD),
            "both are of the same age, and its name sorts first",
        ),
        (service("b", 2, annotations={PRIORITY: "5"}), service("a", 1), "its priority is 5, here it is 0"),
        (service("b", 2), service("a", 1, annotations={PRIORITY: "-5"}), "its priority is 0, here it is -5"),
        (
            service("b", 2, namespace="istio-system", spec={"export_to": (".",)}),
            service("a", 1),
            "it is in the gateway's namespace",
        ),
        (
            service("b", 2, spec={"export_to": ("istio-system",)}),
            service("a", 1),
            "it is exported to the gateway's namespace by name",
        ),
        (service("b", 2), service("a", 1, spec={"gateways": ("n/later",)}), "its Gateway comes first"),
        (
            service("b", 2),
            service("a", 1, catch_all=True),
            "the rule of this one takes every request, and such rules are moved to the end",
        ),
        (
            service("b", 2, catch_all=True, annotations={PRIORITY: "5"}),
            service("a", 1),
            "its priority is 5, here it is 0",
        ),
        (
            service("b", 1, catch_all=True),
            service("a", 2, catch_all=True),
            "neither has a creationTimestamp, and it comes first in file order",
        ),
    ],
)
def test_reasons(first: Resource, second: Resource, reason: str) -> None:
    """The compiler puts ``first`` first, and the finding about ``second`` says why."""
    resources = [gateway("gw"), gateway("later"), second, first]
    plan = compile_plan(resources, CompileOptions()).plan
    found = [one for one in examine(resources, plan, ExamineOptions()) if one.code == "FGW0025"]
    [rules] = [host.rules for table in plan.route_tables.values() for host in table.virtual_hosts]
    assert [rule.virtual_service.key for rule in rules] == [first.key, second.key]
    assert [(one.name, one.severity) for one in found] == [(second.name, "info")]
    assert (
        found[0].message == f'"shop.test" is also in VirtualService {first.key} (f:{first.order}), whose rules come first: {reason}'
    )


def test_an_annotation_that_is_not_understood_is_no_reason() -> None:
    odd = service("a", 2, annotations={PRIORITY: "much"})
    assert "file order" in reason_of_order(service("b", 1), odd, "istio-system")
