"""Access log formats: Envoy's format strings and Istio's two defaults, compiled to the flat program that workers run.

The operations are those of ``fastgw.model.log_program``. Pure: text in, program out.
"""

from __future__ import annotations

import json

from fastgw.model.log_program import Program
from fastgw.model.values import FormatError, parse_format

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

NUMBERS = {"code", "bytes_received", "bytes_sent", "duration"}
"""Operations whose value is a number and never missing: bare in JSON."""


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
    try:
        parts = parse_format(text)
    except FormatError as error:
        raise FormatError(f"--access-log-format: {error}") from None
    program: Program = []
    for part in parts:
        if part.limit is not None:
            program.append(("limit", str(part.limit)))
        written = in_json and part.operation in ("text", "start_time")
        # inside a JSON value the worker writes literal text as it stands, so it is escaped here
        program.append((part.operation, json.dumps(part.argument)[1:-1] if written else part.argument))
    return program


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
