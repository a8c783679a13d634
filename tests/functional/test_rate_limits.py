"""Rate limits of EdgePolicies with two workers: exact between them, over HTTP/1.1 and HTTP/2, through reloads."""

from __future__ import annotations

import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .support.client import Client, fetch, request_bytes
from .support.config import Document, destination, gateway, service_entry, virtual_service
from .support.curl import curl
from .support.gateway import Gateway
from .support.http1 import Response
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOST = "limited.test"
SLOW = "1h"
"""So that nothing is put into a bucket while a test runs."""


def limit(name: str, requests: int, per: str = SLOW, **rest: Any) -> Document:
    return {"name": name, "requests": requests, "per": per, **rest}


def policy(name: str, routes: list[str], *limits: Document, **spec: Any) -> Document:
    target = {"kind": "VirtualService", "name": "limited", **({"routes": routes} if routes else {})}
    spec = {"targetRefs": [target], "rateLimits": list(limits), **spec}
    return {"apiVersion": "gateway.fastgw.io/v1", "kind": "EdgePolicy", "metadata": {"name": name}, "spec": spec}


BY_ADDRESS = [{"sourceAddress": {"ipv4Prefix": 24, "ipv6Prefix": 64}}]
BY_KEY = [{"header": "X-Api-Key"}]


def documents(origin: RecordingOrigin) -> list[Document]:
    names = ["burst", "h2", "address", "key", "pair", "told", "open", "reload", "grpc", "soon", "two-a", "two-b", "host"]
    rules: list[Document] = [
        {"name": name, "match": [{"uri": {"prefix": f"/{name}"}}], "route": [destination("webapp", 8080)]} for name in names
    ]
    rules.append({"name": "direct", "match": [{"uri": {"prefix": "/direct"}}], "directResponse": {"status": 204}})
    return [
        gateway(hosts=[HOST]),
        virtual_service("limited", [HOST], rules),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
        policy("burst", ["burst"], limit("burst", 50)),
        policy("h2", ["h2"], limit("h2", 100)),
        policy("address", ["address"], limit("per-network", 2, by=BY_ADDRESS)),
        policy("key", ["key"], limit("per-key", 2, by=BY_KEY)),
        policy("pair", ["pair"], limit("wide", 10), limit("narrow", 2)),
        policy("told", ["told"], limit("told", 2, "10s", burst=3), limit("odd", 9, "1500ms")),
        policy("direct", ["direct"], limit("direct", 1)),
        policy("reload", ["reload"], limit("reload", 3)),
        policy("grpc", ["grpc"], limit("grpc", 1)),
        policy("soon", ["soon"], limit("soon", 5, "1s", burst=1)),
        policy("two", ["two-a", "two-b"], limit("both", 1)),
        policy("host", ["host"], limit("host", 1, by=[{"header": "Host"}])),
    ]


class World:
    def __init__(self, gateway: Gateway, origin: RecordingOrigin, log: Path) -> None:
        self.gateway, self.origin, self.log = gateway, origin, log

    def get(self, target: str, *headers: str, client: str = "10.0.0.1") -> Response:
        return fetch(self.gateway.port(), target, HOST, f"x-forwarded-for: {client}", *headers)

    def statuses(self, target: str, count: int, *headers: str, client: str = "10.0.0.1") -> list[int]:
        return [self.get(target, *headers, client=client).status for _ in range(count)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rate-limits")
    log = folder / "access.log"
    form = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
    options = ["--trusted-hops", "1", "--access-log", str(log), "--access-log-format", form]
    with (
        RecordingOrigin("webapp") as origin,
        Gateway(folder, documents(origin), options=options) as running,
    ):
        yield World(running, origin, log)
        running.assert_no_leaks()
        running.assert_no_bugs()


def test_exactly_the_burst_of_many_at_once(world: World) -> None:
    """Eight clients, two workers: of all their requests as many go on as the bucket holds."""
    found: Counter[int] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        with Client(world.gateway.port()) as client:
            answers = [client.request(request_bytes("GET", "/burst", HOST)).status for _ in range(40)]
        with lock:
            found.update(answers)

    mark = world.origin.mark()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {200: 50, 429: 270}
    assert len(world.origin.since(mark)) == 50


def test_exactly_the_burst_over_http2(world: World) -> None:
    words = [
        "h2load",
        "-n",
        "1000",
        "-c",
        "8",
        "-m",
        "16",
        "-H",
        f":authority: {HOST}",
        f"http://127.0.0.1:{world.gateway.port()}/h2",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    assert codes is not None, done.stdout
    assert codes.groups() == ("100", "0", "900", "0")


def test_what_a_refused_request_is_told(world: World) -> None:
    assert world.get("/direct").status == 204
    answer = world.get("/direct")
    assert (answer.status, answer.body) == (429, b"local_rate_limited")
    assert answer.value("x-envoy-ratelimited") == "true"
    assert answer.value("ratelimit-policy") == '"direct";q=1;w=3600'
    retry = int(answer.value("retry-after") or 0)
    assert 3500 < retry <= 3600
    assert answer.value("ratelimit") == f'"direct";r=0;t={retry}'
    series = eventually(lambda: world.gateway.metrics().find("istio_requests_total", response_code="429"), "it is counted")
    assert {sample.labels["response_flags"] for sample in series} == {"RL"}
    eventually(lambda: "/direct 429 RL local_rate_limited\n" in world.log.read_text(), "the log tells of it")


def test_what_others_are_told(world: World) -> None:
    """Of the bucket: it is full after t seconds. A window that is no whole number of seconds is not told."""
    answer = world.get("/told")
    assert answer.value("ratelimit-policy") == '"told";q=2;w=10, "odd";q=9'
    assert answer.value("ratelimit") == '"told";r=2;t=5, "odd";r=8;t=1'
    assert (answer.value("retry-after"), answer.value("x-envoy-ratelimited")) == (None, None)
    assert world.get("/open").value("ratelimit") is None


def test_networks_have_buckets_of_their_own(world: World) -> None:
    assert world.statuses("/address", 2, client="10.0.0.1") == [200, 200]
    assert world.statuses("/address", 1, client="10.0.0.99") == [429]
    assert world.statuses("/address", 1, client="::ffff:10.0.0.7") == [429]
    assert world.statuses("/address", 3, client="10.0.1.1") == [200, 200, 429]
    assert world.statuses("/address", 2, client="2001:db8::1") == [200, 200]
    assert world.statuses("/address", 1, client="2001:db8::2:1") == [429]
    assert world.statuses("/address", 1, client="2001:db8:0:1::1") == [200]


def test_headers_have_buckets_of_their_own(world: World) -> None:
    assert world.statuses("/key", 3, "x-api-key: a") == [200, 200, 429]
    assert world.statuses("/key", 3, "X-API-KEY: b") == [200, 200, 429]
    assert world.statuses("/key", 3) == [200, 200, 429]
    assert world.statuses("/key", 3, "x-api-key:") == [200, 200, 429]
    assert world.statuses("/key", 1, "x-api-key: a", "x-api-key: b") == [200]


def test_a_request_that_one_limit_refuses_takes_nothing_from_the_others(world: World) -> None:
    assert world.statuses("/pair", 8) == [200, 200, 429, 429, 429, 429, 429, 429]
    answer = world.get("/pair")
    assert answer.status == 429
    assert (answer.value("ratelimit") or "").startswith('"narrow";r=0;t=')
    metrics = world.gateway.metrics()
    counted = {
        (sample.labels["limit"], sample.labels["outcome"]): sample.value
        for sample in metrics.find("fastgw_rate_limit_requests_total", policy="default/pair")
    }
    assert counted == {("wide", "allowed"): 2, ("narrow", "allowed"): 2, ("narrow", "limited"): 7}
    assert metrics.total("fastgw_rate_limit_unlimited_total") == 0


def test_all_routes_of_a_target_share_a_bucket(world: World) -> None:
    assert world.statuses("/two-a", 1) == [200]
    assert world.statuses("/two-b", 1) == [429]


def test_the_host_is_a_key_over_both_versions(world: World) -> None:
    there = f"http://127.0.0.1:{world.gateway.port()}/host"
    found = [
        curl(*words, "-H", f"host: {host}", there).status
        for words in ([], ["--http2-prior-knowledge"])
        for host in (HOST, f"{HOST}:80")
    ]
    assert found == [200, 200, 429, 429]


def test_a_bucket_fills_again(world: World) -> None:
    assert world.get("/soon").status == 200
    eventually(lambda: world.get("/soon").status == 200, "the next request is let through")


def test_a_grpc_call_is_unavailable(world: World) -> None:
    there = ["--resolve", f"{HOST}:{world.gateway.port()}:127.0.0.1", "--http2-prior-knowledge", "-X", "POST"]
    words = [*there, "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{HOST}:{world.gateway.port()}/grpc"]
    curl(*words)
    answer = curl(*words)
    assert (answer.status, answer.headers["grpc-status"], answer.headers["grpc-message"]) == (200, "14", "local_rate_limited")
    assert answer.headers["x-envoy-ratelimited"] == "true"


def test_buckets_outlive_a_reload_and_not_a_change(world: World, tmp_path: Path) -> None:
    assert world.statuses("/reload", 4) == [200, 200, 200, 429]
    # another policy comes: the image is a new one, the bucket is the old one
    world.gateway.write("more.yaml", [policy("more", ["open"], limit("more", 2))])
    eventually(lambda: world.get("/open").value("ratelimit") is not None, "the new policy holds")
    assert world.statuses("/reload", 1) == [429]
    changed = [
        policy("reload", ["reload"], limit("reload", 4)) if each["metadata"]["name"] == "reload" else each
        for each in documents(world.origin)
    ]
    world.gateway.write("main.yaml", changed)
    eventually(lambda: world.get("/reload").status == 200, "the new limit has a full bucket")
