"""Time-outs and retries (section J), over both versions on both sides, counted where the requests arrive.

Upstream connections serve one request each here, so that none is sent again for having been closed while idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wire.h2 import data, headers

from .support.bench import CLIENTS, LEGS, Bench, Leg, both, destination_rule, rule, running_bench, to, under_policy
from .support.config import Document, service_entry
from .support.curl import curl
from .support.poll import eventually, in_time
from .support.ports import free_port
from .support.scripted import Asked, Say, ScriptedOrigin

ONE_REQUEST = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
TOKENS = ["5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "refused-stream", "reset-before-request", "418"]
GRPC = {"cancelled": 1, "deadline-exceeded": 4, "internal": 13, "resource-exhausted": 8, "unavailable": 14}
CALL = ("Content-Type: application/grpc", "TE: trailers")


EDITS = {"request": {"add": {"x-add": "1"}}, "response": {"add": {"x-add": "2"}}}
DELAY = {"delay": {"fixedDelay": "0.3s", "percentage": {"value": 100}}}


def retry(on: str, attempts: int = 1, **rest: object) -> Document:
    return {"attempts": attempts, "retryOn": on, "backoff": "1ms", **rest}


def rules(service: str) -> list[Document]:
    target, pair, hashed = to(service), to("pair"), to("hashed")
    return [
        rule("/timed", route=target, timeout="0.15s"),
        *(rule(f"/on/{token}/", route=target, retries=retry(token)) for token in (*TOKENS, *GRPC)),
        *(rule(f"/down/{token}/", route=to("down"), retries=retry(token)) for token in TOKENS),
        rule("/default/down", route=to("down")),
        rule("/default", route=target),
        rule("/never/down", route=to("down"), retries={"attempts": 0}),
        rule("/never", route=target, retries={"attempts": 0}),
        rule("/three", route=target, retries=retry("503", 2)),
        rule("/within", route=target, timeout="0.3s", retries=retry("5xx", 100, perTryTimeout="0.05s")),
        rule("/longer", route=target, timeout="0.15s", retries=retry("5xx", perTryTimeout="10s")),
        rule("/per-try/5xx", route=target, retries=retry("5xx", perTryTimeout="0.1s")),
        rule("/per-try/connect", route=target, retries=retry("connect-failure", perTryTimeout="0.1s")),
        rule("/pause", route=target, timeout="0.15s", retries=retry("503", backoff="1000h")),
        rule("/ratelimited", route=target, retries=retry("503,envoy-ratelimited")),
        rule("/limited", route=to(f"{service}-limited"), retries=retry("503", 1)),
        rule("/pair/any", route=pair, retries=retry("503", retryIgnorePreviousHosts=False)),
        rule("/pair", route=pair, retries=retry("503")),
        rule("/hashed/other", route=hashed, retries=retry("503", retryIgnorePreviousHosts=True)),
        rule("/hashed", route=hashed, retries=retry("503")),
        rule("/edited", rewrite={"uri": "/new"}, headers=EDITS, route=target, retries=retry("503", 2)),
        rule("/delayed", fault=DELAY, timeout="0.15s", route=target),
        rule("/", route=target),
    ]


def documents(origins: dict[str, ScriptedOrigin]) -> list[Document]:
    endpoints = [("127.0.0.1", origins[name].port) for name in ("good", "bad")]
    by_user = {"consistentHash": {"httpHeaderName": "x-user"}}
    found = [*both(rules), service_entry("down", [("127.0.0.1", free_port())])]
    found += [service_entry("pair", endpoints), destination_rule("pair", {"loadBalancer": {"simple": "RANDOM"}})]
    found += [service_entry("hashed", endpoints), destination_rule("hashed", {"loadBalancer": by_user})]
    for name in ("one", "two"):
        found.append(destination_rule(name, ONE_REQUEST))
        found += under_policy(origins[name], f"{name}-limited", {"connectionPool": {"http": {"maxRetries": 1}}})
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("retries"), documents, "good", "bad") as running:
        running.others["bad"].always(503, fields=[("x-origin", "bad")])
        yield running


@pytest.fixture(autouse=True)
def _as_before(bench: Bench) -> Iterator[None]:
    yield
    for origin in bench.origins.values():
        origin.reset()


every_leg = pytest.mark.parametrize("leg", LEGS, ids=str)
every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


# --- time-outs


@every_leg
def test_j1_without_a_timeout_nothing_is_timed(bench: Bench, leg: Leg) -> None:
    """A route that is timed gives up meanwhile."""
    origin = bench.origin(leg)
    origin.always(end="silence")
    mark, target = origin.mark(), bench.own("/untimed")
    with bench.begun(leg, target) as request:
        eventually(lambda: origin.since(mark), "the request is there")
        assert bench.ask(leg, "/timed").status == 504
        origin.release()
        assert request.answer().status == 200


@every_leg
def test_j2_the_time_begins_with_the_end_of_the_request(bench: Bench, leg: Leg) -> None:
    """Without the end of its body it is held back for longer than the route allows."""
    origin = bench.origin(leg)
    origin.say = lambda asked: Say() if asked.method == "POST" else Say(end="silence")

    def held_back() -> int:
        if leg.client == "HTTP/1.1":
            with bench.gateway.client() as client:
                client.send(f"POST /timed HTTP/1.1\r\nHost: {leg.host}\r\nContent-Length: 10\r\n\r\nhello")
                assert bench.ask(leg, "/timed").status == 504
                return client.request("hello", "POST").status
        with bench.wire(leg.host) as wire:
            wire.start().send(headers(1, wire.request(method=b"POST", path=b"/timed"), end=False), data(1, b"hello"))
            assert bench.ask(leg, "/timed").status == 504
            assert not wire.statuses
            wire.send(data(1, b"hello", end=True))
            wire.read_until(lambda: wire.answered(1))
            return wire.status(1)

    assert in_time(held_back, late=lambda status: status == 504) == 200


@every_leg
def test_j2_the_time_is_for_all_tries(bench: Bench, leg: Leg) -> None:
    bench.origin(leg).always(end="silence")
    answer, line = in_time(lambda: bench.ask_logged(leg, "/within"), late=lambda told: told[1].attempts < 2)
    assert (answer.status, line.flags, line.details) == (504, {"UT"}, "upstream_response_timeout")
    assert line.attempts <= 10


@every_leg
def test_j2_the_delay_of_a_fault_does_not_count(bench: Bench, leg: Leg) -> None:
    """It comes before the router, which keeps the time."""
    assert in_time(lambda: bench.ask(leg, "/delayed"), late=lambda answer: answer.status == 504).status == 200
    bench.origin(leg).always(end="silence")
    answer, line = bench.ask_logged(leg, "/delayed")
    assert (answer.status, line.flags) == (504, {"UT", "DI"})


@every_leg
def test_j9_the_time_is_for_the_pauses_as_well(bench: Bench, leg: Leg) -> None:
    """A pause of anything up to 1000 hours is over within 0.15 s once in 24 million runs."""
    origin = bench.origin(leg)
    origin.always(503)
    mark = origin.mark()
    answer, line = bench.ask_logged(leg, "/pause")
    eventually(lambda: origin.since(mark), "it was asked")
    assert (answer.status, line.flags, len(origin.since(mark))) == (504, {"UT"}, 1)


@every_leg
@pytest.mark.parametrize(("target", "allowed"), [("/untimed", "100m"), ("/timed", "1H")], ids=["of the call", "of the route"])
def test_j3_the_time_that_a_call_allows(bench: Bench, leg: Leg, target: str, allowed: str) -> None:
    """Beyond the table of section I it is DEADLINE_EXCEEDED."""
    bench.origin(leg).always(end="silence")
    answer, line = bench.ask_logged(leg, target, *CALL, f"grpc-timeout: {allowed}", method="POST", body=b"")
    assert (answer.status, answer.value("grpc-status"), line.flags) == (200, "4", {"UT"})


# --- what is retried


@every_leg
def test_j4_the_default_leaves_answers_alone(bench: Bench, leg: Leg) -> None:
    origin = bench.origin(leg)
    for target in ("/default", "/never"):
        for said in (Say(503), Say(409), Say(end="cut"), Say(end="reset")):
            origin.say = lambda asked, said=said: said
            mark = origin.mark()
            assert bench.ask(leg, target).status == (503 if said.end != "whole" else said.status)
            assert len(origin.since(mark)) == 1, said


@every_client
def test_j4_j5_connects_are_tried_twice_more_unless_switched_off(bench: Bench, client: Leg) -> None:
    for target, tries, flags in (("/default/down", 3, {"UF", "URX"}), ("/never/down", 1, {"UF"})):
        answer, line = bench.ask_logged(client, target)
        assert (answer.status, line.attempts, line.flags) == (503, tries, flags)


@every_client
def test_j4_streams_that_are_refused_are_sent_again(bench: Bench, client: Leg) -> None:
    """Whatever the method: the upstream says that it has not touched them."""
    leg = Leg(client.client, "HTTP/2")
    origin = bench.origin(leg)
    for method, body in (("GET", None), ("POST", b"once")):
        origin.say = lambda asked: Say() if asked.attempt == 3 else Say(end="refuse")
        mark = origin.mark()
        assert bench.ask(leg, "/default", method=method, body=body).status == 200
        assert [asked.body for asked in origin.since(mark)] == [body or b""] * 3
        origin.always(end="refuse")
        answer, line = bench.ask_logged(leg, "/default", method=method, body=body)
        assert (answer.status, line.attempts, line.flags) == (503, 3, {"UR", "URX"})


@every_leg
@pytest.mark.parametrize("status", [14, 1])
def test_j4_calls_are_not_repeated_unless_the_route_or_an_option_says_so(bench: Bench, leg: Leg, status: int) -> None:
    """They are POST. With --retry-any-method: below."""
    origin = bench.origin(leg)
    origin.always(fields=[("content-type", "application/grpc"), ("grpc-status", str(status))], body=b"")
    mark = origin.mark()
    answer = bench.ask(leg, "/default", *CALL, method="POST", body=b"")
    assert (answer.value("grpc-status"), len(origin.since(mark))) == (str(status), 1)


FAULTS = {str(status): Say(status) for status in (404, 409, 418, 500, 502, 503, 504)} | {
    "cut": Say(end="cut"),
    "reset": Say(end="reset"),
}
RETRIED = {
    "5xx": {"500", "502", "503", "504", "cut", "reset"},
    "gateway-error": {"502", "503", "504", "cut", "reset"},
    "reset": {"cut", "reset"},
    "connect-failure": set(),
    "retriable-4xx": {"409"},
    "refused-stream": set(),
    "reset-before-request": set(),
    "418": {"418"},
}


@every_leg
@pytest.mark.parametrize("token", TOKENS)
def test_j6_j7_what_a_condition_covers(bench: Bench, leg: Leg, token: str) -> None:
    origin = bench.origin(leg)
    retried = set()
    for name, said in FAULTS.items():
        origin.say = lambda asked, said=said: said
        mark = origin.mark()
        answer = bench.ask(leg, f"/on/{token}/")
        assert answer.status == (503 if said.end != "whole" else said.status)
        tries = [asked.attempt for asked in origin.since(mark)]
        assert tries in ([1], [1, 2]), tries
        if len(tries) == 2:
            retried.add(name)
    assert retried == RETRIED[token]


@every_client
@pytest.mark.parametrize("token", TOKENS)
def test_j7_connections_that_cannot_be_made(bench: Bench, client: Leg, token: str) -> None:
    """They are no answer at all (5xx, gateway-error, reset) and come before any request (reset-before-request)."""
    answer, line = bench.ask_logged(client, f"/down/{token}/")
    covered = token in ("5xx", "gateway-error", "reset", "connect-failure", "reset-before-request")
    assert (answer.status, line.attempts) == (503, 2 if covered else 1)


@every_leg
@pytest.mark.parametrize("token", GRPC)
def test_j7_statuses_of_grpc_in_the_head(bench: Bench, leg: Leg, token: str) -> None:
    origin = bench.origin(leg)
    for name, status in GRPC.items():
        origin.always(fields=[("content-type", "application/grpc"), ("grpc-status", str(status))], body=b"")
        mark = origin.mark()
        answer = bench.ask(leg, f"/on/{token}/", *CALL, method="POST", body=b"call")
        assert answer.value("grpc-status") == str(status)
        assert [asked.body for asked in origin.since(mark)] == [b"call"] * (2 if name == token else 1)


@every_client
def test_j7_a_stream_that_is_refused(bench: Bench, client: Leg) -> None:
    leg = Leg(client.client, "HTTP/2")
    bench.origin(leg).always(end="refuse")
    tries = {token: bench.ask_logged(leg, f"/on/{token}/")[1].attempts for token in TOKENS}
    assert {token for token, count in tries.items() if count == 2} == {"5xx", "gateway-error", "reset", "refused-stream"}


@every_leg
def test_j8_ratelimited_answers_are_not_asked_for_again(bench: Bench, leg: Leg) -> None:
    origin = bench.origin(leg)
    origin.always(503, fields=[("x-envoy-ratelimited", "true")])
    for target, tries in (("/three", 1), ("/ratelimited", 2)):
        mark = origin.mark()
        assert bench.ask(leg, target).status == 503
        assert len(origin.since(mark)) == tries, target


@every_leg
def test_j8_a_method_that_may_not_be_repeated(bench: Bench, leg: Leg) -> None:
    """Safer than Istio: what may have been done is not asked for again."""
    origin = bench.origin(leg)
    for said in (Say(503), Say(end="cut"), Say(end="reset")):
        origin.say = lambda asked, said=said: said
        for method, tries in (("POST", 1), ("PATCH", 1), ("PUT", 2), ("DELETE", 2)):
            mark = origin.mark()
            bench.ask(leg, "/on/5xx/", method=method, body=b"x")
            assert len(origin.since(mark)) == tries, (said, method)


# --- endpoints


@every_client
def test_j10_endpoints_that_have_been_tried_are_left_alone(bench: Bench, client: Leg) -> None:
    assert {answer.status for answer in bench.many(client, ["/pair"] * 40, at_once=1)} == {200}
    assert bench.others["bad"].seen, "both are asked"


@every_client
def test_j10_unless_the_route_does_not_mind(bench: Bench, client: Leg) -> None:
    """Both tries fail with probability 1/4: 100 requests without one come once in 3e12 runs."""
    assert 503 in {answer.status for answer in bench.many(client, ["/pair/any"] * 100, at_once=1)}


@every_client
def test_j10_a_hashed_request_stays_where_it_belongs(bench: Bench, client: Leg) -> None:
    """40 users: all of them at one endpoint come once in 5e11 runs."""
    users = [f"x-user: {number}" for number in range(40)]
    unlucky = [user for user in users if bench.ask(client, "/hashed", user).status == 503]
    assert 0 < len(unlucky) < len(users)
    mark = bench.others["bad"].mark()
    assert bench.ask(client, "/hashed", unlucky[0]).status == 503
    assert len(bench.others["bad"].since(mark)) == 2
    assert bench.ask(client, "/hashed/other", unlucky[0]).status == 200


# --- tries


@every_leg
def test_j11_a_try_that_takes_too_long(bench: Bench, leg: Leg) -> None:
    """It is tried again where a condition covers no answer; a time that is not shorter than the route's is none."""
    bench.origin(leg).always(end="silence")
    for target, attempts, flags, details in (
        ("/per-try/5xx", 2, {"UT", "URX"}, "upstream_per_try_timeout"),
        ("/per-try/connect", 1, {"UT"}, "upstream_per_try_timeout"),
        ("/longer", 1, {"UT"}, "upstream_response_timeout"),
    ):
        answer, line = bench.ask_logged(leg, target)
        assert (answer.status, line.attempts, line.flags, line.details) == (504, attempts, flags, details), target


@every_leg
@pytest.mark.parametrize(("size", "tries"), [(60_000, 2), (300_000, 1)])
def test_j12_bodies_that_are_kept(bench: Bench, leg: Leg, tmp_path: Path, size: int, tries: int) -> None:
    """64 KiB; larger ones are streamed and not sent again."""
    origin = bench.origin(leg)
    origin.say = lambda asked: Say(503) if asked.attempt == 1 else Say()
    (tmp_path / "body").write_bytes(b"b" * size)
    words = ["--http2-prior-knowledge"] if leg.client == "HTTP/2" else []
    words += ["--connect-to", f"::127.0.0.1:{bench.gateway.port()}", "-X", "PUT", "--data-binary", f"@{tmp_path / 'body'}"]
    mark = origin.mark()
    answer = curl(*words, f"http://{leg.host}/on/5xx/")
    assert [len(asked.body) for asked in origin.since(mark)] == [size] * tries
    assert answer.status == (200 if tries == 2 else 503)


@every_leg
def test_j13_the_upstream_is_told_which_try_it_is(bench: Bench, leg: Leg) -> None:
    origin = bench.origin(leg)
    origin.always(503)
    mark = origin.mark()
    bench.ask(leg, "/three", "x-envoy-attempt-count: 7")
    assert [asked.value("x-envoy-attempt-count") for asked in origin.since(mark)] == ["1", "2", "3"]


STEERING = {
    f"x-envoy-{name}"
    for name in (
        *("retry-on", "retry-grpc-on", "max-retries", "upstream-rq-timeout-ms", "upstream-rq-per-try-timeout-ms"),
        *("upstream-alt-stat-name", "upstream-rq-timeout-alt-response", "expected-rq-timeout-ms", "force-trace", "ip-tags"),
        *("original-url", "hedge-on-per-try-timeout", "retriable-status-codes", "retriable-header-names", "decorator-operation"),
        *("downstream-service-cluster", "downstream-service-node", "internal"),
    )
}


@every_leg
def test_j13_what_was_edited_is_sent_again_as_it_is(bench: Bench, leg: Leg) -> None:
    """Paths are rewritten and fields added once."""
    origin = bench.origin(leg)
    origin.say = lambda asked: Say(503) if asked.attempt < 3 else Say()
    mark = origin.mark()
    answer = bench.ask(leg, "/edited/x", "x-mine: 1", method="PUT", body=b"body")
    assert answer.values("x-add") == ["2"]
    seen = [(asked.target, asked.values("x-add"), asked.value("x-mine"), asked.body) for asked in origin.since(mark)]
    assert seen == [("/new/x", ["1"], "1", b"body")] * 3


@every_leg
def test_j14_clients_cannot_steer(bench: Bench, leg: Leg) -> None:
    values = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "5", "x-envoy-retriable-status-codes": "503"}
    fields = [f"{name}: {values.get(name, '1')}" for name in sorted(STEERING)]
    asked = bench.seen(leg, "/untimed", *fields)
    assert not {name for name, _ in asked.fields} & STEERING
    origin = bench.origin(leg)
    origin.always(503)
    mark = origin.mark()
    assert bench.ask(leg, "/untimed", *fields).status == 503
    assert len(origin.since(mark)) == 1


@every_leg
def test_j15_retries_of_a_cluster_at_the_same_time(bench: Bench, leg: Leg) -> None:
    """maxRetries: while one is under way, another request is not tried again."""
    bench.wait_idle()
    origin = bench.origin(leg)

    def say(asked: Asked) -> Say:
        return Say(503) if asked.attempt == 1 else Say(end="silence")

    origin.say = say
    mark = origin.mark()
    with bench.begun(leg, bench.own("/limited")) as first:
        eventually(lambda: [asked.attempt for asked in origin.since(mark)] == [1, 2], "a retry is under way")
        answer, line = bench.ask_logged(leg, "/limited")
        assert (answer.status, line.attempts, line.flags, line.details) == (503, 1, {"UO"}, "via_upstream")
        origin.release()
        assert first.answer().status == 200
    bench.wait_idle()
    origin.say = lambda asked: Say(503) if asked.attempt == 1 else Say()
    assert bench.ask(leg, "/limited").status == 200, "its place is free again"


# --- Istio's way


@pytest.fixture(scope="module")
def daring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """--retry-any-method."""

    def documents(_: dict[str, ScriptedOrigin]) -> list[Document]:
        return both(lambda service: [rule("/on/5xx/", route=to(service), retries=retry("5xx")), rule("/", route=to(service))])

    with running_bench(tmp_path_factory.mktemp("daring"), documents, options=["--retry-any-method"]) as running:
        yield running


@every_leg
@pytest.mark.parametrize(("status", "tries"), [(14, 3), (1, 3), (13, 1), (8, 1)])
def test_j4_calls_that_are_unavailable_or_cancelled(daring: Bench, leg: Leg, status: int, tries: int) -> None:
    origin = daring.origin(leg)
    origin.always(fields=[("content-type", "application/grpc"), ("grpc-status", str(status))], body=b"")
    mark = origin.mark()
    answer = daring.ask(leg, "/", *CALL, method="POST", body=b"call")
    assert answer.value("grpc-status") == str(status)
    assert [asked.body for asked in origin.since(mark)] == [b"call"] * tries


@every_leg
def test_j7_any_method(daring: Bench, leg: Leg) -> None:
    daring.origin(leg).always(503)
    for method in ("POST", "PATCH"):
        mark = daring.origin(leg).mark()
        assert daring.ask(leg, "/on/5xx/", method=method, body=b"x").status == 503
        assert [asked.body for asked in daring.origin(leg).since(mark)] == [b"x", b"x"]
