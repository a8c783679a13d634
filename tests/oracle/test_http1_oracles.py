"""Three other parsers agree with ours on what is a message head, except where a listed, reasoned strictness differs.

Two directions. What we accept, they accept, with the same fields: each exception names the rule that they do not follow.
What we refuse and they accept is refused for a reason in ``STRICTER``, each with why an edge gateway must not be as kind.
"""

from __future__ import annotations

import pytest
from http1_oracles import REQUEST, RESPONSE, Answer
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import Case, load
from wire.native import Head, parse_request, parse_response

ALL = {"h11", "llhttp", "pico"}

STRICTER: dict[str, tuple[set[str], str]] = {
    "bad_request_line": (ALL, "single spaces and the word HTTP: doubled spaces, RTSP, one-word lines mean other things elsewhere"),
    "bad_method": ({"h11", "pico"}, "RFC 9110 5.6.2: a method is a token; ours is at most 32 bytes long"),
    "bad_target": (ALL, "B2, B14: origin-, absolute- or asterisk-form only, no bytes over 0x7E"),
    "target_fragment": (ALL, "B11: a fragment never goes on the wire"),
    "target_userinfo": (ALL, "B2: user@host is read as either host"),
    "target_scheme": (ALL, "B2: only http and https are served"),
    "target_host_mismatch": (ALL, "B3: two different authorities in one request"),
    "bad_version": (ALL, "B1: HTTP/1.0 and HTTP/1.1 only, two digits"),
    "http09": (ALL, "A21: no HTTP/0.9"),
    "bare_lf": (ALL, "A5: CRLF only; RFC 9112 2.2 lets a server be lenient, a gateway may not"),
    "bare_cr": ({"h11", "llhttp"}, "A5: RFC 9112 2.2, a bare CR is invalid anywhere"),
    "too_many_empty_lines": ({"llhttp", "pico"}, "A17: at most 8 before a request line"),
    "bad_field_name": ({"h11", "pico"}, "B7: a name is a token"),
    "space_before_colon": ({"h11", "pico"}, "RFC 9112 5.1: must be refused with 400"),
    "no_colon": ({"h11", "pico"}, "B7: a line without a colon hides a header"),
    "obs_fold": ({"h11", "pico"}, "RFC 9112 5.2: a server may refuse obs-fold, and folded lines are read in two ways"),
    "bad_field_value": ({"h11", "llhttp"}, "B8: RFC 9110 5.5 allows no controls but HTAB"),
    "no_host": ({"llhttp", "pico"}, "RFC 9112 3.2: Host is required in HTTP/1.1"),
    "duplicate_host": ({"llhttp", "pico"}, "RFC 9112 3.2: more than one Host is refused"),
    "bad_host": (ALL, "B5: Host is checked as host and port, they carry any value"),
    "bad_content_length": (ALL, "A3: digits only (pico does not look), at most 2^63-1"),
    "duplicate_content_length": (ALL, "A3: equal values too"),
    "content_length_and_transfer_encoding": ({"h11", "pico"}, "A1: never both"),
    "bad_transfer_encoding": ({"llhttp", "pico"}, "A2: the one token chunked"),
    "unknown_transfer_encoding": ({"llhttp", "pico"}, "A2: the one token chunked"),
    "transfer_encoding_in_http10": (ALL, "A10: HTTP/1.0 peers do not know it"),
    "body_in_http10": (ALL, "A11: old servers ignore such bodies"),
    "bad_expect": (ALL, "A18: only 100-continue, once"),
    "bad_connection": (ALL, "C1: options are tokens, at most 32, for their work is bounded"),
    "upgrade_with_body": (ALL, "A19: a request is an upgrade or has a body"),
    "method_not_allowed": (ALL, "A21: TRACE and TRACK reflect credentials"),
    "connect_not_allowed": (ALL, "A21: no forward proxy"),
    "h2_preface": (ALL, "A21: not HTTP/1"),
    "target_too_long": (ALL, "D3: 16 KiB"),
    "head_too_large": (ALL, "D1: 60 KiB"),
    "too_many_fields": (ALL, "D2: 100 fields"),
    "bad_status": (ALL, "H1: three digits, 100 to 599"),
}

LLHTTP_METHODS = set(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND "
    b"REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR "
    b"LINK UNLINK SOURCE QUERY".split()
)


def may_refuse(oracle: str, head: Head, data: bytes) -> bool:
    """True when the oracle refuses a head that we accept with good reason, because it is the one that leaves the RFC."""
    if oracle == "h11":  # takes no empty line before a request, and no 101 that its own request did not ask for
        return data.startswith(b"\r\n") or head.status == 101
    if oracle == "llhttp":  # knows a fixed list of methods
        return head.status == 0 and head.method not in LLHTTP_METHODS
    if head.status != 0:  # pico wants a space after the status code, and takes one empty line before a request
        return data[12:14] == b"\r\n"
    return data.startswith(b"\r\n\r\n")


def fields_of(head: Head, oracle: str) -> list[tuple[bytes, bytes]]:
    """Our fields in the oracle's form: h11 lower-cases the value of Transfer-Encoding."""
    fields = [(name.lower(), value) for name, value in head.fields]
    if oracle == "h11":
        fields = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in fields]
    return fields


def disagreement(oracle: str, head: Head, answer: Answer, data: bytes) -> str | None:
    """What is wrong with the pair of answers; None when they agree or their difference is listed."""
    if head.verdict == "ok":
        if isinstance(answer, list):
            return None if fields_of(head, oracle) == answer else f"fields differ: {head.fields} and {answer}"
        return None if answer is False and may_refuse(oracle, head, data) else f"we accept what {oracle} answers with {answer}"
    if head.verdict == "more":  # we judge fields when the head is whole, others earlier
        return f"{oracle} sees a whole head where we wait" if isinstance(answer, list) else None
    if answer is False:
        return None
    oracles, _ = STRICTER.get(head.verdict, (set(), ""))
    return None if oracle in oracles else f"we refuse ({head.verdict}) what {oracle} does not"


def check_request(data: bytes) -> None:
    head = parse_request(data)
    for name, oracle in REQUEST.items():
        problem = disagreement(name, head, oracle(data), data)
        assert problem is None, f"{problem}\n{data!r}"


def check_response(data: bytes) -> None:
    head = parse_response(data)
    for name, oracle in RESPONSE.items():
        problem = disagreement(name, head, oracle(data), data)
        assert problem is None, f"{problem}\n{data!r}"


@pytest.mark.parametrize("case", load("requests"), ids=lambda c: c.id)
def test_wire_requests(case: Case) -> None:
    check_request(case.data)


@pytest.mark.parametrize("case", load("responses"), ids=lambda c: c.id)
def test_wire_responses(case: Case) -> None:
    check_response(case.data)


def test_the_check_can_fail() -> None:
    good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    head = parse_request(good)
    assert disagreement("pico", head, False, good)
    assert disagreement("h11", head, None, good)
    assert disagreement("h11", head, [(b"host", b"b")], good)
    assert disagreement("llhttp", Head("space_before_colon"), [(b"host", b"a")], good)
    assert disagreement("h11", Head("more"), [(b"host", b"a")], good)
    assert disagreement("h11", Head("ok", fields=[]), [(b"host", b"a")], good)


@pytest.mark.parametrize(
    "reason", ["bare_lf", "bad_host", "target_fragment", "no_host", "obs_fold", "body_in_http10", "bad_status"]
)
def test_the_listed_strictness_is_real(reason: str) -> None:
    """For every oracle that is listed some wire case shows the difference, so that an entry cannot outlive its cause."""
    tables = [(load("requests"), REQUEST, parse_request), (load("responses"), RESPONSE, parse_response)]
    shown = {
        name
        for cases, oracles, parse in tables
        for case in cases
        if parse(case.data).verdict == reason
        for name, oracle in oracles.items()
        if oracle(case.data) is not False
    }
    assert shown, reason
    assert shown <= STRICTER[reason][0]


PIECES = [bytes([b]) for b in b'\r\n\t :\0\x7f\x80/?#,;=@[]\\%1a-_\x0b"(Z'] + [
    b"\r\n",
    b"\r\n\r\n",
    b"chunked",
    b"Host: a\r\n",
    b" HTTP/1.1\r\n",
]


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """A wire case with one to three bytes changed, added or taken away."""
    seeds = [case.data for case in load(name) if len(case.data) < 600]
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        width = draw(st.integers(0, 2))
        data[at : at + width] = draw(st.sampled_from([*PIECES, b""]))
    return bytes(data)


NAMES = [b"Host", b"X-A", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"TE", b"Upgrade", b"Accept", b"x_y"]
VALUES = [
    b"a",
    b"",
    b"5",
    b"0",
    b"chunked",
    b"close",
    b"keep-alive, x-a",
    b"100-continue",
    b"trailers",
    b"h2c",
    b"a:80",
    b"\xc3\xa9",
    b"a b\tc",
]
TARGETS = [b"/", b"/a?b=c", b"*", b"http://a/", b"https://a:443/x", b"//a/", b"/%41/../b", b"/a;b=c", b"a", b"http://b/", b"/\xff"]
METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"PROPFIND", b"CONNECT", b"TRACE", b"G@T"]


@st.composite
def composed(draw: st.DrawFn) -> bytes:
    """A request of well-formed lines whose meaning may be anything."""
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    line = b" ".join([draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS)), version])
    pairs = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=5))
    lines = [line, *([b"Host: a"] if draw(st.booleans()) else []), *(n + b": " + v for n, v in pairs)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@settings(max_examples=1500)
@given(mutated("requests"))
def test_mutated_requests(data: bytes) -> None:
    check_request(data)


@settings(max_examples=700)
@given(mutated("responses"))
def test_mutated_responses(data: bytes) -> None:
    check_response(data)


@settings(max_examples=1000)
@given(composed())
def test_composed_requests(data: bytes) -> None:
    check_request(data)
