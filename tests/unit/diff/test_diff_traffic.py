"""Samples of traffic: lines that are requests, lines that are not, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastgw.compiler.compile import compile_plan
from fastgw.diff.samples import read_samples
from fastgw.diff.traffic import compare_traffic
from fastgw.image.asked import Asked, ask
from fastgw.image.decide import Decider
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.sources.files import load_paths

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com]}
  - {port: {number: 8080, name: alt, protocol: HTTP}, hosts: [b.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [a.example.com, b.example.com]
  gateways: [gw]
  http:
"""
OLD = """\
  - match: [{uri: {prefix: /cart}}]
    route: [{destination: {host: cart.test, port: {number: 80}}}]
  - match: [{headers: {user-agent: {prefix: curl}}}]
    route: [{destination: {host: curl.test, port: {number: 80}}}]
"""
NEW = """\
  - match: [{uri: {exact: /new}}]
    route: [{destination: {host: new.test, port: {number: 80}}}]
  - match: [{uri: {prefix: /cart}}]
    route:
    - {destination: {host: cart.test, port: {number: 80}}, weight: 1}
    - {destination: {host: new.test, port: {number: 80}}, weight: 3}
"""


def decider(tmp_path: Path, name: str, rules: str) -> Decider:
    path = tmp_path / f"{name}.yaml"
    path.write_text(GATEWAY + rules)
    plan = compile_plan(load_paths([str(path)], "istio-system").resources).plan
    return Decider(plan, write_image(plan, StateNumbers(), 1))


def samples(*lines: str | dict[str, Any]) -> dict[Asked, int]:
    return read_samples(line.encode() if isinstance(line, str) else json.dumps(line).encode() for line in lines).counts


def entry(**more: Any) -> dict[str, Any]:
    return {"method": "GET", "path": "/cart?x=1", "authority": "a.example.com", "user_agent": None, "response_code": 200} | more


def test_words() -> None:
    assert samples("# comment", "", "  GET http://a.example.com/x ", "get http://a.example.com/x\n") == {
        ask("GET", "http://a.example.com/x"): 2
    }


def test_what_is_no_request_is_counted() -> None:
    lines = [b"GET http://a/", b"GET", b"GET ftp://a/", b"a b c", b"{nonsense", b"[]", b'{"method": "GET"}', b"\xff\xfe"]
    lines.append(json.dumps(entry(path=None)).encode())
    lines.append(json.dumps(entry(authority="-")).encode())
    found = read_samples(lines)
    assert (len(found.counts), found.skipped, found.first_skipped) == (1, 9, 2)


def test_an_access_log() -> None:
    (asked,) = samples(entry(), entry(response_code=404))
    assert (asked.method, asked.scheme, asked.authority, asked.path, asked.query) == (
        "GET",
        "http",
        "a.example.com",
        "/cart",
        "x=1",
    )
    (asked,) = samples(entry(user_agent="curl/8", downstream_local_address="10.0.0.1:8080", authority="a.example.com:81"))
    assert (asked.headers, asked.url_port, asked.authority) == ((("user-agent", "curl/8"),), 8080, "a.example.com:81")
    (asked,) = samples(entry(requested_server_name="a.example.com", downstream_local_address="-"))
    assert (asked.scheme, asked.sni, asked.url_port) == ("https", "a.example.com", 0)
    (asked,) = samples(entry(path="*", method="OPTIONS"))
    assert asked.path == "/*"


def test_groups(tmp_path: Path) -> None:
    old, new = decider(tmp_path, "old", OLD), decider(tmp_path, "new", NEW)
    lines = [
        *[f"GET http://a.example.com/cart/{number}".encode() for number in range(3)],
        b"GET http://a.example.com/new",
        b"GET http://a.example.com/none",
        json.dumps(entry(path="/x", user_agent="curl/8")).encode(),
        json.dumps(entry(path="/new", authority="b.example.com", downstream_local_address="1.2.3.4:8080")).encode(),
    ]
    found = compare_traffic(old, new, read_samples(lines))
    assert (found.requests, found.changed, found.skipped) == (7, 6, 0)
    assert [group.count for group in found.groups] == [3, 2, 1]
    cart, created, gone = found.groups
    assert [(each.field, each.old, each.new) for each in cart.fields] == [
        ("destination", "cart.test:80", "cart.test:80 25 %, new.test:80 75 %")
    ]
    assert cart.example.url == "http://a.example.com/cart/0"
    assert {each.field: (each.old, each.new) for each in created.fields} == {
        "status": ("404", "200"),
        "action": ("not_found (no rule matches)", "route"),
        "rule": ("none", "default/shop /new"),
        "destination": ("", "new.test:80"),
    }
    assert [each.new for each in gone.fields] == ["404", "not_found (no rule matches)", "none", ""]


def test_an_inserted_rule_is_no_other_rule(tmp_path: Path) -> None:
    inserted = OLD.replace(
        "  - match", "  - match: [{uri: {exact: /first}}]\n    route: [{destination: {host: x.test}}]\n  - match", 1
    )
    old, new = decider(tmp_path, "old", OLD), decider(tmp_path, "new", inserted)
    assert compare_traffic(old, new, read_samples([b"GET http://a.example.com/cart"])).changed == 0


@pytest.mark.parametrize(
    "line", [b"GET http://a.example.com/%zz", b"GET https://a.example.com/", b"GET http://nobody.example.com/"]
)
def test_requests_that_go_nowhere_stay_so(tmp_path: Path, line: bytes) -> None:
    old, new = decider(tmp_path, "old", OLD), decider(tmp_path, "new", NEW)
    assert compare_traffic(old, new, read_samples([line])).changed == 0
