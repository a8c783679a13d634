"""Envoy's format language: text to parts and back; the numbers that the image has for the words."""

from __future__ import annotations

import pytest

from fastgw.image.layout import VALUES, lib
from fastgw.model.values import OPERATIONS, OPERATORS, FormatError, Part, UnknownOperator, format_text, parse_format


def test_words_and_numbers_are_in_one_order() -> None:
    assert list(VALUES.values()) == list(range(len(OPERATIONS)))
    assert len(OPERATIONS) == lib.FGW_VALUE_COUNT


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("plain", [Part("text", "plain")]),
        ("100%% of %%", [Part("text", "100% of %")]),
        ("%REQ(X-Id)%", [Part("request_header", "x-id")]),
        ("%REQ(X-Id?Other):8%", [Part("request_header", "x-id?other", 8)]),
        ("%REQ(:AUTHORITY)%%REQ(host)%", [Part("authority"), Part("authority")]),
        ("%REQ(:SCHEME)%", [Part("scheme")]),
        ("%REQ(X-Host?:AUTHORITY)%%REQ(x-host?Host)%", [Part("request_header", "x-host?:authority")] * 2),
        ("%REQ(:path?x)%", [Part("path")]),
        ("<%PROTOCOL%>", [Part("text", "<"), Part("protocol"), Part("text", ">")]),
        ("%START_TIME%", [Part("start_time")]),
        ("%START_TIME(%s.%3f)%!", [Part("start_time", "%s.%3f"), Part("text", "!")]),
        ("%DOWNSTREAM_PEER_SUBJECT%", [Part("peer_subject")]),
        ("%DOWNSTREAM_TLS_VERSION%/%DOWNSTREAM_LOCAL_URI_SAN%", [Part("tls_version"), Part("text", "/"), Part("local_uri_san")]),
    ],
)
def test_parts(text: str, parts: list[Part]) -> None:
    assert parse_format(text) == parts


@pytest.mark.parametrize(
    "text", ["%", "a%b", "%REQ%", "%PROTOCOL(x)%", "%REQ(a b)%", "%REQ(a?:status)%", "%START_TIME(%Q)%", "%req(x)%"]
)
def test_what_is_no_format(text: str) -> None:
    with pytest.raises(FormatError):
        parse_format(text)


def test_an_unknown_operator_has_a_kind_of_its_own() -> None:
    with pytest.raises(UnknownOperator, match="did you mean %DOWNSTREAM_PEER_SUBJECT%"):
        parse_format("%DOWNSTREAM_PEER_SUBJEKT%")


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_shown_in_a_form_that_is_read_again(name: str) -> None:
    parts = parse_format(f"%{name}%%%")
    assert parse_format(format_text(parts)) == parts


@pytest.mark.parametrize(
    "text", ["%REQ(:method)%", "%RESP(a?b)%", "%REQ(a):3%", "%START_TIME(%Y)%", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"]
)
def test_others_are_so_too(text: str) -> None:
    parts = parse_format(text)
    assert parse_format(format_text(parts)) == parts
