"""One mistake costs the rule it is in, no more; what it costs is never a wider door."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.compiler.compile import compile_plan
from fastgw.compiler.options import CompileOptions
from fastgw.model.plan import Rule
from fastgw.sources.files import load_paths

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
"""
GOOD = "{route: [{destination: {host: b, port: {number: 80}}}]}"


def rules_of(tmp_path: Path, routes: str, hosts: str = '["a.test"]') -> tuple[list[Rule], list[str]]:
    service = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        f"spec:\n  hosts: {hosts}\n  gateways: [gw]\n  http:\n{routes}"
    )
    (tmp_path / "c.yaml").write_text(GATEWAY + service)
    loaded = load_paths([str(tmp_path)], "istio-system")
    result = compile_plan(loaded.resources, CompileOptions(labels={"istio": "ingressgateway"}, namespace="istio-system"))
    hosts_served = [host for table in result.plan.route_tables.values() for host in table.virtual_hosts]
    errors = [d.path for d in loaded.diagnostics if d.severity == "error"]
    return [rule for host in hosts_served for rule in host.rules], errors


def test_a_wrong_match_never_matches_and_the_rest_serves(tmp_path: Path) -> None:
    rules, errors = rules_of(
        tmp_path,
        f'  - {{match: [{{uri: {{regex: "("}}}}, {{uri: {{exact: /x}}}}], {GOOD[1:]}\n  - {GOOD}\n',
    )
    assert errors == ["spec.http[0].match[0].uri.regex"]
    assert [(r.route_index, r.match_index) for r in rules] == [(0, 1), (1, 0)]


def test_a_route_with_only_wrong_matches_does_not_become_a_catch_all(tmp_path: Path) -> None:
    rules, _ = rules_of(tmp_path, f'  - {{match: [{{uri: {{regex: "("}}}}], {GOOD[1:]}\n  - {{name: last, {GOOD[1:]}\n')
    assert [r.name for r in rules] == ["last"]


def test_a_wrong_route_keeps_its_requests_from_the_next_rule(tmp_path: Path) -> None:
    wrong = "{match: [{uri: {prefix: /admin}}], route: [{destination: {host: b}, weight: -1}, {destination: {host: c}}]}"
    rules, errors = rules_of(tmp_path, f"  - {wrong}\n  - {GOOD}\n")
    assert errors and all(path.startswith("spec.http[0]") for path in errors)
    assert [(r.path.value if r.path else "", r.action.kind) for r in rules] == [("/admin", "unsupported"), ("", "route")]


def test_a_wrong_host_costs_the_object(tmp_path: Path) -> None:
    rules, errors = rules_of(tmp_path, f"  - {GOOD}\n", hosts='["a.*.test"]')
    assert errors and rules == []


def test_nothing_right_costs_the_object(tmp_path: Path) -> None:
    rules, _ = rules_of(tmp_path, "  - {route: [{destination: {host: b}, weight: -1}, {destination: {host: c}}]}\n")
    assert rules == []


@pytest.mark.parametrize(
    ("server", "path"),
    [
        ('{port: {number: 81, name: x, protocol: HTTP}, hosts: ["short"]}', "spec.servers[0].hosts[0]"),
        ('{port: {number: many, name: x, protocol: HTTP}, hosts: ["*"]}', "spec.servers[0].port.number"),
    ],
)
def test_a_wrong_server_costs_that_server(tmp_path: Path, server: str, path: str) -> None:
    """Of a value or of a type."""
    text = GATEWAY.replace("servers: [", f"servers: [{server}, ")
    service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
    service += f'spec:\n  hosts: ["a.test"]\n  gateways: [gw]\n  http:\n  - {GOOD}\n'
    (tmp_path / "c.yaml").write_text(text + service)
    loaded = load_paths([str(tmp_path)], "istio-system")
    result = compile_plan(loaded.resources, CompileOptions(labels={"istio": "ingressgateway"}, namespace="istio-system"))
    assert [d.path for d in loaded.diagnostics if d.severity == "error"] == [path]
    assert [listener.port for listener in result.plan.listeners] == [80]
    assert len(result.plan.route_tables["http.80"].virtual_hosts) == 1


def test_a_rule_that_does_not_fit_its_type_costs_itself(tmp_path: Path) -> None:
    admin = "{match: [{uri: {prefix: /admin}}], timeoutt: 5s, route: [{destination: {host: b, port: {number: 80}}}]}"
    typed = "{match: [{uri: {prefix: /typed}}], retries: {attempts: many}, route: []}"
    matched = f"{{match: [{{uri: {{exact: 1}}}}, {{uri: {{exact: /y}}}}], {GOOD[1:]}"
    rules, errors = rules_of(tmp_path, f"  - {admin}\n  - {typed}\n  - {matched}\n  - {GOOD}\n")
    assert errors == ["spec.http[0].timeoutt", "spec.http[1].retries.attempts", "spec.http[2].match[0].uri.exact"]
    seen = [(r.route_index, r.match_index, r.path.value if r.path else "", r.action.kind) for r in rules]
    assert seen == [(0, 0, "/admin", "unsupported"), (1, 0, "/typed", "unsupported"), (2, 1, "/y", "route"), (3, 0, "", "route")]


def test_a_rule_whose_requests_are_not_known_costs_the_object(tmp_path: Path) -> None:
    """Answered 503, it would take the requests of all others."""
    for wrong in (f"{{matches: [{{uri: {{exact: /x}}}}], {GOOD[1:]}", f"{{match: {{uri: {{exact: /x}}}}, {GOOD[1:]}", "nothing"):
        rules, errors = rules_of(tmp_path, f"  - {wrong}\n  - {GOOD}\n")
        assert errors and rules == [], wrong


def endpoints_of(tmp_path: Path, spec: str) -> tuple[list[str], list[str]]:
    """(the endpoints of the service s.test, paths of errors)"""
    service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
    service += f"spec: {{hosts: [a.test], gateways: [gw], http: [{GOOD}]}}\n"
    entry = f"---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec: {{hosts: [b], {spec}}}\n"
    (tmp_path / "c.yaml").write_text(GATEWAY + service + entry)
    loaded = load_paths([str(tmp_path)], "istio-system")
    result = compile_plan(loaded.resources, CompileOptions(labels={"istio": "ingressgateway"}, namespace="istio-system"))
    (cluster,) = result.plan.clusters.values()
    found = [endpoint.address for endpoint in cluster.endpoints]
    return found, [d.path for d in loaded.diagnostics if d.severity == "error"]


def test_a_wrong_endpoint_costs_that_endpoint(tmp_path: Path) -> None:
    """Without the whole entry DNS would be asked for the name, and might lead elsewhere."""
    ports = "ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC"
    one, two = "{address: 192.0.2.1}", "{address: 192.0.2.2, ports: {https: 443}}"
    assert endpoints_of(tmp_path, f"{ports}, endpoints: [{two}, {one}]") == (["192.0.2.1"], ["spec.endpoints[0].ports.https"])
    three = "{address: 192.0.2.3, wait: 1}"
    assert endpoints_of(tmp_path, f"{ports}, endpoints: [{one}, {three}]") == (["192.0.2.1"], ["spec.endpoints[1].wait"])
    assert endpoints_of(tmp_path, f"{ports}, endpoints: [{three}]") == ([], ["spec.endpoints[0].wait"])
