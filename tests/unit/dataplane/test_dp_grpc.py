"""gRPC calls as far as the gateway has a say: its own answers, what is counted and logged, and gRPC-Web."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dataplane_support import GET, OK, Gateway, Message, Peer, make_plan, read_chunked
from msgspec import structs

from fastgw.image.layout import lib
from fastgw.model.plan import (
    Action,
    Cluster,
    DirectResponse,
    Edits,
    Endpoint,
    HeaderEdit,
    Plan,
    RoutePolicy,
    WeightedDestination,
)
from fastgw.model.values import Part

MakeGateway = Callable[..., Gateway]
GRPC = "application/grpc"
WEB, WEB_TEXT = "application/grpc-web", "application/grpc-web-text"


def call(content_type: str = GRPC, body: bytes = b"", *lines: str, method: str = "POST") -> bytes:
    head = f"{method} /pkg.Service/Method HTTP/1.1\r\nHost: a.test\r\nContent-Type: {content_type}\r\nTE: trailers\r\n"
    head += "".join(f"{line}\r\n" for line in lines) + f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def frame(message: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


def status(answer: Message) -> tuple[int, str, str]:
    """Of an answer without a body."""
    assert answer.status == 200 and not answer.body and answer["content-length"] == "0"
    return int(answer["grpc-status"]), (answer.values("grpc-message") or [""])[0], answer["content-type"]


def labels(gateway: Gateway) -> list[tuple[int, int, int]]:
    """(HTTP status, protocol, gRPC status or -1) of what was counted."""
    keys = [int(s.key) for s in gateway.stats.series if s.key]
    return sorted((key >> 4 & 0x3FF, key & 15, (key >> 59) - 1) for key in keys)


def act(plan: Plan, action: Action) -> None:
    """Make this the action of the only rule."""
    host = plan.route_tables["http.80"].virtual_hosts[0]
    host.rules = [structs.replace(host.rules[0], action=action)]


# ---- answers of the gateway


def test_no_route(gateway: Gateway) -> None:
    for kind in (GRPC, f"{GRPC}+proto", f"{GRPC};charset=utf-8"):
        assert status(gateway.client().send(call(kind)).response()) == (12, "", GRPC)
    assert labels(gateway) == [(200, lib.FGW_PROTOCOL_GRPC, 12)]


@pytest.mark.parametrize("data", [GET, call("application/json"), call("application/grpcx"), call(WEB), call(GRPC, method="PUT")])
def test_what_is_no_grpc_call(gateway: Gateway, data: bytes) -> None:
    answer = gateway.client().send(data).response()
    assert answer.status == 404 and not answer.values("grpc-status")
    assert labels(gateway) == [(404, lib.FGW_PROTOCOL_HTTP, -1)]


def test_no_endpoint(gateway: Gateway) -> None:
    gateway.attach(make_plan([Cluster("c", "c", 80)]))
    assert status(gateway.client().send(call()).response()) == (14, "no healthy upstream", GRPC)


def test_nobody_listens(make_gateway: MakeGateway) -> None:
    gateway = make_gateway()
    upstream = gateway.upstream()
    gateway.serve(upstream)
    upstream.close()
    code, message, _ = status(gateway.client().send(call()).response())
    assert code == 14 and message.endswith("reset reason: remote connection failure")


@pytest.mark.parametrize(("said", "want"), [(b"", 14), (b"HTTP/1.1 2000 X\r\n\r\n", 14)])
def test_an_upstream_that_fails(gateway: Gateway, said: bytes, want: int) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(call())
    up = upstream.accept(gateway)
    up.request()
    if said:
        up.send(said)
    up.close()
    assert status(client.response())[0] == want


def test_a_time_out_is_deadline_exceeded(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"upstream_response_timeout_ms": 1000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(call())
    upstream.accept(gateway).request()
    gateway.pass_ms(1500)
    assert status(client.response()) == (4, "upstream request timeout", GRPC)


@pytest.mark.parametrize(
    ("route_ms", "said", "allowed_ms"),
    [(0, "2S", 2000), (1000, "2S", 1000), (3000, "2000000u", 2000), (3000, "soon", 3000), (1000, "", 1000)],
)
def test_a_call_has_the_time_that_it_says(gateway: Gateway, route_ms: int, said: str, allowed_ms: int) -> None:
    """J3: grpc-timeout, at the most the route's."""
    upstream = gateway.upstream()
    plan = make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", upstream.port)])])
    policy = RoutePolicy(timeout_ms=route_ms) if route_ms else None
    act(plan, Action("route", (WeightedDestination("c", 1),), policy=policy))
    gateway.attach(plan)
    client = gateway.client().send(call(GRPC, b"", *([f"grpc-timeout: {said}"] if said else [])))
    up = upstream.accept(gateway)
    assert up.request().values("grpc-timeout") == ([said] if said else [])
    gateway.pass_ms(allowed_ms - 100)
    assert not client.poll().data
    gateway.pass_ms(300)
    assert status(client.response()) == (4, "upstream request timeout", GRPC)
    assert up.until_end() == "reset"


def test_a_message_is_percent_encoded(gateway: Gateway) -> None:
    plan = make_plan([Cluster("c", "c", 80)])
    act(plan, Action("direct_response", answer=DirectResponse(403, "100 % no\r\nné".encode())))
    gateway.attach(plan)
    assert status(gateway.client().send(call()).response()) == (7, "100 %25 no%0D%0An%C3%A9", GRPC)


def test_a_refused_head_is_no_call(gateway: Gateway) -> None:
    answer = gateway.client().send(call().replace(b"/pkg.Service", b"/%00")).response()
    assert status(answer)[0] == 13


# ---- statuses of upstreams


def test_the_status_of_trailers_is_counted_and_logged(make_gateway: MakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    wanted = ("code", "grpc_status", "grpc_status_snake", "grpc_status_number")
    log = [step for name in wanted for step in ((name, ""), ("text", "\n" if name == wanted[-1] else " "))]
    gateway = make_gateway(log=log, log_fd=fd)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client()
    up: Peer | None = None
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
    for said in (
        chunked + b"5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 1\r\nContent-Length: 0\r\n\r\n",
        chunked + b"0\r\ngrpc-status: what\r\n\r\n",
        b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
    ):
        client.send(call())
        up = up or upstream.accept(gateway)
        up.request()
        up.send(said)
        client.until(lambda data, said=said: data.endswith(said[-4:]))  # type: ignore[misc]
        client.data.clear()
    client.send(GET)
    assert up is not None
    up.request()
    up.send(OK)
    client.response()
    assert labels(gateway) == [(200, 1, -1), (200, 2, -1), (200, 2, 1), (200, 2, 5), (503, 2, -1)]
    gateway.log.flush()
    os.close(fd)
    assert path.read_text().splitlines() == [
        "200 NotFound NOT_FOUND 5",
        "200 Canceled CANCELLED 1",
        "200 Unknown UNKNOWN 2",
        "503 Unavailable UNAVAILABLE 14",
        "200 - - -",
    ]


# ---- gRPC-Web


@pytest.fixture
def web(gateway: Gateway) -> Gateway:
    upstream = gateway.upstream()
    plan = make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", upstream.port)])])
    plan.listeners[0].chains[0].grpc_web = True
    gateway.attach(plan)
    return gateway


def answered(web: Gateway, data: bytes, *said: bytes) -> tuple[Message, str, bytes]:
    """The request as the upstream got it, the client's content type, and its body."""
    client = web.client().send(data)
    up = web.upstreams[0].accept(web)
    request = up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in said:
        up.send(piece)
    client.until(lambda data: data.endswith(b"\r\n0\r\n\r\n"))
    head, _, rest = bytes(client.data).partition(b"\r\n\r\n")
    kind = [line.split(b": ")[1].decode() for line in head.split(b"\r\n") if line.startswith(b"content-type: ")]
    assert len(kind) == 1
    up.close()
    return request, kind[0], read_chunked(rest)[0]


def chunks(data: bytes, size: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(data[i : i + size]), data[i : i + size]) for i in range(0, len(data), size))


TRAILERS = b"0\r\nGrpc-Status: 0\r\ngrpc-message: fine\r\nHost: dropped\r\n\r\n"
LAST = frame(b"grpc-status:0\r\ngrpc-message:fine\r\n", 0x80)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_binary_messages(web: Gateway, size: int) -> None:
    sent, told = frame(b"question"), frame(b"answer") + frame(b"")
    request, kind, body = answered(web, call(f"{WEB}+proto", sent), chunks(told, size), TRAILERS)
    assert (request["content-type"], request["te"], request.body) == (GRPC, "trailers", sent)
    assert request["content-length"] == str(len(sent))
    assert (kind, body) == (f"{WEB}+proto", told + LAST)
    assert labels(web) == [(200, lib.FGW_PROTOCOL_GRPC, 0)]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_text_messages(web: Gateway, size: int) -> None:
    sent, told = [frame(b"question"), frame(b"two")], [frame(b"answer"), frame(b""), frame(bytes(range(256)))]
    data = b"".join(base64.b64encode(one) for one in sent)
    request, kind, body = answered(web, call(WEB_TEXT, data), chunks(b"".join(told), size), TRAILERS)
    assert (request["content-type"], request["transfer-encoding"], request.body) == (GRPC, "chunked", b"".join(sent))
    assert (kind, body) == (f"{WEB_TEXT}+proto", b"".join(base64.b64encode(one) for one in [*told, LAST]))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (f"{WEB_TEXT}+proto", f"{WEB_TEXT}+proto"),
        (f"{WEB}", f"{WEB}+proto"),
        ("*/*", f"{WEB}+proto"),
        ("text/html", f"{WEB}+proto"),
    ],
)
def test_the_client_says_which_form_it_accepts(web: Gateway, accept: str, kind: str) -> None:
    told = frame(b"x")
    _, got, body = answered(web, call(WEB, frame(b""), f"Accept: {accept}"), chunks(told, 100), TRAILERS)
    assert got == kind and body == (base64.b64encode(told) + base64.b64encode(LAST) if "text+" in kind else told + LAST)


def test_text_split_anywhere(web: Gateway) -> None:
    sent = frame(b"question!")
    data = base64.b64encode(sent)
    head = call(WEB_TEXT, data).removesuffix(data)
    for cut in range(len(data)):
        client = web.client().send(head + data[:cut])
        up = web.upstreams[0].accept(web)
        client.send(data[cut:])
        assert up.request().body == sent
        up.send(OK)
        assert client.response().body == b"ok", "what is not gRPC passes as it is"
        up.close()


@pytest.mark.parametrize("data", [b"AAAA*AAA", b"AAAAA", b"AAAA===="])
def test_bad_base64(web: Gateway, data: bytes) -> None:
    client = web.client().send(call(WEB_TEXT, data))
    code, _, kind = status(client.response())
    assert (code, kind) == (13, f"{WEB_TEXT}+proto")
    assert web.rejected() == {"bad_grpc_web": 1}


def test_trailers_only(web: Gateway) -> None:
    client = web.client().send(call(WEB, frame(b"")))
    up = web.upstreams[0].accept(web)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: no\r\nContent-Length: 0\r\n\r\n")
    answer = client.response()
    assert (answer["content-type"], answer["grpc-status"], answer["grpc-message"], answer.body) == (f"{WEB}+proto", "5", "no", b"")


def test_an_answer_of_the_gateway(web: Gateway) -> None:
    web.upstreams[0].close()
    code, message, kind = status(web.client().send(call(WEB_TEXT, b"AAAAAAA=")).response())
    assert (code, kind) == (14, f"{WEB_TEXT}+proto") and "connection failure" in message


def test_edits_of_the_route_come_first(web: Gateway) -> None:
    edits = Edits(
        request=(HeaderEdit("set", "x-type", (Part("request_header", "content-type"),)),),
        response=(HeaderEdit("set", "x-type", (Part("response_header", "content-type"),)),),
    )
    plan = make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", web.upstreams[0].port)])])
    plan.listeners[0].chains[0].grpc_web = True
    act(plan, Action("route", (WeightedDestination("c", 1),), edits=edits))
    web.attach(plan)
    client = web.client().send(call(WEB, frame(b"")))
    up = web.upstreams[0].accept(web)
    assert up.request()["x-type"] == GRPC
    up.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 0\r\nContent-Length: 0\r\n\r\n")
    answer = client.response()
    assert (answer["x-type"], answer["content-type"]) == (GRPC, f"{WEB}+proto")
