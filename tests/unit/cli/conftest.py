"""A small configuration, and the commands run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fastgw.cli.main import group

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com, plain.example.com]}
  - port: {number: 8080, name: alt, protocol: HTTP}
    tls: {httpsRedirect: true}
    hosts: ["*.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [gw]
  http:
  - name: beta
    match:
    - uri: {prefix: /cart}
      headers: {x-user: {exact: ann}}
      queryParams: {v: {exact: "2"}}
    route:
    - destination: {host: cart, subset: v2, port: {number: 80}}
  - match:
    - uri: {prefix: /cart}
    - uri: {exact: /basket}
      method: {exact: POST}
    route:
    - {destination: {host: cart, port: {number: 80}}, weight: 3}
    - {destination: {host: fixed, port: {number: 9000}}, weight: 1}
  - match:
    - uri: {prefix: /old}
    redirect: {uri: /new}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def run() -> Callable[..., Result]:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(group, list(words))

    return invoke


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., Any]:
    """The JSON answer and the exit code."""

    def invoke(*words: str) -> tuple[Any, int]:
        result = run(*words, "-o", "json")
        return json.loads(result.stdout), result.exit_code

    return invoke
