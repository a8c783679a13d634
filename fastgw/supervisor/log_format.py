"""Access log formats: Envoy's format strings and Istio's two defaults, compiled to the flat program that workers run.

The operations are those of ``fastgw.model.log_program``. Pure: text in, program out, errors name the operator and the nearest one.
"""

from __future__ import annotations

import difflib
import json
import re

from fastgw.model.log_program import Program

TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% '
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" '
    "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's default line (statement T2)."""

JSON = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
"""Istio's default JSON keys, in order (statement T3)."""

OPERATORS = {
    "PROTOCOL": "protocol",
    "RESPONSE_CODE": "code",
    "RESPONSE_FLAGS": "flags",
    "RESPONSE_CODE_DETAILS": "details",
    "CONNECTION_TERMINATION_DETAILS": "termination_details",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": "transport_failure",
    "BYTES_RECEIVED": "bytes_received",
    "BYTES_SENT": "bytes_sent",
    "DURATION": "duration",
    "UPSTREAM_HOST": "upstream_host",
    "UPSTREAM_REMOTE_ADDRESS": "upstream_host",
    "UPSTREAM_CLUSTER": "upstream_cluster",
    "UPSTREAM_CLUSTER_RAW": "upstream_cluster",
    "UPSTREAM_LOCAL_ADDRESS": "upstream_local_address",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": "attempts",
    "DOWNSTREAM_LOCAL_ADDRESS": "downstream_local_address",
    "DOWNSTREAM_REMOTE_ADDRESS": "downstream_remote_address",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "downstream_remote_address_without_port",
    "DOWNSTREAM_REMOTE_PORT": "downstream_remote_port",
    "REQUESTED_SERVER_NAME": "requested_server_name",
    "ROUTE_NAME": "route_name",
    "VIRTUAL_SERVICE": "virtual_service",
    "REJECT_REASON": "reject_reason",
    "LISTENER": "listener",
    "STREAM_ID": "request_id",
}
"""Envoy's operators without an argument; the last four but STREAM_ID are the gateway's own."""

WITH_ARGUMENT = ("START_TIME", "REQ", "RESP", "REQUEST_HEADER", "RESPONSE_HEADER")
NUMBERS = {"code", "bytes_received", "bytes_sent", "duration"}
"""Operations whose value is a number and never missing: bare in JSON."""

_PSEUDO = {":method": "method", ":path": "path", ":authority": "authority", "host": "authority", "x-request-id": "request_id"}
# the gateway keeps the path as it was sent, which is what Envoy saves in this header before a rewrite
_ORIGINAL_PATH = "x-envoy-original-path"
_OPERATOR = re.compile(r"%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::([0-9]+))?%")
_HEADER_NAME = re.compile(r":?[A-Za-z0-9!#$&'*+.^_`|~-]+")
_TIME_DIRECTIVE = re.compile(r"%(?:[1-9]?f|[aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyYzZ%])")


class FormatError(ValueError):
    """A format that cannot be compiled; the text says where and offers the nearest operator."""


def compile_format(text: str) -> Program:
    """``text``, ``json``, a JSON object of formats, or a format string (a line's end is added when it has none)."""
    if text == "text":
        return _merge(_line(TEXT))
    if text == "json":
        return _object(JSON)
    fields = _as_object(text)
    if fields is not None:
        return _object(fields)
    return _merge(_line(text if text.endswith("\n") else text + "\n"))


def _as_object(text: str) -> dict[str, str] | None:
    """The format as JSON object of formats, None when it is a plain line."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise FormatError("--access-log-format: a JSON format is an object of texts, one level deep")
    return fields


def _object(fields: dict[str, str]) -> Program:
    program: Program = [("text", "{")]
    for index, (key, value) in enumerate(fields.items()):
        program.append(("text", f"{',' if index else ''}{json.dumps(key)}:"))
        body = _line(value, in_json=True)
        if len(body) == 1 and body[0][0] in NUMBERS:
            program += [("json", "ON"), *body, ("json", "OFF")]
        else:
            program += [("text", '"'), ("json", "ON"), *body, ("json", "OFF"), ("text", '"')]
    program.append(("text", "}\n"))
    return _merge(program)


def _line(text: str, in_json: bool = False) -> Program:
    program: Program = []
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        end = len(text) if percent < 0 else percent
        if end > position:
            program.append(("text", _literal(text[position:end], in_json)))
        if percent < 0:
            break
        position = _operator_at(text, percent, program, in_json)
    return program


def _literal(text: str, in_json: bool) -> str:
    # inside a JSON value the worker writes literal text as it stands, so it is escaped here
    return json.dumps(text)[1:-1] if in_json else text


def _operator_at(text: str, start: int, program: Program, in_json: bool) -> int:
    """Append the operator that starts at this percent sign; where the text goes on."""
    if text.startswith("%%", start):
        program.append(("text", "%"))
        return start + 2
    if text.startswith("%START_TIME(", start):
        return _start_time_at(text, start, program, in_json)
    found = _OPERATOR.match(text, start)
    if found is None:
        raise FormatError(f"--access-log-format: not an operator at {text[start : start + 24]!r} (%% is a percent sign)")
    name, argument, limit = found.groups()
    if limit is not None:
        program.append(("limit", limit))
    program.append(_operation(name, argument))
    return found.end()


def _start_time_at(text: str, start: int, program: Program, in_json: bool) -> int:
    """%START_TIME(FORMAT)%: the format holds percent signs of its own, so it ends at the first ")%"."""
    end = text.find(")%", start)
    if end < 0:
        raise FormatError("--access-log-format: %START_TIME( without )%")
    argument = text[start + len("%START_TIME(") : end]
    wrong = _TIME_DIRECTIVE.sub("", argument).partition("%")
    if wrong[1]:
        raise FormatError(f"--access-log-format: START_TIME: unknown directive %{wrong[2][:1]}")
    # the number of digits may be left out, then it is nanoseconds
    program.append(("start_time", _literal(re.sub(r"(?<!%)((?:%%)*)%f", r"\1%9f", argument), in_json)))
    return end + 2


def _operation(name: str, argument: str | None) -> tuple[str, str]:
    if name in ("REQ", "REQUEST_HEADER", "RESP", "RESPONSE_HEADER"):
        if not argument:
            raise FormatError(f"--access-log-format: %{name}% wants a header: %{name}(NAME)%")
        return _header(argument, response=name.startswith("RESP"))
    if name == "START_TIME":
        return "start_time", ""
    operation = OPERATORS.get(name)
    if operation is None:
        nearest = difflib.get_close_matches(name, [*OPERATORS, *WITH_ARGUMENT], 1, 0.5)
        hint = f"; did you mean %{nearest[0]}%?" if nearest else ""
        raise FormatError(f"--access-log-format: unknown operator %{name}%{hint}")
    if argument is not None:
        raise FormatError(f"--access-log-format: %{name}% takes no argument")
    return operation, ""


def _header(argument: str, response: bool) -> tuple[str, str]:
    names = [part.strip().lower() for part in argument.split("?")]
    if len(names) > 2 or not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise FormatError(f"--access-log-format: {argument!r} is not a header name, or two with ? between")
    if response:
        if names == ["x-envoy-upstream-service-time"]:
            return "upstream_service_time", ""
        return "response_header", "?".join(names)
    if names[0] == _ORIGINAL_PATH:
        names = names[1:] or [":path"]
    if len(names) == 1 and names[0] in _PSEUDO:
        return _PSEUDO[names[0]], ""
    if any(name.startswith(":") for name in names):
        raise FormatError(f"--access-log-format: {argument!r}: pseudo headers are :method, :path and :authority, and stand alone")
    return "request_header", "?".join(names)


def _merge(program: Program) -> Program:
    """Adjacent literal texts become one, also over a switch of mode that has no value in between."""
    merged: Program = []
    for operation in program:
        if operation == ("json", "OFF") and merged and merged[-1] == ("json", "ON"):
            merged.pop()
        elif operation[0] == "text" and merged and merged[-1][0] == "text":
            merged[-1] = ("text", merged[-1][1] + operation[1])
        else:
            merged.append(operation)
    return merged
