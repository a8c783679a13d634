"""Limits of connections in ``proxy-config listeners``: of a Gateway's annotations, and of a running gateway's options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from fastgw.cli.listener_view import limit_rows

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: gw
  annotations:
    gateway.fastgw.io/proxy-protocol: "true"
    gateway.fastgw.io/max-connections: "5000"
    gateway.fastgw.io/max-connections-per-source: "0"
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: plain}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
"""


def test_what_a_gateway_asks_for(tmp_path: Path, run: Callable[..., Result], run_json: Callable[..., tuple[Any, int]]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    entries, _ = run_json("proxy-config", "listeners", str(path))
    names = ("port", "proxyProtocol", "maxConnections", "maxConnectionsPerSource", "trustedProxies")
    assert [[entry[name] for name in names] for entry in entries] == [
        [80, True, 5000, 0, None],
        [8080, False, None, None, None],
    ]
    lines = run("proxy-config", "listeners", str(path)).stdout.splitlines()
    assert lines[3] == ""
    assert [cell.strip() for cell in lines[4].split("     ")][:3] == ["ADDRESSES", "PORT", "MAX CONNECTIONS"]
    assert lines[5].split() == ["0.0.0.0", "80", "5000", "none", "required", "-"]
    assert len(lines) == 6, "the other listener is as ever"


def entry(**other: Any) -> dict[str, Any]:
    defaults = {"proxyProtocol": False, "maxConnections": 10_000, "maxConnectionsPerSource": 0, "trustedProxies": []}
    return {"address": "0.0.0.0", "port": 80, **defaults, **other}


def test_nothing_is_said_of_the_defaults() -> None:
    assert limit_rows([entry(), entry(maxConnections=None, trustedProxies=None)]) == []


def test_options_of_a_running_gateway() -> None:
    told = [entry(maxConnections=0), entry(maxConnectionsPerSource=9), entry(trustedProxies=["10.0.0.0/8", "::1"])]
    assert [row[2:] for row in limit_rows(told)] == [
        ("none", "none", "no", "none"),
        ("10000", "9", "no", "none"),
        ("10000", "none", "no", "10.0.0.0/8,::1"),
    ]
