"""Listeners, virtual hosts and clusters; rules that several hosts share."""

from __future__ import annotations

import msgspec
import pytest

from fastgw.diff.changes import FieldChange, PlanChanges, ThingChange
from fastgw.diff.plans import compare_plans
from fastgw.model.origin import Origin
from fastgw.model.plan import (
    Action,
    Chain,
    Cluster,
    Endpoint,
    LeftOut,
    Listener,
    ObjectRef,
    PathMatch,
    Plan,
    RouteTable,
    Rule,
    ServerRef,
    VirtualHost,
    WeightedDestination,
)


def some_plan(file: str = "old.yaml") -> Plan:
    place = Origin(file, 3, 1)
    gateway = ObjectRef("Gateway", "default/gw", place)
    server = ServerRef(gateway, 0, 80, "http", "HTTP", ("a.com", "b.com"))
    action = Action("route", (WeightedDestination("cart", 1, "cart", "", 80),))
    rule = Rule("", ObjectRef("VirtualService", "default/vs", place), 0, 0, action, PathMatch("prefix", "/"), (), place)
    hosts = [VirtualHost(f"{name}:80", [name], [rule], origin=place) for name in ("a.com", "b.com")]
    cart = Cluster("cart", "cart", 80, endpoints=[Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)], origin=place)
    listener = Listener("0.0.0.0_80", "", 80, "HTTP", [server], [Chain("http.80", route_table="http.80")], origin=place)
    return Plan([listener], {"http.80": RouteTable("http.80", hosts)}, {"cart": cart})


def hosts_of(plan: Plan) -> list[VirtualHost]:
    return plan.route_tables["http.80"].virtual_hosts


def only(found: list[ThingChange]) -> ThingChange:
    (one,) = found
    return one


def test_matches_that_never_held_are_nothing() -> None:
    new = some_plan()
    owner = hosts_of(new)[0].rules[0].virtual_service
    hosts_of(new)[0].left_out.append(LeftOut(owner, 0, 1, "", "port: want 81, got 80"))
    assert not compare_plans(some_plan(), new)


def test_other_files_are_no_change() -> None:
    assert not compare_plans(some_plan(), some_plan("new.yaml"))
    assert not PlanChanges([], [], [], [])


def test_listeners() -> None:
    old, new = some_plan(), some_plan("new.yaml")
    new.listeners[0].proxy_protocol = True
    new.listeners.append(
        Listener(
            "0.0.0.0_81",
            "",
            81,
            "HTTP",
            new.listeners[0].servers,
            [Chain("http.81", route_table="http.81")],
            origin=Origin("new.yaml", 9, 1),
        )
    )
    changed, added = compare_plans(old, new).listeners
    assert (changed.change, changed.fields) == ("changed", (FieldChange("proxy_protocol", "false", "true"),))
    assert (changed.old_origin.file, changed.new_origin.file) == ("old.yaml", "new.yaml")
    assert (added.change, added.name, added.detail, added.new_origin.line) == ("added", "0.0.0.0_81", "HTTP, port 80", 9)
    assert [each.change for each in compare_plans(new, old).listeners] == ["changed", "removed"]


def test_another_port_behind_a_listener() -> None:
    old, new = some_plan(), some_plan()
    new.listeners[0].servers = [msgspec.structs.replace(old.listeners[0].servers[0], port=8080, hosts=("c.com",), port_name="x")]
    (field,) = only(compare_plans(old, new).listeners).fields
    assert (field.field, field.old, field.new) == ("servers", "port 80, protocol HTTP", "port 8080, protocol HTTP")


def test_hosts() -> None:
    old, new = some_plan(), some_plan()
    hosts_of(new)[0].require_tls = True
    hosts_of(new)[1].name = "c.com:80"
    changed, added, removed = compare_plans(old, new).hosts
    assert (changed.name, changed.fields) == ("http.80 a.com:80", (FieldChange("require_tls", "false", "true"),))
    assert (added.change, added.name, added.detail) == ("added", "http.80 c.com:80", "1 rule")
    assert (removed.change, removed.name) == ("removed", "http.80 b.com:80")


def test_a_rule_that_hosts_share_is_one_change() -> None:
    old, new = some_plan(), some_plan()
    other = msgspec.structs.replace(hosts_of(new)[0].rules[0], path=PathMatch("prefix", "/api"))
    for host in hosts_of(new):
        host.rules = [other]
    (change,) = compare_plans(old, new).rules
    assert change.virtual_hosts == ("a.com:80", "b.com:80")
    assert change.fields == (FieldChange("match", "/*", "/api*"),)


def test_clusters() -> None:
    old, new = some_plan(), some_plan()
    new.clusters["cart"].lb = "random"
    new.clusters["cart"].endpoints = [Endpoint("10.0.0.2", 80, 3), Endpoint("::1", 80, healthy=False), Endpoint("10.0.0.1", 80)]
    new.clusters["new"] = Cluster("new", "new", 80, discovery="dns")
    changed, added = compare_plans(old, new).clusters
    assert changed.fields == (
        FieldChange("lb", "least_request", "random"),
        FieldChange("endpoints", "10.0.0.2:80", "10.0.0.2:80 weight 3, [::1]:80 unhealthy"),
    )
    assert (added.name, added.detail) == ("new", "dns")


@pytest.mark.parametrize("field", ["destination_rule", "found_in", "service_name", "service_namespace"])
def test_where_a_cluster_was_found_is_nothing(field: str) -> None:
    new = some_plan()
    setattr(new.clusters["cart"], field, "other")
    new.clusters["cart"].endpoints.reverse()
    assert not compare_plans(some_plan(), new)
