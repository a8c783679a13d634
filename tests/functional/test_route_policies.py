"""Time-outs, retries, faults, CORS and mirrors from configuration to live traffic; statements J, N and their rows of table I."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .support.client import fetch
from .support.config import Document, destination, gateway, service_entry, text_of, virtual_service
from .support.gateway import Gateway, run_cli
from .support.http1 import Response
from .support.log import whole_lines
from .support.origin import RecordingOrigin, Reply, Seen, ok
from .support.poll import eventually

HOST = "policies.test"
WEBAPP = [destination("webapp", 8080)]
EVERY = {"value": 100}


def rule(path: str, **rest: Any) -> Document:
    return {"match": [{"uri": {"prefix": path}}], "route": WEBAPP, **rest}


def documents(origin: RecordingOrigin, mirror: RecordingOrigin) -> list[Document]:
    retry = {"attempts": 2, "retryOn": "503,reset", "backoff": "1ms"}
    cors = {"allowOrigins": [{"regex": "https?://.*[.]test"}], "allowMethods": ["GET"], "maxAge": "1h", "allowCredentials": True}
    rules = [
        rule("/timeout", timeout="0.3s"),
        rule("/retry", retries=retry),
        rule("/tries", retries={"attempts": 1, "perTryTimeout": "0.2s", "retryOn": "gateway-error"}),
        rule("/never", retries={"attempts": 0}),
        rule("/abort", fault={"abort": {"httpStatus": 429, "percentage": EVERY}}),
        rule("/half", fault={"abort": {"httpStatus": 429, "percentage": {"value": 50}}}),
        rule("/delay", fault={"delay": {"fixedDelay": "0.2s", "percentage": EVERY}}),
        rule("/zero", fault={"abort": {"httpStatus": 429}, "delay": {"fixedDelay": "60s"}}),
        rule("/cors", corsPolicy=cors),
        rule("/mirror", mirror={"host": "mirror", "port": {"number": 8080}}, rewrite={"uri": "/copied", "authority": "m.test"}),
        rule("/"),
    ]
    return [
        gateway(hosts=[HOST]),
        virtual_service("policies", [HOST], rules),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
        service_entry("mirror", [("127.0.0.1", mirror.port)]),
    ]


class World:
    def __init__(self, gateway: Gateway, origin: RecordingOrigin, mirror: RecordingOrigin, log: Path) -> None:
        self.gateway, self.origin, self.mirror, self._log = gateway, origin, mirror, log
        self._lines = 0

    def get(self, target: str, *headers: str, method: str = "GET", body: bytes | None = None) -> Response:
        return fetch(self.gateway.port(), target, HOST, *headers, method=method, body=body)

    def logged(self, target: str) -> list[str]:
        """Flags, details and attempts of the last request for a target."""

        def found() -> list[str] | None:
            lines = [json.loads(line) for line in whole_lines(self._log)]
            return next((line[1:] for line in reversed(lines) if line[0] == target), None)

        return eventually(found, f"a log line for {target}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("policies")
    log = folder / "access.log"
    form = '["%REQ(:PATH)%","%RESPONSE_FLAGS%","%RESPONSE_CODE_DETAILS%","%UPSTREAM_REQUEST_ATTEMPT_COUNT%"]\n'
    options = ["--access-log", str(log), "--access-log-format", form]
    with (
        RecordingOrigin("webapp") as origin,
        RecordingOrigin("mirror") as mirror,
        Gateway(folder, documents(origin, mirror), options=options) as running,
    ):
        yield World(running, origin, mirror, log)
        running.assert_no_bugs()


@pytest.fixture(autouse=True)
def _echo(world: World) -> Iterator[None]:
    yield
    world.origin.answer = world.origin.echo


def test_i8_a_route_takes_too_long(world: World) -> None:
    world.origin.answer = lambda seen: Reply()
    answer = world.get("/timeout")
    assert (answer.status, answer.body) == (504, b"upstream request timeout")
    assert world.logged("/timeout") == ["UT", "upstream_response_timeout", "1"]


def test_a_retry_that_succeeds(world: World) -> None:
    def twice(seen: Seen) -> bytes:
        attempt = dict(seen.message.fields)[b"x-envoy-attempt-count"]
        return ok(b"done") if attempt == b"3" else ok(b"", status="503 Busy")

    world.origin.answer = twice
    assert world.get("/retry/ok").body == b"done"
    assert world.logged("/retry/ok") == ["-", "via_upstream", "3"]


def test_i10_all_retries_have_failed(world: World) -> None:
    world.origin.answer = lambda seen: ok(b"busy", status="503 Busy")
    mark = world.origin.mark()
    answer = world.get("/retry/no")
    assert (answer.status, answer.body, len(world.origin.since(mark))) == (503, b"busy", 3)
    assert world.logged("/retry/no") == ["URX", "via_upstream", "3"]


def test_i9_every_try_takes_too_long(world: World) -> None:
    world.origin.answer = lambda seen: Reply()
    answer = world.get("/tries")
    assert (answer.status, answer.body) == (504, b"upstream request timeout")
    flags, details, attempts = world.logged("/tries")
    assert (set(flags.split(",")), details, attempts) == ({"UT", "URX"}, "upstream_per_try_timeout", "2")


def test_j4_the_upstreams_503_is_not_retried_by_default(world: World) -> None:
    world.origin.answer = lambda seen: ok(b"", status="503 Busy")
    for target in ("/", "/never"):
        mark = world.origin.mark()
        assert world.get(target).status == 503
        assert len(world.origin.since(mark)) == 1


def test_a_post_is_not_repeated(world: World) -> None:
    world.origin.answer = lambda seen: ok(b"", status="503 Busy")
    mark = world.origin.mark()
    assert world.get("/retry/post", method="POST", body=b"once").status == 503
    assert len(world.origin.since(mark)) == 1


def test_i11_an_abort(world: World) -> None:
    mark = world.origin.mark()
    answer = world.get("/abort")
    assert (answer.status, answer.body) == (429, b"fault filter abort")
    assert world.logged("/abort") == ["FI", "fault_filter_abort", "-"]
    assert world.origin.since(mark) == []


def test_half_of_the_requests_are_aborted(world: World) -> None:
    """400 requests: within five standard deviations (10), so that one run in a million fails by chance."""
    aborted = sum(world.get("/half").status == 429 for _ in range(400))
    assert abs(aborted - 200) <= 50


def test_i12_a_delay(world: World) -> None:
    assert world.get("/delay").status == 200
    assert world.logged("/delay") == ["DI", "via_upstream", "1"]


def test_without_a_percentage_there_is_no_fault(world: World) -> None:
    assert world.get("/zero").status == 200
    assert world.logged("/zero")[0] == "-"


def test_cors(world: World) -> None:
    origin = "https://a.test"
    mark = world.origin.mark()
    answer = world.get("/cors", f"Origin: {origin}", "Access-Control-Request-Method: GET", method="OPTIONS")
    assert (answer.status, answer.value("access-control-allow-origin"), answer.value("access-control-max-age")) == (
        200,
        origin,
        "3600",
    )
    assert world.origin.since(mark) == []
    answer = world.get("/cors", f"Origin: {origin}")
    assert (answer.value("access-control-allow-origin"), answer.value("access-control-allow-credentials")) == (origin, "true")
    assert world.get("/cors", "Origin: https://evil.example").value("access-control-allow-origin") is None
    answer = world.get("/cors", "Origin: https://evil.example", "Access-Control-Request-Method: GET", method="OPTIONS")
    assert json.loads(answer.body)["method"] == "OPTIONS"


def test_mirrors(world: World) -> None:
    """M16: the mirror sees what the upstream sees."""
    mark, main = world.mirror.mark(), world.origin.mark()
    for number in range(20):
        assert world.get(f"/mirror/{number}", method="POST", body=b"x" * number * 1000).status == 200
    eventually(lambda: len(world.mirror.since(mark)) == 20, "all copies")
    sent = {seen.message.target: seen.message for seen in world.origin.since(main)}
    for seen in world.mirror.since(mark):
        got = sent[seen.message.target]
        assert (seen.message.body, dict(seen.message.fields)[b"host"]) == (got.body, b"m.test")
    assert world.gateway.metrics().total("fastgw_mirrored_total") >= 20


def test_explain_and_route_tests_know_aborts_and_policies(tmp_path: Path, world: World) -> None:
    path = tmp_path / "config.yaml"
    cases = [
        {"request": {"url": f"http://{HOST}/abort"}, "expect": {"status": 429}},
        {"request": {"url": f"http://{HOST}/half"}, "expect": {"status": 429, "destination": {"host": "webapp"}}},
        {"request": {"url": f"http://{HOST}/half"}, "expect": {"status": 200}},
        {"request": {"url": f"http://{HOST}/mirror/1"}, "expect": {"path": "/copied/1", "authority": "m.test"}},
    ]
    test = {"apiVersion": "gateway.fastgw.io/v1", "kind": "RouteTest", "metadata": {"name": "t"}, "spec": {"tests": cases}}
    path.write_text(text_of([*documents(world.origin, world.mirror), test]))
    done = run_cli("test", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(run_cli("explain", str(path), "GET", f"http://{HOST}/retry", "-o", "json").stdout)
    assert told["policy"] == ["retries: 2 on reset, 503, backoff from 0.001 s"]
    assert "429 (fault filter abort)" in run_cli("explain", str(path), "GET", f"http://{HOST}/abort").stdout
