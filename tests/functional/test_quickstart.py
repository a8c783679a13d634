"""The first thing that people try: Istio's YAML as they know it, one upstream, curl."""

from __future__ import annotations

import json
import subprocess

import pytest

from .conftest import StartGateway
from .support.client import fetch
from .support.curl import curl
from .support.gateway import Gateway, command, environment, run_cli
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.ports import free_port, listening_inodes

QUICKSTART = """\
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: coolstore-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["webapp.istioinaction.io"]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: webapp-vs-from-gw}
spec:
  hosts: ["webapp.istioinaction.io"]
  gateways: [coolstore-gateway]
  http:
  - route:
    - destination: {host: webapp, port: {number: 8080}}
"""


@pytest.fixture
def quickstart(start_gateway: StartGateway, origin: RecordingOrigin) -> Gateway:
    return start_gateway(QUICKSTART, options=["--resolve", f"webapp=127.0.0.1:{origin.port}"])


def test_the_host_of_the_example_reaches_webapp(quickstart: Gateway) -> None:
    answer = curl(f"http://127.0.0.1:{quickstart.port()}/api/catalog", "-H", "Host: webapp.istioinaction.io")
    assert answer.status == 200
    seen = json.loads(answer.body)
    assert (seen["origin"], seen["target"], seen["method"]) == ("webapp", "/api/catalog", "GET")


@pytest.mark.parametrize("host", ["other.example", "istioinaction.io", "x.webapp.istioinaction.io", "localhost", "127.0.0.1"])
def test_any_other_host_is_404_with_an_empty_body(quickstart: Gateway, host: str) -> None:
    answer = curl(f"http://127.0.0.1:{quickstart.port()}/api/catalog", "-H", f"Host: {host}")
    assert (answer.status, answer.body, answer.headers.get("content-length", "0")) == (404, "", "0")
    assert answer.headers["server"] == "fastgw"


def test_check_finds_the_example_right(quickstart: Gateway) -> None:
    done = run_cli("check", str(quickstart.config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_explain_names_the_rule_of_the_example(quickstart: Gateway) -> None:
    done = run_cli("explain", str(quickstart.config), "GET", "http://webapp.istioinaction.io/api/catalog", "-o", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["matched"]["virtualService"] == "default/webapp-vs-from-gw"
    assert (answer["matched"]["route"], answer["action"], answer["virtualHost"]) == (0, "route", "webapp.istioinaction.io")
    assert answer["listener"]["port"] == 80
    assert answer["destinations"][0]["port"] == 8080


def test_echo_is_an_upstream_for_demos(start_gateway: StartGateway) -> None:
    port = free_port()
    echo = subprocess.Popen(
        [*command(), "echo", "--port", str(port), "--name", "demo"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listening_inodes(port), "echo listens")
        direct = fetch(port, "/some/path?x=1", "demo.example", "X-Mark: 77")
        assert direct.status == 200
        for part in ("demo", "/some/path", "X-Mark".lower(), "77"):
            assert part in direct.text.lower()
    finally:
        echo.terminate()
        assert echo.wait(60) in (0, -15)
