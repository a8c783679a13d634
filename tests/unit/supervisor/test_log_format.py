"""Access log formats compiled to the workers' program."""

from __future__ import annotations

import json

import pytest

from fastgw.model.values import FormatError
from fastgw.supervisor.log_format import JSON, compile_format

ISTIO_TEXT = [
    ("text", "["), ("start_time", ""), ("text", '] "'), ("method", ""), ("text", " "), ("path", ""), ("text", " "),
    ("protocol", ""), ("text", '" '), ("code", ""), ("text", " "), ("flags", ""), ("text", " "), ("details", ""),
    ("text", " "), ("termination_details", ""), ("text", ' "'), ("transport_failure", ""), ("text", '" '),
    ("bytes_received", ""), ("text", " "), ("bytes_sent", ""), ("text", " "), ("duration", ""), ("text", " "),
    ("upstream_service_time", ""), ("text", ' "'), ("request_header", "x-forwarded-for"), ("text", '" "'),
    ("request_header", "user-agent"), ("text", '" "'), ("request_id", ""), ("text", '" "'), ("authority", ""),
    ("text", '" "'), ("upstream_host", ""), ("text", '" '), ("upstream_cluster", ""), ("text", " "),
    ("upstream_local_address", ""), ("text", " "), ("downstream_local_address", ""), ("text", " "),
    ("downstream_remote_address", ""), ("text", " "), ("requested_server_name", ""), ("text", " "), ("route_name", ""),
    ("text", "\n"),
]  # fmt: skip
KEYS = [
    "start_time",
    "route_name",
    "method",
    "path",
    "protocol",
    "response_code",
    "response_flags",
    "response_code_details",
    "connection_termination_details",
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "upstream_transport_failure_reason",
]
"""Statement T3, in order."""
NUMBERS = {"code", "bytes_received", "bytes_sent", "duration"}


def run(program: list[tuple[str, str]]) -> str:
    """What a worker would write, with "<operation>" for a text and 7 for a number."""
    return "".join(
        argument
        if name == "text"
        else ""
        if name in ("json", "limit")
        else "7"
        if name in NUMBERS
        else f"<{name} {argument}>".replace(" >", ">")
        for name, argument in program
    )


def test_istios_line() -> None:
    assert compile_format("text") == ISTIO_TEXT


def test_istios_json_is_json_with_the_keys_in_order() -> None:
    line = run(compile_format("json"))
    assert line.endswith("}\n") and line.count("\n") == 1
    parsed = json.loads(line)
    assert list(parsed) == list(JSON) == KEYS
    assert (parsed["response_code"], parsed["duration"], parsed["method"]) == (7, 7, "<method>")


def test_json_mode_is_on_exactly_for_values() -> None:
    mode = False
    for name, argument in compile_format("json"):
        if name == "json":
            mode = argument == "ON"
        elif name == "text":
            assert not mode
        else:
            assert mode


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("%RESPONSE_CODE%", [("code", ""), ("text", "\n")]),
        ("100%% %PROTOCOL%\n", [("text", "100% "), ("protocol", ""), ("text", "\n")]),
        ("%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)% x", [("start_time", "%Y-%m-%dT%H:%M:%S.%3fZ"), ("text", " x\n")]),
        ("%START_TIME(%s.%f %%f)%", [("start_time", "%s.%9f %%f"), ("text", "\n")]),
        ("%REQ(X-A?X-B)%", [("request_header", "x-a?x-b"), ("text", "\n")]),
        ("%REQ(X-A):12%", [("limit", "12"), ("request_header", "x-a"), ("text", "\n")]),
        ("%RESP(Content-Type)%", [("response_header", "content-type"), ("text", "\n")]),
        ("%REQ(:AUTHORITY)%|%REQ(HOST)%", [("authority", ""), ("text", "|"), ("authority", ""), ("text", "\n")]),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", [("path", ""), ("text", "\n")]),
        ("%UPSTREAM_CLUSTER%%UPSTREAM_CLUSTER_RAW%", [("upstream_cluster", ""), ("upstream_cluster", ""), ("text", "\n")]),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", [("downstream_remote_address_without_port", ""), ("text", "\n")]),
        ("", [("text", "\n")]),
        ("plain ünïcode", [("text", "plain ünïcode\n")]),
    ],
)
def test_format_strings(text: str, program: list[tuple[str, str]]) -> None:
    assert compile_format(text) == program


def test_an_object_of_formats() -> None:
    line = run(
        compile_format('{"a \\"quoted\\" key": "x \\"%PROTOCOL%\\" y", "code": "%RESPONSE_CODE%", "mixed": "c=%RESPONSE_CODE%"}')
    )
    assert json.loads(line) == {'a "quoted" key': 'x "<protocol>" y', "code": 7, "mixed": "c=7"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%RESPONSE_COD%", "did you mean %RESPONSE_CODE%?"),
        ("%UPSTREAM_HOSTS%", "%UPSTREAM_HOST%"),
        ("%ZZZ%", "unknown operator %ZZZ%"),
        ("50% off", "%% is a percent sign"),
        ("%PROTOCOL", "%% is a percent sign"),
        ("%REQ%", "wants a header"),
        ("%REQ(a b)%", "not a header name"),
        ("%REQ(A?B?C)%", "not a header name"),
        ("%REQ(:STATUS)%", "pseudo headers"),
        ("%PROTOCOL(x)%", "takes no argument"),
        ("%START_TIME(%Y", "without )%"),
        ("%START_TIME(%Q)%", "unknown directive %Q"),
        ("%START_TIME(%3S)%", "unknown directive %3"),
        ("%START_TIME(%Y%)%", "unknown directive %"),
        ('{"a": {"b": "c"}}', "one level deep"),
    ],
)
def test_what_cannot_be_compiled_says_why(text: str, said: str) -> None:
    with pytest.raises(FormatError) as caught:
        compile_format(text)
    assert said in str(caught.value) and "--access-log-format" in str(caught.value)
