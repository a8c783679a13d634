"""What a VirtualService may ask for beyond Istio: an order of its own, whole path segments, clients that keep their version."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from fastgw.cli.main import group

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import Document, destination, gateway, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually

FAMILY = "gateway.fastgw.io/"
COOKIE = re.compile(r"version=([0-9a-f]{16}); Max-Age=3600; Path=/; HttpOnly; SameSite=Lax")


@pytest.fixture
def origins() -> Iterator[list[RecordingOrigin]]:
    made = [RecordingOrigin(name) for name in ("v1", "v2")]
    yield made
    for origin in made:
        origin.stop()


def base(origins: list[RecordingOrigin]) -> list[Document]:
    return [gateway(hosts=["*"]), *(service_entry(origin.name, [("127.0.0.1", origin.port)]) for origin in origins)]


def annotated(document: Document, **annotations: str) -> Document:
    document["metadata"]["annotations"] = {FAMILY + name.replace("_", "-"): value for name, value in annotations.items()}
    return document


def split(sticky: str, v1: int, v2: int) -> Document:
    rules = [{"route": [destination("v1", weight=v1), destination("v2", weight=v2)]}]
    return annotated(virtual_service("split", ["a.test"], rules), sticky=sticky)


def ask(running: Gateway, *headers: str, target: str = "/") -> tuple[str, list[str]]:
    """(version that answered, values of Set-Cookie) on a connection of its own, so that all workers get their turn."""
    answer = running.get(target, "a.test", *headers)
    assert answer.status == 200, answer.text
    return answer.value("x-origin") or "", answer.values("set-cookie")


def explained(running: Gateway, *headers: str) -> list[str]:
    """The destinations that ``explain`` says the client keeps."""
    words = ["explain", str(running.config), "GET", "http://a.test/", "--port", "80", "-o", "json"]
    for header in headers:
        words += ["-H", header]
    result = CliRunner().invoke(group, words)
    assert result.exit_code == 0, result.output
    return [entry["host"] for entry in json.loads(result.stdout)["destinations"] if entry["kept"]]


# --- priority and path-match


def test_priority_orders_the_virtual_services_of_a_host(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    older = virtual_service("older", ["a.test"], [route("v1", match=[{"uri": {"prefix": "/api"}}])])
    newer = virtual_service("newer", ["a.test"], [route("v2", match=[{"uri": {"prefix": "/api/v2"}}])])
    running = start_gateway([*base(origins), older, newer])
    assert ask(running, target="/api/v2/x")[0] == "v1"
    running.write("main.yaml", [*base(origins), older, annotated(newer, priority="5")])
    eventually(lambda: ask(running, target="/api/v2/x")[0] == "v2", "the higher priority goes first")
    running.everywhere()
    assert ask(running, target="/api/x")[0] == "v1"


def test_prefixes_of_whole_segments(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    rules = [route("v1", match=[{"uri": {"prefix": "/foo"}}]), route("v2")]
    running = start_gateway([*base(origins), annotated(virtual_service("web", ["a.test"], rules), path_match="segment")])
    wanted = {
        "/foo": "v1",
        "/foo/": "v1",
        "/foo/x": "v1",
        "/foo?x=/": "v1",
        "/foobar": "v2",
        "/foo.html": "v2",
        "/fo": "v2",
        "/": "v2",
    }
    assert {target: ask(running, target=target)[0] for target in wanted} == wanted


# --- sticky


def test_a_cookie_keeps_the_version(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("cookie:version; ttl=1h", 50, 50)])
    kept: dict[str, str] = {}
    for _ in range(40):
        version, [cookie] = ask(running)
        found = COOKIE.fullmatch(cookie)
        assert found, cookie
        kept[found[1]] = version
    assert len(kept) == 40 and set(kept.values()) == {"v1", "v2"}
    for value, version in kept.items():
        for _ in range(3):
            assert ask(running, f"Cookie: a=b; version={value}") == (version, []), "known: same version, no new cookie"


def test_a_value_of_somebody_elses_making_is_replaced(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("cookie:version;ttl=1h", 99, 1)])
    for value in ("v2", "", "0123456789ABCDEF", "outbound|8080||v2", "0" * 17, "../../v2"):
        _, cookies = ask(running, f"Cookie: version={value}")
        assert len(cookies) == 1 and COOKIE.fullmatch(cookies[0]), (value, cookies)


def test_weights_decide_for_clients_without_a_cookie(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("cookie:version", 75, 25)])
    with running.client() as client:
        counts = Counter(client.request(request_bytes("GET", "/", "a.test")).value("x-origin") for _ in range(400))
    # 25 % of 400 has a standard deviation of 8.7: five of them to each side
    assert 57 <= counts["v2"] <= 143, counts


@pytest.mark.parametrize("sticky", ["cookie:version", "header:x-user"])
def test_raising_a_weight_moves_only_the_needed_share(
    start_gateway: StartGateway, origins: list[RecordingOrigin], sticky: str
) -> None:
    def clients() -> list[str]:
        with running.client() as client:
            return [
                client.request(
                    request_bytes("GET", "/", "a.test", [f"Cookie: version={i * 2654435761:016x}", f"x-user: {i}"])
                ).value("x-origin")
                or ""
                for i in range(300)
            ]

    running = start_gateway([*base(origins), split(sticky, 90, 10)])
    before = clients()
    assert clients() == before, "the same in every worker"
    running.write("main.yaml", [*base(origins), split(sticky, 60, 40)])
    eventually(lambda: clients() != before, "the new weights take effect")
    running.everywhere()
    after = clients()
    moved = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert set(moved) == {("v1", "v2")}
    assert 50 <= moved["v1", "v2"] <= 130, moved
    running.stop()
    running = start_gateway([*base(origins), split(sticky, 60, 40)])
    assert clients() == after, "the same after a restart"


def test_without_the_header_the_choice_is_random(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("header:x-user", 50, 50)])
    assert {ask(running)[0] for _ in range(40)} == {"v1", "v2"}
    assert len({ask(running, "x-user: alice")[0] for _ in range(10)}) == 1
    assert ask(running, "x-user: alice")[1] == []


def test_the_source_address_keeps_the_version(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("source-ip", 50, 50)], settings={"trusted-hops": 1})
    seen = {i: {ask(running, f"X-Forwarded-For: 10.1.2.{i}")[0] for _ in range(3)} for i in range(20)}
    assert all(len(versions) == 1 for versions in seen.values()), seen
    assert {version for versions in seen.values() for version in versions} == {"v1", "v2"}


def test_explain_knows_what_a_client_keeps(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("header:x-user", 50, 50)])
    for user in ("alice", "bob", "carol", "dave"):
        assert [host.partition(".")[0] for host in explained(running, f"x-user: {user}")] == [ask(running, f"x-user: {user}")[0]]
    assert explained(running) == []


def test_a_lone_destination_needs_no_cookie(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    running = start_gateway([*base(origins), split("cookie:version", 100, 0)])
    assert ask(running) == ("v1", [])


def test_several_cookie_fields_are_one(start_gateway: StartGateway, origins: list[RecordingOrigin]) -> None:
    """Joined before matching, as the upstream sees them (statement G16)."""
    exact: dict[str, Any] = {"headers": {"cookie": {"exact": "a=1; b=2"}}}
    running = start_gateway([*base(origins), virtual_service("web", ["a.test"], [route("v2", match=[exact]), route("v1")])])
    assert ask(running, "Cookie: a=1", "Cookie: b=2")[0] == "v2"
    assert ask(running, "Cookie: a=1; b=2")[0] == "v2"
    assert ask(running, "Cookie: b=2")[0] == "v1"
