"""``headers`` of routes and destinations on live traffic (section K), and that route tests foretell it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .support.config import Document, destination, gateway, service_entry, text_of, virtual_service
from .support.gateway import Gateway
from .support.http1 import Response
from .support.origin import RecordingOrigin

HOST = "edits.test"
EDITED = {
    "headers": {
        "request": {
            "remove": ["x-debug", "x-user"],
            "set": {"x-user": "%REQ(x-name?x-app)%", "x-via": "%PROTOCOL% 100%% %REQ(:METHOD)%", "x-none": "%REQ(x-nothing)%"},
            "add": {"x-tag": "gateway"},
        },
        "response": {"remove": ["x-origin", "x-envoy-upstream-service-time"], "set": {"x-code": "%RESPONSE_CODE%"}},
    }
}


def split(weights: tuple[int, int]) -> list[Document]:
    """Two destinations at one origin, told apart by what they set."""
    found = []
    for name, weight in zip(("v1", "v2"), weights, strict=True):
        headers = {"request": {"set": {"x-version": name, "host": f"{name}.internal"}}, "response": {"add": {"x-from": name}}}
        found.append({**destination("webapp", 8080, weight=weight), "headers": headers})
    return found


def documents(origin: RecordingOrigin) -> list[Document]:
    return [
        gateway(hosts=[HOST]),
        virtual_service(
            "edits",
            [HOST],
            [
                {"match": [{"uri": {"prefix": "/split"}}], "route": split((50, 50))},
                {
                    "match": [{"uri": {"prefix": "/gone"}}],
                    "headers": {"response": {"set": {"x-why": "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}}},
                    "route": [destination("gone", 8080)],
                },
                {
                    "match": [{"uri": {"prefix": "/host"}}],
                    "rewrite": {"authority": "other.internal"},
                    "route": [destination("webapp")],
                },
                {**EDITED, "route": [destination("webapp", 8080)]},
            ],
        ),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
        service_entry("gone", []),
    ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, RecordingOrigin]]:
    with RecordingOrigin("webapp") as origin, Gateway(tmp_path_factory.mktemp("edits"), documents(origin)) as running:
        yield running, origin


def fetched(gateway: Gateway, target: str, *headers: str) -> tuple[dict[str, list[str]], Response]:
    """Fields that the upstream saw, by lower-case name; the answer."""
    answer = gateway.get(target, HOST, *headers)
    seen: dict[str, list[str]] = {}
    for name, value in json.loads(answer.body)["headers"]:
        seen.setdefault(name.lower(), []).append(value)
    return seen, answer


def test_requests_and_answers_are_edited(served: tuple[Gateway, RecordingOrigin]) -> None:
    seen, answer = fetched(served[0], "/", "X-Debug: 1", "X-User: forged", "X-Name: ann", "X-Tag: mine")
    assert (seen["x-user"], seen["x-tag"], seen["x-via"]) == (["ann"], ["mine", "gateway"], ["HTTP/1.1 100% GET"])
    assert not {"x-debug", "x-none"} & seen.keys()
    assert answer.value("x-code") == "200"
    assert answer.value("x-envoy-upstream-service-time") is None


def test_what_was_removed_stays_away_when_the_value_is_empty(served: tuple[Gateway, RecordingOrigin]) -> None:
    seen, _ = fetched(served[0], "/", "X-User: forged")
    assert "x-user" not in seen


def test_destinations_have_their_own(served: tuple[Gateway, RecordingOrigin]) -> None:
    found = set()
    for _ in range(60):
        seen, answer = fetched(served[0], "/split")
        (version,) = seen["x-version"]
        assert (seen["host"], answer.value("x-from")) == ([f"{version}.internal"], version)
        found.add(version)
    assert found == {"v1", "v2"}


def test_another_host(served: tuple[Gateway, RecordingOrigin]) -> None:
    assert fetched(served[0], "/host")[0]["host"] == ["other.internal"]


def test_answers_of_the_gateway(served: tuple[Gateway, RecordingOrigin]) -> None:
    answer = served[0].get("/gone", HOST)
    assert (answer.status, answer.value("x-why")) == (503, "UH no_healthy_upstream")


def test_route_tests_say_the_same(served: tuple[Gateway, RecordingOrigin], tmp_path: Path) -> None:
    seen, answer = fetched(served[0], "/", "X-Debug: 1", "X-Name: ann")
    wanted = {name: seen[name][0] for name in ("x-user", "x-via", "x-tag", "host")} | {"x-debug": None}
    case = {
        "request": {"url": f"http://{HOST}/", "headers": {"X-Debug": "1", "X-Name": "ann"}},
        "expect": {"requestHeaders": wanted, "responseHeaders": {"x-code": "%RESPONSE_CODE%"}},
    }
    test = {"apiVersion": "gateway.fastgw.io/v1", "kind": "RouteTest", "metadata": {"name": "t"}, "spec": {"tests": [case]}}
    path = tmp_path / "all.yaml"
    path.write_text(text_of(documents(served[1])) + "---\n" + yaml.safe_dump(test))
    done = subprocess.run([sys.executable, "-m", "fastgw.cli.main", "test", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert answer.status == 200
