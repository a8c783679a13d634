"""Header fields at an edge: what is added, overwritten, removed, kept (Istio's and Envoy's ways)."""

from __future__ import annotations

import email.utils
import json
import re

import pytest

from .conftest import StartGateway
from .support.cases import REQUEST_ID
from .support.config import simple
from .support.gateway import Gateway
from .support.origin import RecordingOrigin, ok

HOST = "webapp.test"


def upstream_headers(gateway: Gateway, *headers: str, target: str = "/") -> dict[str, list[str]]:
    """Fields that the upstream saw, by lower-case name."""
    answer = gateway.get(target, HOST, *headers)
    assert answer.status == 200, answer.text
    seen: dict[str, list[str]] = {}
    for name, value in json.loads(answer.body)["headers"]:
        seen.setdefault(name.lower(), []).append(value)
    return seen


def test_forwarded_for_and_proto(web: Gateway) -> None:
    seen = upstream_headers(web)
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == (["127.0.0.1"], ["http"])
    assert seen["x-envoy-external-address"] == ["127.0.0.1"]


def test_forwarded_for_is_appended_to(web: Gateway) -> None:
    assert upstream_headers(web, "X-Forwarded-For: 1.2.3.4, 5.6.7.8")["x-forwarded-for"] == ["1.2.3.4, 5.6.7.8,127.0.0.1"]


def test_forwarded_proto_is_overwritten(web: Gateway) -> None:
    assert upstream_headers(web, "X-Forwarded-Proto: https")["x-forwarded-proto"] == ["http"]


def test_request_id_is_made_anew_each_time(web: Gateway) -> None:
    mine = "11111111-2222-4333-8444-555555555555"
    ids = [upstream_headers(web, f"X-Request-Id: {mine}")["x-request-id"] for _ in range(20)]
    flat = [one for (one,) in ids]
    assert len(set(flat)) == 20 and mine not in flat
    assert all(REQUEST_ID.fullmatch(one) for one in flat)
    assert all(one[14] == "4" and one[19] in "89ab" for one in flat), "UUID version 4, RFC 9562"


def test_request_id_is_not_told_to_the_client(web: Gateway) -> None:
    assert web.get("/", HOST).value("x-request-id") is None


def test_attempt_count(web: Gateway) -> None:
    assert upstream_headers(web)["x-envoy-attempt-count"] == ["1"]


def test_host_goes_upstream_as_sent(web: Gateway) -> None:
    assert json.loads(web.get("/", "WebApp.test:8080").body)["headers"][0][1].lower() == "webapp.test:8080"


@pytest.mark.parametrize(
    "field",
    [
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: gzip",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABk",
        "Trailer: X",
        "Proxy: http://x",
    ],
)
def test_hop_by_hop_fields_go(web: Gateway, field: str) -> None:
    assert field.split(":")[0].lower() not in upstream_headers(web, field, "Connection: close, te, upgrade, http2-settings")


def test_internal_fields_from_outside_go(web: Gateway) -> None:
    seen = upstream_headers(
        web,
        "x-envoy-retry-on: 5xx",
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-internal: true",
        "X-Forwarded-Client-Cert: a",
        "x-envoy-external-address: 9.9.9.9",
    )
    assert not {"x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms", "x-envoy-internal", "x-forwarded-client-cert"} & set(seen)
    assert seen["x-envoy-external-address"] == ["127.0.0.1"]


def test_end_to_end_fields_stay_in_order(web: Gateway) -> None:
    seen = upstream_headers(
        web,
        "Cookie: a=1",
        "Authorization: Basic eA==",
        "X-B: 2",
        "X-A: 1",
        "X-A: 3",
        "Accept: */*",
        "User-Agent: test/1",
        "Referer: http://x/",
    )
    assert (seen["cookie"], seen["authorization"], seen["x-a"], seen["user-agent"]) == (
        ["a=1"],
        ["Basic eA=="],
        ["1", "3"],
        ["test/1"],
    )


def test_answer_says_server_date_and_time(web: Gateway) -> None:
    answer = web.get("/", HOST)
    assert answer.value("server") == "fastgw"
    assert email.utils.parsedate_to_datetime(answer.value("date") or "")
    assert re.fullmatch(r"[0-9]+", answer.value("x-envoy-upstream-service-time") or "")
    assert answer.value("x-origin") == "webapp"


def test_date_of_the_upstream_is_kept_and_its_server_is_not(web: Gateway, shared_origin: RecordingOrigin) -> None:
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    shared_origin.answer = lambda seen: ok(b"", f"Date: {date}", "Server: secret/1", "X-Envoy-Upstream-Service-Time: 99999")
    answer = web.get("/", HOST)
    assert (answer.value("date"), answer.value("server")) == (date, "fastgw")
    assert answer.value("x-envoy-upstream-service-time") != "99999"


def test_answers_lose_hop_by_hop_fields_and_keep_others(web: Gateway, shared_origin: RecordingOrigin) -> None:
    shared_origin.answer = lambda seen: ok(
        b"x",
        "Connection: X-Private",
        "X-Private: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: x",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "X-Empty:",
    )
    answer = web.get("/", HOST)
    assert not {"x-private", "keep-alive", "proxy-connection"} & {n.decode().lower() for n, _ in answer.fields}
    assert answer.values("set-cookie") == ["a=1", "b=2"]
    assert answer.value("x-empty") == ""


def test_own_answers_say_server_and_date(web: Gateway) -> None:
    for host, status in (("nobody.test", 404), ("bad host", 400)):
        answer = web.get("/", host)
        assert (answer.status, answer.value("server")) == (status, "fastgw")
        assert email.utils.parsedate_to_datetime(answer.value("date") or "")
        assert answer.value("x-envoy-upstream-service-time") is None


def test_server_header_can_be_named(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--server-header", "edge-7"], workers=1)
    assert gateway.get("/", HOST).value("server") == "edge-7"


def test_trusted_hops_choose_the_client_address(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), settings={"trusted-hops": 2}, workers=1)
    seen = upstream_headers(gateway, "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3", "X-Forwarded-Proto: https")
    assert seen["x-envoy-external-address"] == ["10.0.0.2"]
    assert seen["x-forwarded-for"] == ["10.0.0.1, 10.0.0.2, 10.0.0.3,127.0.0.1"]
    assert seen["x-forwarded-proto"] == ["https"]


def test_underscores_can_be_allowed_or_refused(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    for word, status in (("allow", 200), ("reject", 400)):
        gateway = start_gateway(simple(HOST, origin.port), settings={"underscores": word}, workers=1)
        answer = gateway.get("/", HOST, "X_Custom: v")
        assert answer.status == status
        assert ("x_custom" in answer.text) == (status == 200)
