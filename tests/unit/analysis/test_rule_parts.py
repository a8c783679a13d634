"""A mistake in a DestinationRule costs the block or subset that it is in, and never TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgw.analysis.rule_parts import parts_of_rule, remove_parts
from fastgw.compiler.compile import compile_plan
from fastgw.compiler.options import CompileOptions
from fastgw.model.plan import Cluster
from fastgw.sources.files import load_paths

WORLD = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.test]
  gateways: [gw]
  http:
  - match: [{uri: {exact: /subset}}]
    route: [{destination: {host: s.test, subset: v1, port: {number: 80}}}]
  - match: [{uri: {exact: /other}}]
    route: [{destination: {host: s.test, port: {number: 81}}}]
  - route: [{destination: {host: s.test, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s}
spec:
  hosts: [s.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http-81, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r}
spec: %s
"""
GOOD_SUBSET = "subsets: [{name: v1, labels: {version: v1}}]"
POOL = "connectionPool: {http: {maxRetries: 7}}"
TLS = "tls: {mode: SIMPLE, caCertificates: /ca.pem}"


def clusters_of(tmp_path: Path, spec: str) -> tuple[dict[str, Cluster], list[str], list[str]]:
    """The clusters by port and subset ("80", "80/v1", "81"), paths of errors, codes of what the compiler says."""
    (tmp_path / "c.yaml").write_text(WORLD % spec)
    loaded = load_paths([str(tmp_path)], "istio-system")
    result = compile_plan(loaded.resources, CompileOptions(labels={"istio": "ingressgateway"}, namespace="istio-system"))
    found = {f"{c.port}/{c.subset}".rstrip("/"): c for c in result.plan.clusters.values()}
    errors = [d.path for d in loaded.diagnostics if d.severity == "error"]
    return found, errors, [d.code for d in result.diagnostics if d.severity == "error"]


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ("outlierDetection: {maxEjectionPercent: 200}", "outlierDetection.maxEjectionPercent"),
        ("outlierDetection: {interval: soon}", "outlierDetection.interval"),
        ("outlierDetection: {intervall: 5s}", "outlierDetection.intervall"),
        ("loadBalancer: {simple: LEAST}", "loadBalancer.simple"),
        ("outliers: {interval: 5s}", "outliers"),
        ("retryBudget: {percent: 200}", "retryBudget.percent"),
        ("proxyProtocol: {version: V3}", "proxyProtocol.version"),
        ("portLevelSettings: [{port: {number: 0}, outlierDetection: {}}]", "portLevelSettings[0]"),
    ],
)
def test_a_block_costs_itself(tmp_path: Path, block: str, path: str) -> None:
    found, errors, said = clusters_of(tmp_path, f"{{host: s.test, trafficPolicy: {{{TLS}, {POOL}, {block}}}, {GOOD_SUBSET}}}")
    assert errors == [f"spec.trafficPolicy.{path}"]
    assert said == [] and found.keys() == {"80", "80/v1", "81"}
    for cluster in found.values():
        assert cluster.tls is not None and cluster.policy.pool.max_retries == 7
        assert cluster.policy.outlier is None and cluster.policy.proxy_protocol == 0


@pytest.mark.parametrize(
    "words",
    [
        "trafficPolicy: {tls: {mode: SIMPLE, credentialName: c, caCertificates: /ca.pem}}",
        "trafficPolicy: {tls: {mode: SIMPLES}}",
        "trafficPolicy: {tls: {mode: SIMPLE, subjectAltName: [a.test]}}",
        "trafficPolicy: {tls: SIMPLE}",
        "trafficPolicy: {tsl: {mode: SIMPLE}}",
        "trafficPolicy: [{tls: {mode: SIMPLE}}]",
        "trafficPolicy: {portLevelSettings: [{port: {number: 0}, tls: {mode: SIMPLE}}]}",
        "trafficPolicy: {portLevelSettings: {port: {number: 80}, tls: {mode: SIMPLE}}}",
        "trafficPolicies: {tls: {mode: SIMPLE}}",
        "tls: {mode: MUTUAL}",
        "portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]",
    ],
)
def test_tls_that_is_not_understood_closes_the_destination(tmp_path: Path, words: str) -> None:
    found, errors, said = clusters_of(tmp_path, f"{{host: s.test, {words}, {GOOD_SUBSET}}}")
    assert errors
    assert found == {} and set(said) == {"FGW0106"}


def test_an_entry_of_a_port_closes_that_port(tmp_path: Path) -> None:
    entry = "{port: {number: 81}, tls: {mode: SIMPLE, sin: x}, " + POOL + "}"
    found, errors, said = clusters_of(tmp_path, f"{{host: s.test, trafficPolicy: {{portLevelSettings: [{entry}]}}, {GOOD_SUBSET}}}")
    assert errors == ["spec.trafficPolicy.portLevelSettings[0].tls.sin"]
    assert found.keys() == {"80", "80/v1"} and said == ["FGW0106"]


def test_a_word_beside_the_blocks_of_a_port(tmp_path: Path) -> None:
    for word, ports in (("retries: 3", {"80", "80/v1", "81"}), ("tsl: {mode: SIMPLE}", {"80", "80/v1"})):
        entry = "{port: {number: 81}, " + POOL + ", " + word + "}"
        spec = f"{{host: s.test, trafficPolicy: {{portLevelSettings: [{entry}]}}, {GOOD_SUBSET}}}"
        found, errors, _ = clusters_of(tmp_path, spec)
        assert len(errors) == 1 and found.keys() == ports


def test_a_subset_costs_itself(tmp_path: Path) -> None:
    subsets = "[{name: v1, label: {version: v1}}, {name: v2, labels: {version: v1}}]"
    found, errors, said = clusters_of(tmp_path, f"{{host: s.test, trafficPolicy: {{{TLS}}}, subsets: {subsets}}}")
    assert errors == ["spec.subsets[0].label"]
    assert found.keys() == {"80", "81"} and all(cluster.tls for cluster in found.values())
    assert said == ["IST0101"]


def test_of_two_subsets_of_a_name_the_first_counts(tmp_path: Path) -> None:
    subsets = "[{name: v1, labels: {version: v1}}, {name: v1, labels: {version: v2}}]"
    found, errors, _ = clusters_of(tmp_path, f"{{host: s.test, subsets: {subsets}}}")
    assert errors == ["spec.subsets[1].name"]
    assert len(found["80/v1"].endpoints) == 1


def test_the_policy_of_a_subset(tmp_path: Path) -> None:
    subset = "{name: v1, labels: {version: v1}, trafficPolicy: {" + POOL + ", tls: {mode: MUTUAL}}}"
    found, errors, said = clusters_of(tmp_path, f"{{host: s.test, subsets: [{subset}]}}")
    assert errors == ["spec.subsets[0].trafficPolicy.tls"]
    assert found.keys() == {"80", "81"} and said == ["FGW0106"]


@pytest.mark.parametrize("spec", ["{host: '', trafficPolicy: {" + TLS + "}}", "{host: s.test, exportTo: ['.', '*']}", "[]", "x"])
def test_whom_it_is_about_costs_the_rule(tmp_path: Path, spec: str) -> None:
    found, errors, _ = clusters_of(tmp_path, spec)
    assert errors and found.keys() >= {"80", "81"} and not any(cluster.tls for cluster in found.values())


WORDS = ["host", "trafficPolicy", "subsets", "portLevelSettings", "tls", "mode", "x"]
STEPS = st.sampled_from([*(f".{word}" for word in WORDS), ".subsets[0]", ".portLevelSettings[1]", '["."]'])
TREES = st.recursive(
    st.sampled_from([None, 1, "SIMPLE", {}]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)


@given(TREES, st.lists(st.lists(STEPS, max_size=5).map("".join), max_size=4))
def test_any_value_and_any_paths(value: object, paths: list[str]) -> None:
    parts = parts_of_rule(value, [f"spec{path}" for path in paths])
    if parts is not None:
        remove_parts(value, parts)
