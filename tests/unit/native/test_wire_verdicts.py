"""The verdicts of tests/wire through cffi: the view that the control side and the other tests have of the parsers."""

from __future__ import annotations

import pytest
from wire import Case, load
from wire.native import lib, parse_h2_request, parse_request, parse_response, reason, request_verdict, response_verdict

REASONS = {reason(-code): code for code in range(lib.FGW_R_COUNT)}


def is_owed(case: Case) -> bool:
    """The verdict in the data is what the gateway owes; a head or body cut off by the sender ("more") is refused at its end."""
    head, _, body = case.verdict.partition("/")
    if case.owed == "accept":
        return head == "ok" and body in ("", "ok")
    if case.owed == "reject":
        return head != "ok"
    if case.owed == "reject-body":
        return head == "ok" and body not in ("", "ok")
    return case.owed == "either"


@pytest.mark.parametrize("case", load("requests"), ids=lambda c: c.id)
def test_request(case: Case) -> None:
    assert is_owed(case)
    assert request_verdict(case.data) == case.verdict
    assert request_verdict(case.data, scalar=True) == case.verdict


@pytest.mark.parametrize("case", load("responses"), ids=lambda c: c.id)
def test_response(case: Case) -> None:
    assert is_owed(case)
    assert response_verdict(case.data) == case.verdict
    assert response_verdict(case.data, scalar=True) == case.verdict


@pytest.mark.parametrize("case", load("h2_requests"), ids=lambda c: c.id)
def test_h2_request(case: Case) -> None:
    assert is_owed(case)
    assert parse_h2_request(case.data).verdict == case.verdict


def test_h2_request_reads_as_http1_does() -> None:
    one = parse_h2_request(b".:method=GET|:scheme=https|:path=/a?b|:authority=a.test:80|cookie=c|x_b=2")
    other = parse_request(b"GET /a?b HTTP/1.1\r\ncookie: c\r\nx_b: 2\r\nhost: a.test:80\r\n\r\n")
    one.used = other.used = 0
    assert one == other


def test_ids_are_unique() -> None:
    for name in ("requests", "responses", "h2_requests"):
        ids = [case.id for case in load(name)]
        assert len(ids) == len(set(ids)) and len(ids) > 20


def test_every_refused_request_has_a_status() -> None:
    for case in [*load("requests"), *load("h2_requests")]:
        head = case.verdict.partition("/")[0]
        if head not in ("ok", "more"):
            assert lib.fgw_reason_status(REASONS[head]) in (400, 405, 414, 417, 431, 501, 505), case.id


def test_fields_are_seen_with_ids_and_flags() -> None:
    head = parse_request(b"GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nConnection: x-a\r\nX-A: 1\r\nx_b: 2\r\n\r\n")
    assert head.fields == [(b"Host", b"a.test:80"), (b"Connection", b"x-a"), (b"X-A", b"1"), (b"x_b", b"2")]
    assert head.ids == [lib.FGW_HDR_HOST, lib.FGW_HDR_CONNECTION, 0, 0]
    assert head.field_flags == [0, 0, lib.FGW_FIELD_LISTED, lib.FGW_FIELD_UNDERSCORE]
    assert (head.path, head.query, head.host) == (b"/a", b"b", b"a.test")


def test_limits_and_leniencies_come_from_the_caller() -> None:
    data = b"GET /abcdef HTTP/1.1\nHost: a\nX: y\n\n"
    assert parse_request(data).verdict == "bare_lf"
    lenient = parse_request(data, leniency=lib.FGW_LENIENT_LF_IN_HEAD)
    assert lenient.verdict == "ok" and lenient.leniencies == lib.FGW_LENIENT_LF_IN_HEAD
    assert parse_request(data, leniency=1, target_bytes=6).verdict == "target_too_long"
    assert parse_request(data, leniency=1, fields=1).verdict == "too_many_fields"
    assert parse_request(data, leniency=1, head_bytes=20).verdict == "head_too_large"
    assert parse_response(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", head_bytes=20).verdict == "head_too_large"
