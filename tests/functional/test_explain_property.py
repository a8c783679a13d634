"""explain == live: on random rules, the rule that explain names for a request is the one that the access log names.

Rules come from small pools, so that many hold for the same request and the order decides; there are enough of them on a host for
chained lists, groups and regex sets.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from fastgw.cli.config_view import view_running
from fastgw.image.asked import ask
from fastgw.image.decide import Decider
from fastgw.image.layout import lib
from fastgw.image.reader import ImageReader

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import Document, gateway_of, http_server, route, service_entry, virtual_service
from .support.log import whole_lines
from .support.origin import RecordingOrigin
from .support.poll import eventually

HOSTS = ["a.test", "*.a.test", "b.a.test", "*.org"]
ASKED_HOSTS = ["a.test", "A.test", "b.a.test", "c.a.test", "d.c.a.test", "x.org", "nobody.test"]
PATHS = ["/", "/a", "/a/", "/ab", "/a/b", "/A/b", "/foo", "/foo/bar", "/foobar", "/v1/items/7", "/a%41", "/x/../a/b"]
PATH_REGEXES = ["/a.*", ".*b", "/[a-z]+", "/v[0-9]/.*", ".*/bar", "(?i)/FOO.*", "/(a|foo)/?.*", "[^b]*"]
HEADERS = ["x-one", "x-one", "x-two", "user-agent"]
VALUES = ["a", "b", "ab", "a,b", "v1", "v7", "v17"]
VALUE_REGEXES = ["a.*", ".*b", "[ab,]+", "v[0-9]", "v[0-9]+", ".*7", "(a|b)?", ".+,.+"]
METHODS = ["GET", "POST", "DELETE"]
REQUESTS = 400


def text_match(chance: random.Random, values: list[str], regexes: list[str]) -> dict[str, str]:
    kind = chance.choice(["exact", "exact", "prefix", "regex"])
    return {kind: chance.choice(regexes if kind == "regex" else values)}


def some_match(chance: random.Random) -> Document:
    if chance.random() < 0.3:  # many that differ in a regex on one text
        where, name = chance.choice([("headers", "x-one"), ("queryParams", "q")])
        return {where: {name: {"regex": chance.choice(VALUE_REGEXES)}}, "method": text_match(chance, METHODS, ["P.*"])}
    match: Document = {}
    if chance.random() < 0.6:
        match["uri"] = text_match(chance, [path for path in PATHS if "%" not in path and "." not in path], PATH_REGEXES)
        if "regex" not in match["uri"] and chance.random() < 0.2:
            match["ignoreUriCase"] = True
    if chance.random() < 0.6:
        values = [text_match(chance, VALUES, VALUE_REGEXES), text_match(chance, VALUES, VALUE_REGEXES), {}]
        match["headers"] = {chance.choice(HEADERS): chance.choice(values)}
    if chance.random() < 0.15:
        match["withoutHeaders"] = {chance.choice(HEADERS): text_match(chance, VALUES, VALUE_REGEXES)}
    if chance.random() < 0.3:
        match["queryParams"] = {chance.choice(["q", "v"]): text_match(chance, VALUES, VALUE_REGEXES)}
    if chance.random() < 0.15:
        match["method"] = text_match(chance, METHODS, ["P.*", "[A-Z]{3}"])
    if chance.random() < 0.1:
        match["authority"] = text_match(chance, ["a.test", "b.a.test:80"], [".*:80", "[a-z.]+"])
    return match or {"uri": {"prefix": "/foo"}}


def some_service(chance: random.Random, number: int) -> Document:
    rules = [
        route("origin", 8080, name=f"{number}-{i}", match=[some_match(chance) for _ in range(chance.randint(1, 2))])
        for i in range(chance.randint(10, 60))
    ]
    return virtual_service(f"vs-{number}", chance.sample(HOSTS, chance.randint(1, 3)), rules)


def some_request(chance: random.Random) -> tuple[str, str, str, list[tuple[str, str]]]:
    """(method, authority, target, headers)"""
    host = chance.choice(ASKED_HOSTS) + chance.choice(["", "", ":80"])
    query = "&".join(f"{chance.choice('qvw')}={chance.choice(VALUES)}" for _ in range(chance.randint(0, 2)))
    headers = [(chance.choice(HEADERS), chance.choice(VALUES)) for _ in range(chance.randint(0, 3))]
    return chance.choice(METHODS), host, chance.choice(PATHS) + (f"?{query}" if query else ""), headers


def taken(decider: Decider, method: str, host: str, target: str, headers: list[tuple[str, str]]) -> tuple[str, int]:
    """(name of the rule, status) as explain says."""
    answer = decider.decide(ask(method, f"http://{host}{target}", headers), port=80)
    return (answer["matched"] or {"name": "-"})["name"], answer["status"] or 200


@pytest.mark.parametrize("seed", range(4))
def test_explain_names_the_rule_that_traffic_takes(
    start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    log = tmp_path / "log"
    documents = [
        gateway_of("gw", [http_server(["*"])]),
        *(some_service(chance, number) for number in range(5)),
        service_entry("origin", [("127.0.0.1", origin.port)]),
    ]
    words = ["--access-log", str(log), "--access-log-format", "%ROUTE_NAME% %RESPONSE_CODE%\n"]
    running = start_gateway(documents, options=words, workers=1)
    view = view_running(f"127.0.0.1:{running.admin_port}", with_image=True)
    decider = Decider(view.plan, view.image_bytes())
    wanted = [some_request(chance) for _ in range(REQUESTS)]
    with running.client() as client:
        for method, host, target, headers in wanted:
            client.request(request_bytes(method, target, host, [f"{name}: {value}" for name, value in headers]))
    live = lines(log)
    said = [taken(decider, *request) for request in wanted]
    assert [(line.split()[0], int(line.split()[1])) for line in live] == said
    assert len({name for name, _ in said}) > 8, "the rules are not all hidden by a few"
    check_shapes(view.image_bytes())


SEEN: list[tuple[dict[str, Any], list[str]]] = [
    ({"headers": {"cookie": {"exact": "a=1; b=2"}}}, ["cookie: a=1", "cookie: b=2"]),
    ({"headers": {"referer": {}}}, ["referer: http://a/", "referer: http://b/"]),
    ({"headers": {"referer": {"prefix": "http://a"}}}, ["referer: http://a/"]),
    ({"headers": {"x_under": {}}}, ["x_under: 1"]),
    ({"headers": {"x-listed": {}}}, ["connection: x-listed", "x-listed: 1"]),
    ({"headers": {"x-envoy-internal": {}}}, ["x-envoy-internal: true"]),
    ({"headers": {"x-forwarded-client-cert": {}}}, ["x-forwarded-client-cert: By=x"]),
    ({"headers": {"x-forwarded-proto": {"exact": "https"}}}, ["x-forwarded-proto: https"]),
    ({"headers": {"x-forwarded-proto": {"exact": "http"}}}, ["x-forwarded-proto: https"]),
    ({"headers": {"x-forwarded-for": {"exact": "10.1.1.1,127.0.0.1"}}}, ["x-forwarded-for: 10.1.1.1"]),
    ({"headers": {"x-envoy-external-address": {"exact": "127.0.0.1"}}}, ["x-envoy-external-address: 10.1.1.1"]),
    ({"headers": {"x-envoy-attempt-count": {"exact": "1"}}}, ["x-envoy-attempt-count: 7"]),
    ({"headers": {"x-request-id": {"exact": "mine"}}}, ["x-request-id: mine"]),
    ({"withoutHeaders": {"x-request-id": {}}}, []),
    ({"headers": {"upgrade": {"exact": "x"}}}, ["connection: upgrade", "upgrade: x"]),
    ({"headers": {"te": {}}}, ["te: trailers"]),
    ({"headers": {"x-odd": {"exact": "a  b"}}}, ["x-odd:   a  b  "]),
]


def test_explain_sees_the_headers_that_the_matcher_sees(
    start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path
) -> None:
    """What the gateway hides, joins and adds before it asks the rules."""
    rules = [route("origin", 8080, name=f"r{i}", match=[{"uri": {"exact": f"/{i}"}, **match}]) for i, (match, _) in enumerate(SEEN)]
    documents = [gateway_of("gw", [http_server(["*"])]), virtual_service("vs", ["a.test"], rules)]
    running = start_gateway([*documents, service_entry("origin", [("127.0.0.1", origin.port)])], workers=1)
    view = view_running(f"127.0.0.1:{running.admin_port}", with_image=True)
    decider = Decider(view.plan, view.image_bytes())
    said, live = [], []
    for i, (_, fields) in enumerate(SEEN):
        headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        said.append(taken(decider, "GET", "a.test", f"/{i}", headers)[0] != "-")
        live.append(running.get(f"/{i}", "a.test", *fields).status == 200)
    assert live == said
    assert 5 < sum(live) < len(SEEN) - 5


def lines(log: Path) -> list[str]:
    def all_of_them() -> list[str]:
        found = whole_lines(log)
        return found if len(found) >= REQUESTS else []

    return eventually(all_of_them, "every request is in the log")


def check_shapes(image: bytes) -> None:
    """There is something to go wrong: sets on headers and queries among the lists."""
    reader = ImageReader(image)
    assert {lib.FGW_ON_HEADER, lib.FGW_ON_QUERY} <= {reader.number(row, "target") for row in reader.rows("regex_sets")}
