"""The table of the gateway's own answers (section I): status, body, flags and details, over both versions on both sides."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from wire.h2 import PROTOCOL_ERROR, headers

from .support.bench import CLIENTS, LEGS, Bench, Leg, both, destination_rule, rule, running_bench, to, under_policy
from .support.client import Client, Disconnected, request_bytes
from .support.config import Document, destination, gateway_of, http_server, service_entry, virtual_service
from .support.log import whole_lines
from .support.poll import eventually, in_time
from .support.ports import free_port
from .support.scripted import OriginHttp2, ScriptedOrigin

ALWAYS = {"value": 100}
NEVER_AGAIN = {"attempts": 0}
RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
RESET_AGAIN = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: "
BEFORE = "upstream_reset_before_response_started{%s}"


def rules(service: str) -> list[Document]:
    target = to(service)
    abort = abort_with(418)
    delay = {"delay": {"fixedDelay": "0.01s", "percentage": ALWAYS}}
    return [
        rule("/unknown", route=[destination(service, 9999)]),
        rule("/empty", route=to(f"{service}-empty")),
        rule("/refused/once", route=to(f"{service}-refused"), retries=NEVER_AGAIN),
        rule("/refused", route=to(f"{service}-refused")),
        rule("/unreachable", route=to(f"{service}-unreachable"), retries=NEVER_AGAIN),
        rule("/once", route=target, retries=NEVER_AGAIN),
        rule("/busy", route=to(f"{service}-limited")),
        rule("/timeout", route=target, timeout="0.15s"),
        rule(
            "/tries", route=target, retries={"attempts": 1, "perTryTimeout": "0.1s", "retryOn": "gateway-error", "backoff": "1ms"}
        ),
        rule("/retried", route=target, retries={"attempts": 2, "retryOn": "503", "backoff": "1ms"}),
        rule("/abort", route=target, fault=abort),
        rule("/delay", route=target, fault=delay),
        *(rule(f"/as/{status}", route=target, fault=abort_with(status)) for status in GRPC_OF_HTTP),
        rule("/both", route=target, fault={**abort, **delay}),
        rule("/long-delay", route=target, fault={"delay": {"fixedDelay": "1h", "percentage": ALWAYS}}),
        rule("/long-pause", route=target, retries={"attempts": 1, "retryOn": "503", "backoff": "1000h"}),
        rule("/plain", route=target),
    ]


def abort_with(status: int) -> Document:
    return {"abort": {"httpStatus": status, "percentage": ALWAYS}}


def documents(origins: dict[str, ScriptedOrigin], unreachable: int) -> list[Document]:
    found = both(rules)
    for name, port in (("empty", 0), ("refused", free_port()), ("unreachable", unreachable)):
        for service, protocol in (("one", "HTTP"), ("two", "HTTP2")):
            entry = service_entry(f"{service}-{name}", [("127.0.0.1", port)] if port else [])
            entry["spec"]["ports"][0]["protocol"] = protocol
            found.append(entry)
    for service in ("one", "two"):
        found.append(destination_rule(f"{service}-unreachable", {"connectionPool": {"tcp": {"connectTimeout": "0.15s"}}}))
    found.append(virtual_service("secure", ["secure.test"], [rule("/", route=to("one"))], gateways=["secure"]))
    found.append(gateway_of("secure", [http_server(["secure.test"], tls={"httpsRedirect": True}, port=81)]))
    for name in ("one", "two"):
        found += under_policy(origins[name], f"{name}-limited", {"connectionPool": {"http": {"http2MaxRequests": 1}}})
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # the queue holds one more than it is told; further ones get no answer
        second.setblocking(False)
        second.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        folder = tmp_path_factory.mktemp("answers")
        with running_bench(folder, lambda origins: documents(origins, port), ports=(80, 81)) as running:
            yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway of its own: a busy machine must not run into these times where a case is not about them."""
    folder = tmp_path_factory.mktemp("impatient")
    settings = {"stream-idle-timeout": 0.3, "request-timeout": 0.5}
    with running_bench(folder, lambda origins: both(lambda service: [rule("/", route=to(service))]), settings=settings) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_before(bench: Bench) -> Iterator[None]:
    yield
    for origin in bench.origins.values():
        origin.reset()


@dataclass
class Row:
    """How a row of the table is provoked, and what it says. ``end``: what the upstream does; ``flags`` in the log's words."""

    target: str
    status: int
    body: str
    flags: str
    details: str
    end: str = "whole"
    answer: int = 200
    method: str = "GET"
    attempts: int | None = None
    legs: tuple[Leg, ...] = tuple(LEGS)


ONLY_CLIENTS = tuple(CLIENTS)
ROWS = {
    "I1": Row("/nowhere", 404, "", "NR", "route_not_found", legs=ONLY_CLIENTS),
    "I2": Row("/unknown", 503, "", "NC", "cluster_not_found", legs=ONLY_CLIENTS),
    "I3": Row("/empty", 503, "no healthy upstream", "UH", "no_healthy_upstream"),
    "I4 refused": Row(
        "/refused/once",
        503,
        RESET + "remote connection failure",
        "UF",
        BEFORE % "remote_connection_failure",
        attempts=1,
    ),
    "I4 refused, and all retries": Row(
        "/refused",
        503,
        RESET_AGAIN + "remote connection failure",
        "UF,URX",
        BEFORE % "remote_connection_failure",
        attempts=3,
    ),
    "I4 no connection in time": Row(
        "/unreachable", 503, RESET + "connection timeout", "UF", BEFORE % "connection_timeout", attempts=1
    ),
    "I5": Row("/once", 503, RESET + "connection termination", "UC", BEFORE % "connection_termination", "cut", method="POST"),
    "I5 by a reset of TCP": Row(
        "/once",
        503,
        RESET + "connection termination",
        "UC",
        BEFORE % "connection_termination",
        "reset",
        method="POST",
        legs=tuple(leg for leg in LEGS if leg.upstream == "HTTP/1.1"),
    ),
    "I6": Row(
        "/once",
        503,
        RESET + "remote reset",
        "UR",
        BEFORE % "remote_reset",
        "reset",
        legs=tuple(leg for leg in LEGS if leg.upstream == "HTTP/2"),
    ),
    "I8": Row("/timeout", 504, "upstream request timeout", "UT", "upstream_response_timeout", "silence", attempts=1),
    "I9": Row("/tries", 504, "upstream request timeout", "UT,URX", "upstream_per_try_timeout", "silence", attempts=2),
    "I10": Row("/retried", 503, "hello", "URX", "via_upstream", answer=503, attempts=3),
    "I11": Row("/abort", 418, "fault filter abort", "FI", "fault_filter_abort", legs=ONLY_CLIENTS),
    "I12": Row("/delay", 200, "hello", "DI", "via_upstream"),
    "I11 I12 after a delay": Row("/both", 418, "fault filter abort", "DI,FI", "fault_filter_abort", legs=ONLY_CLIENTS),
    "I0 no answer of HTTP": Row("/once", 502, RESET + "protocol error", "UPE", BEFORE % "protocol_error", "garbage"),
}
CASES = [pytest.param(row, leg, id=f"{name.replace(' ', '-')}-{leg}") for name, row in ROWS.items() for leg in row.legs]


@pytest.mark.parametrize(("row", "leg"), CASES)
def test_row(bench: Bench, row: Row, leg: Leg) -> None:
    bench.origin(leg).always(row.answer, end=row.end)
    body = b"once" if row.method == "POST" else None
    answer, line = bench.ask_logged(leg, row.target, method=row.method, body=body)
    assert (answer.status, answer.body.decode(), answer.cut) == (row.status, row.body, False)
    assert (line.protocol, line.status, line.flags, line.details) == (
        leg.client,
        row.status,
        set(row.flags.split(",")),
        row.details,
    )
    assert row.attempts in (None, line.attempts)
    assert answer.value("server") == "fastgw" and answer.value("date")
    if row.details != "via_upstream":
        assert answer.values("content-type") == (["text/plain"] if row.body else [])


# --- rows that need more than one request


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_i7_the_cluster_is_full(bench: Bench, leg: Leg) -> None:
    bench.wait_idle()
    origin = bench.origin(leg)
    origin.always(end="silence")
    with bench.gateway.client() as first:
        mark = origin.mark()
        first.send(request_bytes("GET", "/busy", leg.host))
        eventually(lambda: origin.since(mark), "the first is there")
        answer, line = bench.ask_logged(leg, "/busy")
        assert (answer.status, answer.body.decode()) == (503, RESET + "overflow")
        assert answer.value("x-envoy-overloaded") == "true"
        assert (line.protocol, line.flags, line.details) == (leg.client, {"UO"}, BEFORE % "overflow")
        assert len(origin.since(mark)) == 1, "J8: not retried, and never sent"
        origin.release()
        assert first.response().status == 200


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_i13_the_client_is_gone(bench: Bench, leg: Leg) -> None:
    origin = bench.origin(leg)
    origin.always(end="silence")
    mark, target = origin.mark(), bench.own("/plain")
    with bench.begun(leg, target) as request:
        eventually(lambda: origin.since(mark), "the request is there")
        request.cancel()
        line = bench.logged(target)
    assert (line.protocol, line.status, line.flags, line.details) == (leg.client, 0, {"DC"}, "downstream_remote_disconnect")


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_i5_an_answer_that_breaks_off(bench: Bench, leg: Leg) -> None:
    """The head has gone on: nothing is tried again (J8), the answer is cut, and its status stays in the log."""
    origin = bench.origin(leg)
    origin.always(body=b"0123456789", end="pending")
    mark, target = origin.mark(), bench.own("/retried")
    with bench.begun(leg, target) as request:
        request.wait_for(b"01234")
        origin.break_off()
        answer = request.answer()
    line = bench.logged(target)
    assert (answer.status, answer.body, answer.cut) == (200, b"01234", True)
    assert (line.status, line.flags) == (200, {"UC"})
    assert (line.details, len(origin.since(mark))) == ("upstream_reset_after_response_started{connection_termination}", 1)


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg.upstream == "HTTP/2"], ids=str)
def test_i6_a_stream_that_is_reset_in_its_answer(bench: Bench, leg: Leg) -> None:
    origin = bench.origin(leg)
    assert isinstance(origin, OriginHttp2)
    origin.always(body=b"0123456789", end="pending")
    target = bench.own("/retried")
    with bench.begun(leg, target) as request:
        request.wait_for(b"01234")
        origin.reset_streams()
        answer = request.answer()
    line = bench.logged(target)
    assert (answer.status, answer.body, answer.cut) == (200, b"01234", True)
    assert (line.status, line.flags, line.details) == (200, {"UR"}, "upstream_reset_after_response_started{remote_reset}")


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_i8_an_answer_that_is_not_over_in_time(bench: Bench, leg: Leg) -> None:
    """The time of a route is for all of it."""
    bench.origin(leg).always(body=b"0123456789", end="pending")
    answer, line = in_time(lambda: bench.ask_logged(leg, "/timeout"), late=lambda told: told[0].status == 504)
    assert (answer.status, answer.body, answer.cut) == (200, b"01234", True)
    assert (line.status, line.flags, line.details) == (200, {"UT"}, "upstream_response_timeout")


@pytest.mark.parametrize("leg", LEGS, ids=str)
@pytest.mark.parametrize(("target", "flags", "asked"), [("/long-delay", {"DC", "DI"}, 0), ("/long-pause", {"DC"}, 1)])
def test_i13_the_client_does_not_wait(bench: Bench, leg: Leg, target: str, flags: set[str], asked: int) -> None:
    """For a delay of a fault, or the pause before a retry: what was to come does not."""
    origin = bench.origin(leg)
    origin.always(503)
    mark, own = origin.mark(), bench.own(target)
    delays = bench.gateway.metrics().total("fastgw_fault_delays_total")
    with bench.begun(leg, own) as request:
        if asked:
            eventually(lambda: origin.since(mark), "it was asked once")
        else:
            eventually(lambda: bench.gateway.metrics().total("fastgw_fault_delays_total") > delays, "it is delayed")
        request.cancel()
        line = bench.logged(own)
    assert (line.status, line.flags, line.details) == (0, flags, "downstream_remote_disconnect")
    assert len(origin.since(mark)) == asked


@pytest.mark.parametrize("leg", LEGS, ids=str)
@pytest.mark.parametrize("target", ["/abort", "/empty", "/nowhere", "/refused", "/busy"])
def test_i0_a_connection_goes_on_after_an_answer_to_a_body(bench: Bench, leg: Leg, target: str) -> None:
    """The body that nobody wanted is read to its end, or the connection ends: it is never taken for a request."""
    body = b"GET /plain HTTP/1.1\r\nHost: one.test\r\n\r\n" * 1000
    mark = bench.origin(leg).mark()
    if leg.client == "HTTP/1.1":
        with bench.gateway.client() as client:
            client.send_segments([(request_bytes("POST", target, leg.host, body=body), 0.0)])
            assert client.response("POST").status in (200, 404, 418, 503)
            with suppress(OSError):
                client.send(request_bytes("GET", "/plain?next", leg.host))
            with suppress(Disconnected):
                assert client.response().status == 200
    else:
        assert bench.ask(leg, target, method="POST", body=body).status in (200, 404, 418, 503)
    assert {asked.target for asked in bench.origin(leg).since(mark)} <= {target, "/plain?next"}


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_i23_silence_within_an_answer(impatient: Bench, leg: Leg) -> None:
    """--stream-idle-timeout."""
    impatient.origin(leg).always(body=b"0123456789", end="pending")
    answer, line = in_time(lambda: impatient.ask_logged(leg, "/plain"), late=lambda told: told[0].status != 200)
    assert (answer.status, answer.body, answer.cut) == (200, b"01234", True)
    assert (line.status, line.flags, line.details) == (200, {"SI"}, "stream_idle_timeout")


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_i24_a_request_that_takes_too_long(impatient: Bench, client: Leg) -> None:
    """--request-timeout: from the first byte of a head to the last of the body."""
    target = impatient.own("/plain")
    if client.client == "HTTP/1.1":
        with impatient.gateway.client() as slow:
            slow.send(f"POST {target} HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: 10\r\n\r\nhello")
            status = slow.response("POST").status
    else:
        with impatient.wire(client.host) as wire:
            wire.start().send(headers(1, wire.request(method=b"POST", path=target.encode()), end=False))
            wire.read_until(lambda: wire.answered(1))
            status = wire.status(1)
    line = impatient.logged(target)
    assert (status, line.status, line.flags) == (408, 408, {"DPE"})


MALFORMED = {
    "I17": ("GET {} HTTP/1.0\r\nHost: one.test\r\n\r\n", 426, "low_version"),
    "I19": ("GET {} HTTP/1.1\r\nHost: one.test\r\nBad Name: a\r\n\r\n", 400, "no_colon"),
    "I19 no host": ("GET {} HTTP/1.1\r\n\r\n", 400, "no_host"),
    "I22": ("GET {}#part HTTP/1.1\r\nHost: one.test\r\n\r\n", 400, "target_fragment"),
}


def eventually_logged(bench: Bench, mark: int, piece: str) -> None:
    """A line since then has it; those of requests before may come in late."""

    def found() -> bool:
        new = whole_lines(bench.log)[mark:]
        assert any(piece in line for line in new), new
        return True

    eventually(found, piece)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_in_http1(bench: Bench, name: str) -> None:
    raw, status, details = MALFORMED[name]
    mark, seen = bench.lines(), bench.origins["HTTP/1.1"].mark()
    with bench.gateway.client() as client:
        answer = client.request(raw.format(bench.own("/plain")), "GET")
        assert client.wait_closed()
    assert (answer.status, answer.body) == (status, b"")
    eventually_logged(bench, mark, f'"{status}", "DPE", "{details}"')
    assert bench.origins["HTTP/1.1"].since(seen) == []


@pytest.mark.parametrize("client", CLIENTS, ids=str)
@pytest.mark.parametrize(
    ("fields", "details"), [(["X-A: " + "a" * 62000], "head_too_large"), (["X-A: a"] * 120, "too_many_fields")]
)
def test_i18_heads_that_are_too_large(bench: Bench, client: Leg, fields: list[str], details: str) -> None:
    mark, seen = bench.lines(), bench.origin(client).mark()
    answer = bench.ask(client, "/plain", *fields)
    assert (answer.status, answer.body) == (431, b"")
    eventually_logged(bench, mark, f'"431", "DPE", "{details}"')
    assert bench.origin(client).since(seen) == []


def test_i19_malformed_in_http2(bench: Bench) -> None:
    """RFC 9113 section 8.1.1: an error of the stream. The metrics say why."""
    seen = bench.origins["HTTP/1.1"].mark()
    before = bench.gateway.metrics().total("fastgw_rejected_requests_total", reason="bad_field_name")
    with bench.wire("one.test") as wire:
        wire.start().send(headers(1, wire.request((b"bad name", b"a"))))
        wire.read_until(lambda: 1 in wire.resets)
        assert (wire.resets[1], wire.status(1)) == (PROTOCOL_ERROR, 0)
    assert bench.gateway.metrics().total("fastgw_rejected_requests_total", reason="bad_field_name") == before + 1
    assert bench.origins["HTTP/1.1"].since(seen) == []


def test_i22_a_fragment_in_http2(bench: Bench) -> None:
    seen = bench.origins["HTTP/1.1"].mark()
    answer = bench.ask(Leg("HTTP/2"), "/plain#part")
    assert (answer.status, answer.body, bench.origins["HTTP/1.1"].since(seen)) == (400, b"", [])


def test_direct_responses_and_redirects_have_no_flag(bench: Bench) -> None:
    """I21: the details tell what it was."""
    with Client(bench.gateway.port(81)) as client:
        target = bench.own("/page")
        answer = client.get(target, "secure.test")
    assert (answer.status, answer.value("location"), answer.body) == (301, f"https://secure.test{target}", b"")
    line = bench.logged(target)
    assert (line.flags, line.details) == (set(), "https_redirect")


# --- forms of an answer


@pytest.mark.parametrize("client", CLIENTS, ids=str)
@pytest.mark.parametrize("target", ["/nowhere", "/empty", "/abort"])
def test_i0_answers_to_head_have_a_length_and_no_body(bench: Bench, client: Leg, target: str) -> None:
    full, bare = bench.ask(client, target), bench.ask(client, target, method="HEAD")
    assert (bare.status, bare.body, bare.value("content-length")) == (full.status, b"", str(len(full.body)))
    assert full.value("content-length") == bare.value("content-length")


GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14, 418: 2, 500: 2}


@pytest.mark.parametrize("client", CLIENTS, ids=str)
@pytest.mark.parametrize("status", GRPC_OF_HTTP)
def test_i0_calls_of_grpc_are_told_in_their_words(bench: Bench, client: Leg, status: int) -> None:
    answer, line = bench.ask_logged(
        client, f"/as/{status}", "Content-Type: application/grpc", "TE: trailers", method="POST", body=b""
    )
    assert (answer.status, answer.value("grpc-status"), answer.value("grpc-message")) == (
        200,
        str(GRPC_OF_HTTP[status]),
        "fault filter abort",
    )
    assert (answer.body, line.status, line.flags) == (b"", 200, {"FI"})
