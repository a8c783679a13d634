"""Annotations on Gateways: what counts for the listeners, and who hears of it when Gateways differ."""

from __future__ import annotations

import pytest
from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler.compile import compile_plan
from fastgw.compiler.gateway_annotations import (
    MAX_CONNECTIONS,
    MAX_PER_SOURCE,
    PROXY_PROTOCOL,
    GatewayWishes,
    gateway_wishes,
)
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report
from fastgw.model.plan import Listener
from fastgw.model.resource import Resource


@pytest.mark.parametrize(
    ("annotations", "wishes"),
    [
        ({}, GatewayWishes()),
        ({PROXY_PROTOCOL: "true"}, GatewayWishes(True)),
        ({PROXY_PROTOCOL: " false "}, GatewayWishes(False)),
        ({MAX_CONNECTIONS: "0", MAX_PER_SOURCE: "20"}, GatewayWishes(None, 0, 20)),
        ({"other.io/proxy-protocol": "x"}, GatewayWishes()),
    ],
)
def test_what_is_understood(annotations: dict[str, str], wishes: GatewayWishes) -> None:
    report = Report()
    assert gateway_wishes(gateway(annotations=annotations), report) == wishes
    assert not report.diagnostics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (PROXY_PROTOCOL, "yes"), (PROXY_PROTOCOL, "v2"), (PROXY_PROTOCOL, ""), (MAX_CONNECTIONS, "-1"), (MAX_CONNECTIONS, "10k"),
        (MAX_CONNECTIONS, "10000001"), (MAX_PER_SOURCE, "1.5"), ("gateway.fastgw.io/sticky", "source-ip"),
    ],
)  # fmt: skip
def test_what_has_no_effect(name: str, value: str) -> None:
    report = Report()
    assert gateway_wishes(gateway(annotations={name: value}), report) == GatewayWishes()
    (found,) = report.diagnostics
    assert (found.severity, found.code, found.path) == ("warning", "FGW0110", f"metadata.annotations[{name}]")


def served(*gateways: Resource, options: CompileOptions | None = None) -> tuple[list[Listener], list[tuple[str, str, str]]]:
    """Listeners of these Gateways, and code, name and message of the diagnostics about Gateways."""
    service = resource("ServiceEntry", "web", {"hosts": ["web"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]})
    rules = virtual_service("v", "a.test", to("web"))
    rules.spec.gateways = [each.key for each in gateways]
    result = compile_plan([*gateways, rules, service], options or CompileOptions())
    return result.plan.listeners, [(d.code, d.name, d.message) for d in result.diagnostics if d.kind == "Gateway"]


def test_it_holds_for_every_listener_of_the_gateway() -> None:
    both = resource(
        "Gateway",
        "gw",
        {"servers": [{"port": {"number": n, "name": f"p{n}", "protocol": "HTTP"}, "hosts": ["*"]} for n in (80, 81)]},
        annotations={PROXY_PROTOCOL: "true", MAX_CONNECTIONS: "7", MAX_PER_SOURCE: "3"},
    )
    listeners, said = served(both, gateway("other", port=82))
    found = {listener.port: (listener.proxy_protocol, listener.max_connections, listener.max_per_source) for listener in listeners}
    assert found == {80: (True, 7, 3), 81: (True, 7, 3), 82: (False, None, None)}
    assert not said


def test_a_port_of_the_options() -> None:
    listeners, said = served(gateway(port=80), gateway("other", port=81), options=CompileOptions(proxy_protocol=(81, 9)))
    assert {listener.port: listener.proxy_protocol for listener in listeners} == {80: False, 81: True}
    assert not said


@pytest.mark.parametrize("other", [{}, {PROXY_PROTOCOL: "false"}])
def test_gateways_that_differ_about_the_protocol(other: dict[str, str]) -> None:
    """The safe reading: what has no header is closed, for nobody would know whose it is."""
    (listener,), said = served(
        gateway("a", "a.test", annotations={PROXY_PROTOCOL: "true"}), gateway("b", "b.test", annotations=other)
    )
    assert listener.proxy_protocol
    ((code, name, message),) = said
    assert (code, name) == ("FGW0116", "b") and "Gateway default/a at a.yaml:1 asks for the PROXY protocol" in message
    options = CompileOptions(proxy_protocol=(80,))
    assert not served(gateway("a", "a.test", annotations={PROXY_PROTOCOL: "true"}), gateway("b", "b.test"), options=options)[1]


def test_gateways_that_differ_about_limits() -> None:
    (listener,), said = served(
        gateway("a", "a.test", annotations={MAX_CONNECTIONS: "0", MAX_PER_SOURCE: "5"}),
        gateway("b", "b.test", annotations={MAX_CONNECTIONS: "100"}),
    )
    assert (listener.max_connections, listener.max_per_source) == (100, 5)
    ((code, name, message),) = said
    assert (code, name) == ("FGW0116", "a") and "b.yaml:1, which asks for 100" in message
