"""Each invalid case of tests/golden/validation beside a good Gateway and VirtualService: the good ones go on being served.

Loaded, compiled, written into an image, and asked of the matcher that serves traffic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_validation_cases import CASES, write_case

from fastgw.compiler.compile import CompileOptions, compile_plan
from fastgw.image.explain import Explainer, ExplainRequest, Explanation
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.sources.files import load_paths

GOOD = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: containment-good, namespace: containment}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8089, name: http, protocol: HTTP}
    hosts: [good.containment.test]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: containment-good, namespace: containment}
spec:
  hosts: [good.containment.test]
  gateways: [containment-good]
  http:
  - match: [{uri: {prefix: /good/}}]
    route: [{destination: {host: good.upstream.test, port: {number: 8080}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: containment-good, namespace: containment}
spec:
  hosts: [good.upstream.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.7}]
"""
INVALID = [case for case in CASES if case["verdict"] == "invalid"]


def ask(directory: Path) -> Explanation:
    """The route of a request to the good host."""
    resources = load_paths([str(directory)], "istio-system").resources
    plan = compile_plan(resources, CompileOptions()).plan
    explainer = Explainer(write_image(plan, StateNumbers(), 1))
    return explainer.explain("0.0.0.0_8089", ExplainRequest("GET", "good.containment.test:8089", "/good/x"))


@pytest.mark.parametrize("name", ["a-good.yaml", "z-good.yaml", "case.yaml"], ids=["before", "after", "same-file"])
@pytest.mark.parametrize("case", INVALID, ids=[case["id"] for case in INVALID])
def test_the_good_host_is_served(case: dict[str, Any], name: str, tmp_path: Path) -> None:
    write_case(case, tmp_path)
    with open(tmp_path / name, "a") as file:
        file.write(f"\n---\n{GOOD}" if name == "case.yaml" else GOOD)
    found = ask(tmp_path)
    assert found.verdict == "match", case["reason"]
    assert found.matched is not None
    assert (found.matched.virtual_service, found.matched.file) == ("containment/containment-good", str(tmp_path / name))
    assert [(one.host, one.port, one.endpoints) for one in found.destinations] == [
        ("good.upstream.test", 8080, ("192.0.2.7:8080",))
    ]


def test_there_are_invalid_cases() -> None:
    assert len(INVALID) > 150
