"""Redirects, direct responses and rewritten paths on live traffic (section M), and that explain foretells them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .support.client import fetch
from .support.config import Document, destination, gateway, route, service_entry, text_of, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin

HOST = "actions.test"
LARGE = b"0123456789abcdef" * 40_000
TO_ORIGIN = [destination("webapp", 8080)]


def rule(path: str, **rest: Any) -> Document:
    return {"match": [{"uri": {"prefix": path}}], **rest}


def documents(port: int) -> list[Document]:
    moved = {"headers": {"response": {"set": {"x-why": "%RESPONSE_CODE_DETAILS%", "content-type": "application/json"}}}}
    regex = {"match": "^/regex/([^/]+)(/.*)$", "rewrite": r"\2/of/\1"}
    rules = [
        rule("/moved", redirect={"uri": "/new", "authority": "b.test", "redirectCode": 308}, **moved),
        rule("/prefix", redirect={"prefixRewrite": "/new", "scheme": "https", "derivePort": "FROM_REQUEST_PORT"}),
        rule("/port", redirect={"port": 8443, "authority": "b.test"}),
        rule("/text", directResponse={"status": 418, "body": {"string": "short and stout"}}),
        rule("/json", directResponse={"status": 200, "body": {"string": "{}"}}, **moved),
        rule("/bytes", directResponse={"status": 200, "body": {"bytes": base64.b64encode(LARGE).decode()}}),
        rule("/empty", directResponse={"status": 204}),
        rule("/old", rewrite={"uri": "/new", "authority": "inner.test"}, route=TO_ORIGIN),
        rule("/root", rewrite={"uri": "/"}, route=TO_ORIGIN),
        {"match": [{"uri": {"exact": "/whole"}}, {"uri": {"regex": "/w.*e"}}], "rewrite": {"uri": "/w"}, "route": TO_ORIGIN},
        rule("/regex", rewrite={"uriRegexRewrite": regex}, route=TO_ORIGIN),
        route("webapp", 8080),
    ]
    return [gateway(hosts=[HOST]), virtual_service("actions", [HOST], rules), service_entry("webapp", [("127.0.0.1", port)])]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, RecordingOrigin]]:
    with RecordingOrigin("webapp") as origin, Gateway(tmp_path_factory.mktemp("actions"), documents(origin.port)) as running:
        yield running, origin


def explained(documents: list[Document], path: Path, target: str) -> dict[str, Any]:
    path.write_text(text_of(documents))
    line = [sys.executable, "-m", "fastgw.cli.main", "explain", str(path), "GET", f"http://{HOST}{target}", "-o", "json"]
    answer: dict[str, Any] = json.loads(subprocess.run(line, capture_output=True, text=True, check=False).stdout)
    return answer


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/moved/x?q=1", 308, "http://b.test/new?q=1"),
        ("/prefix/x?q=1", 301, f"https://{HOST}:80/new/x?q=1"),
        ("/port", 301, "http://b.test:8443/port"),
    ],
)
def test_redirects(served: tuple[Gateway, RecordingOrigin], tmp_path: Path, target: str, status: int, location: str) -> None:
    mark = served[1].mark()
    answer = served[0].get(target, HOST)
    assert (answer.status, answer.value("location"), answer.body) == (status, location, b"")
    assert served[1].since(mark) == []
    foretold = explained(documents(1), tmp_path / "config.yaml", target)
    assert (foretold["action"], foretold["status"], foretold["location"]) == ("redirect", status, location)


def test_headers_of_a_redirect(served: tuple[Gateway, RecordingOrigin]) -> None:
    assert served[0].get("/moved", HOST).value("x-why") == "direct_response"


def test_direct_responses(served: tuple[Gateway, RecordingOrigin]) -> None:
    answer = served[0].get("/text", HOST)
    assert (answer.status, answer.body, answer.value("content-type")) == (418, b"short and stout", "text/plain")
    assert served[0].get("/json", HOST).value("content-type") == "application/json"
    answer = served[0].get("/empty", HOST)
    assert (answer.status, answer.body, answer.value("content-type")) == (204, b"", None)


def test_a_direct_response_to_head(served: tuple[Gateway, RecordingOrigin]) -> None:
    answer = fetch(served[0].port(), "/text", HOST, method="HEAD")
    assert (answer.status, answer.value("content-length"), answer.body) == (418, "15", b"")


def test_a_large_direct_response(served: tuple[Gateway, RecordingOrigin]) -> None:
    for _ in range(3):
        assert served[0].get("/bytes", HOST).body == LARGE


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/old/x?q=1", "/new/x?q=1"),
        ("/older", "/newer"),
        ("/root/x", "/x"),
        ("/whole?q", "/w?q"),
        ("/wide", "/w"),
        ("/regex/a/b/c?q=1", "/b/c/of/a?q=1"),
    ],
)
def test_rewritten_paths(served: tuple[Gateway, RecordingOrigin], tmp_path: Path, target: str, wanted: str) -> None:
    seen = json.loads(served[0].get(target, HOST, "X-Envoy-Original-Path: /forged").body)
    original = [value for name, value in seen["headers"] if name.lower() == "x-envoy-original-path"]
    assert (seen["target"], original) == (wanted, [target])
    assert explained(documents(1), tmp_path / "config.yaml", target)["request"]["path"] == wanted


def test_an_unmatched_path_is_left_alone(served: tuple[Gateway, RecordingOrigin]) -> None:
    seen = json.loads(served[0].get("/other?q", HOST).body)
    assert seen["target"] == "/other?q"
    assert "x-envoy-original-path" not in {name.lower() for name, _ in seen["headers"]}


def test_the_host_of_a_rewrite(served: tuple[Gateway, RecordingOrigin]) -> None:
    seen = json.loads(served[0].get("/old", HOST).body)
    assert [value for name, value in seen["headers"] if name.lower() == "host"] == ["inner.test"]


def test_route_tests_see_them(tmp_path: Path) -> None:
    cases = [
        {"request": {"url": f"http://{HOST}/moved"}, "expect": {"status": 308, "location": "http://b.test/new"}},
        {"request": {"url": f"http://{HOST}/text"}, "expect": {"status": 418, "responseHeaders": {"content-type": "text/plain"}}},
        {"request": {"url": f"http://{HOST}/json"}, "expect": {"responseHeaders": {"content-type": "application/json"}}},
        {"request": {"url": f"http://{HOST}/old/x"}, "expect": {"path": "/new/x", "authority": "inner.test"}},
    ]
    test = {"apiVersion": "gateway.fastgw.io/v1", "kind": "RouteTest", "metadata": {"name": "t"}, "spec": {"tests": cases}}
    path = tmp_path / "all.yaml"
    path.write_text(text_of(documents(1)) + "---\n" + yaml.safe_dump(test))
    done = subprocess.run([sys.executable, "-m", "fastgw.cli.main", "test", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
