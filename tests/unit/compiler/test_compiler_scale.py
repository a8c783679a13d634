"""Cost grows with the number of objects and not with its square: counted in calls, not in seconds."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.compile import CompileCache, compile_plan
from fastgw.model.resource import Resource


def calls(resources: list[Resource], cache: CompileCache) -> int:
    """Python functions entered by one compilation."""
    count = 0

    def tally(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(tally)
    try:
        compile_plan(resources, cache=cache)
    finally:
        sys.setprofile(None)
    return count


def world(size: int) -> list[Resource]:
    several = [virtual_service(f"host-{i}", f"h{i}.example.com", to("web", uri={"prefix": "/a"})) for i in range(size)]
    shared = [virtual_service(f"path-{i}", "one.example.com", to("web", uri={"prefix": f"/p{i}"})) for i in range(size)]
    return [gateway("gw", "*.example.com"), *several, *shared]


def test_cost_is_linear() -> None:
    small, large = calls(world(50), CompileCache()), calls(world(400), CompileCache())
    assert large < 9 * small


def test_one_change_costs_a_fraction() -> None:
    resources, cache = world(300), CompileCache()
    cold = calls(resources, cache)
    resources[5] = virtual_service("host-4", "h4.example.com", to("web", uri={"prefix": "/changed"}))
    assert calls(resources, cache) < cold / 3


def secure_world(size: int) -> list[Resource]:
    """One Gateway with a server for each host, and a VirtualService for each."""
    servers = [
        {
            "port": {"number": 443, "name": f"https-{i}", "protocol": "HTTPS"},
            "hosts": [f"h{i}.example.com" if i % 3 else f"*.h{i}.example.com"],
            "tls": {"mode": "SIMPLE", "credentialName": f"pair-{i}"},
        }
        for i in range(size)
    ]
    services = [
        virtual_service(f"host-{i}", f"h{i}.example.com" if i % 3 else f"x.h{i}.example.com", to("web")) for i in range(size)
    ]
    return [resource("Gateway", "gw", {"servers": servers}), *services]


def test_cost_is_linear_in_servers() -> None:
    small, large = calls(secure_world(50), CompileCache()), calls(secure_world(400), CompileCache())
    assert large < 9 * small


def test_every_server_finds_its_virtual_services() -> None:
    plan = compile_plan(secure_world(60)).plan
    assert len(plan.route_tables) == len(plan.listeners[0].chains) == 60
    assert all(len(table.virtual_hosts) == 1 for table in plan.route_tables.values())
