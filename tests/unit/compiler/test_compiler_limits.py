"""Numbers that no image can hold: their owner is answered 503 or left out, everything else is served."""

from __future__ import annotations

from typing import Any

import pytest
from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.compile import compile_plan
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource


def plan_beside_a_good_one(*resources: Resource) -> tuple[Plan, list[str]]:
    result = compile_plan([gateway(), virtual_service("good", "good.com", to("good")), *resources])
    assert write_image(result.plan, StateNumbers(), 1)
    assert "outbound|80||good.default.svc.cluster.local" in result.plan.clusters
    return result.plan, [found.code for found in result.diagnostics if found.severity == "error"]


def action_of(plan: Plan, host: str) -> str:
    (found,) = [entry for entry in plan.route_tables["http.80"].virtual_hosts if entry.domains == [host]]
    return found.rules[0].action.kind


@pytest.mark.parametrize(
    "route",
    [
        [{"destination": {"host": "a", "port": {"number": 70000}}}],
        [{"destination": {"host": "a"}, "weight": -1}],
        [{"destination": {"host": name}, "weight": 2**31 - 1} for name in ("a", "b", "c")],
    ],
)
def test_numbers_of_routes(route: list[dict[str, Any]]) -> None:
    plan, errors = plan_beside_a_good_one(virtual_service("bad", "bad.com", {"route": route}))
    assert (action_of(plan, "bad.com"), errors) == ("unsupported", ["FGW0104"])


def entry(**port: Any) -> Resource:
    spec = {"hosts": ["bad.internal"], "ports": [{"number": 80, "name": "http", **port}], "resolution": "STATIC"}
    return resource("ServiceEntry", "bad", {**spec, "endpoints": [{"address": "10.0.0.1"}, {"address": "unix:///run/a"}]})


def test_target_port_of_a_service_entry() -> None:
    plan, errors = plan_beside_a_good_one(entry(targetPort=70000), virtual_service("bad", "bad.com", to("bad.internal")))
    assert [found.address for found in plan.clusters["outbound|80||bad.internal"].endpoints] == ["unix:/run/a"]
    assert errors == ["FGW0104"]


def test_port_of_a_name_to_resolve() -> None:
    spec = {"hosts": ["bad.internal"], "ports": [{"number": 80, "name": "http", "targetPort": 70000}], "resolution": "DNS"}
    bad = resource("ServiceEntry", "bad", spec)
    plan, errors = plan_beside_a_good_one(bad, virtual_service("bad", "bad.com", to("bad.internal")))
    assert (plan.clusters["outbound|80||bad.internal"].discovery, errors) == ("static", ["FGW0104"])


@pytest.mark.parametrize(("timeout", "expected_ms"), [("-5s", 1), ("100us", 1), ("1500ms", 1500), ("1m", 60_000)])
def test_connect_timeout(timeout: str, expected_ms: int) -> None:
    rule = {"host": "good", "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": timeout}}}}
    plan, errors = plan_beside_a_good_one(resource("DestinationRule", "good", rule))
    assert plan.clusters["outbound|80||good.default.svc.cluster.local"].connect_timeout_ms == expected_ms
    assert errors == []
