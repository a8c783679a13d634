"""explain --listener: sockets that no URL can name, and one of several addresses with the same port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Json = Callable[..., tuple[Any, int]]
Run = Callable[..., Result]

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {bind: "unix:///run/a.sock", port: {number: 0, name: a, protocol: HTTP}, hosts: ["*"]}
  - {bind: "unix://@b", port: {number: 0, name: b, protocol: HTTP}, hosts: ["*"]}
  - {bind: 10.0.0.1, port: {number: 80, name: c, protocol: HTTP}, hosts: ["*"]}
  - {bind: 10.0.0.2, port: {number: 80, name: d, protocol: HTTP}, hosts: ["*"]}
  - {bind: 10.0.0.2, port: {number: 8080, name: e, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 9090, name: f, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [a.example.com]
  gateways: [gw]
  http:
  - match: [{port: 8080}]
    route: [{destination: {host: 10.1.0.1, port: {number: 80}}}]
  - route: [{destination: {host: 10.1.0.2, port: {number: 80}}}]
"""
URL = "http://a.example.com/"


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return str(file)


@pytest.mark.parametrize(
    ("words", "server", "number", "name"),
    [
        (("--listener", "unix:///run/a.sock"), 0, 0, "unix:///run/a.sock_0"),
        (("--listener", "unix:///run/a.sock_0"), 0, 0, "unix:///run/a.sock_0"),
        (("--listener", "unix://@b"), 1, 0, "unix://@b_0"),
        (("--listener", "10.0.0.1"), 2, 80, "10.0.0.1_80"),
        (("--listener", "10.0.0.2"), 3, 80, "10.0.0.2_80"),
        (("--listener", "10.0.0.2", "--port", "8080"), 4, 8080, "10.0.0.2_8080"),
        (("--listener", "10.0.0.2_8080"), 4, 8080, "10.0.0.2_8080"),
        (("--listener", "0.0.0.0"), 5, 9090, "0.0.0.0_9090"),
    ],
)
def test_by_name_and_by_address(path: str, run_json: Json, words: tuple[str, ...], server: int, number: int, name: str) -> None:
    answer, code = run_json("explain", path, "GET", URL, *words)
    assert code == 0
    found = answer["listener"]
    assert (found["name"], found["port"], found["server"]) == (name, number, f"default/gw#{server}")
    assert answer["matched"]["route"] == (0 if number == 8080 else 1)


def test_the_port_of_the_url_decides_between_two_of_an_address(path: str, run_json: Json) -> None:
    answer, _ = run_json("explain", path, "GET", "http://a.example.com:8080/", "--listener", "10.0.0.2")
    assert answer["listener"]["name"] == "10.0.0.2_8080"


@pytest.mark.parametrize("words", [("--listener", "unix:///run/none.sock"), ("--listener", "10.0.0.1", "--port", "8080")])
def test_one_that_is_not_there(path: str, run_json: Json, words: tuple[str, ...]) -> None:
    answer, code = run_json("explain", path, "GET", URL, *words)
    assert (code, answer["action"], answer["listener"]) == (3, "no_listener", None)
    assert words[1] in answer["detail"]
    assert "unix:///run/a.sock_0" in answer["detail"]


def test_text_names_the_socket(path: str, run: Run) -> None:
    done = run("explain", path, "GET", URL, "--listener", "unix:///run/a.sock")
    assert "unix:///run/a.sock, server default/gw#0" in done.stdout
    assert "port 0" not in done.stdout


def test_every_listener_that_is_listed_can_be_asked(path: str, run_json: Json) -> None:
    listed, _ = run_json("proxy-config", "listeners", path)
    assert len(listed) == 6
    for entry in listed:
        answer, code = run_json("explain", path, "GET", URL, "--listener", entry["name"])
        assert (code, answer["listener"]["name"]) == (0, entry["name"])
