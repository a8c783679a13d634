"""What values of the access log and of header fields are made of: Envoy's format language as a list of parts.

Both sides know the operations by these words; ``enum fgw_value`` of the route image numbers them in the same order:

- ``text`` ARG: the literal text
- ``start_time`` FORMAT: wall-clock start, strftime in UTC; "" is 2026-01-02T03:04:05.678Z
- ``method``, ``path`` (as sent, with query), ``protocol``, ``code``, ``flags`` and others of a request and its answer
- ``request_header`` NAME, ``response_header`` NAME: lower case; NAME?OTHER is the other one where the first is missing,
  of a request maybe a pseudo header
- ``tls_*``, ``peer_*``, ``local_*``: of TLS with the client, and of both certificates
- ``grpc_status``, ``grpc_status_snake``, ``grpc_status_number``: DeadlineExceeded, DEADLINE_EXCEEDED, 4

Pure: text in, parts out; errors name the operator and the nearest one.
"""

from __future__ import annotations

import difflib
import re

import msgspec

OPERATIONS = (
    "text", "start_time", "method", "path", "protocol", "code", "flags", "details", "termination_details", "transport_failure",
    "bytes_received", "bytes_sent", "duration", "upstream_service_time", "authority", "scheme", "request_id", "request_header",
    "response_header", "upstream_host", "upstream_cluster", "upstream_local_address", "downstream_local_address",
    "downstream_local_address_without_port", "downstream_local_port", "downstream_direct_remote_address",
    "downstream_direct_remote_address_without_port", "downstream_direct_remote_port", "downstream_remote_address",
    "downstream_remote_address_without_port", "downstream_remote_port", "route_name", "virtual_service", "reject_reason",
    "attempts", "listener", "requested_server_name", "tls_version", "tls_cipher", "tls_session_id", "peer_subject",
    "peer_issuer", "peer_uri_san", "peer_dns_san", "peer_serial", "peer_fingerprint_256", "peer_fingerprint_1", "peer_cert",
    "peer_cert_v_start", "peer_cert_v_end", "local_subject", "local_uri_san", "local_dns_san", "grpc_status",
    "grpc_status_snake", "grpc_status_number",
)  # fmt: skip

_CONNECTION = (
    "tls_version", "tls_cipher", "tls_session_id", "peer_subject", "peer_issuer", "peer_uri_san", "peer_dns_san", "peer_serial",
    "peer_fingerprint_256", "peer_fingerprint_1", "peer_cert", "peer_cert_v_start", "peer_cert_v_end", "local_subject",
    "local_uri_san", "local_dns_san",
)  # fmt: skip

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
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "downstream_local_address_without_port",
    "DOWNSTREAM_LOCAL_PORT": "downstream_local_port",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "downstream_direct_remote_address",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": "downstream_direct_remote_address_without_port",
    "DOWNSTREAM_DIRECT_REMOTE_PORT": "downstream_direct_remote_port",
    "DOWNSTREAM_REMOTE_ADDRESS": "downstream_remote_address",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "downstream_remote_address_without_port",
    "DOWNSTREAM_REMOTE_PORT": "downstream_remote_port",
    "REQUESTED_SERVER_NAME": "requested_server_name",
    "ROUTE_NAME": "route_name",
    "VIRTUAL_SERVICE": "virtual_service",
    "REJECT_REASON": "reject_reason",
    "LISTENER": "listener",
    "STREAM_ID": "request_id",
    "GRPC_STATUS": "grpc_status",
    "GRPC_STATUS_NUMBER": "grpc_status_number",
    **{f"DOWNSTREAM_{name.upper()}": name for name in _CONNECTION},
}
"""Envoy's operators without an argument; VIRTUAL_SERVICE, REJECT_REASON and LISTENER are the gateway's own."""

WITH_ARGUMENT = ("START_TIME", "REQ", "RESP", "REQUEST_HEADER", "RESPONSE_HEADER")

PSEUDO = {
    ":method": "method",
    ":path": "path",
    ":authority": "authority",
    ":scheme": "scheme",
    "host": "authority",
    "x-request-id": "request_id",
}
# the gateway keeps the path as it was sent, which is what Envoy saves in this header before a rewrite
_ORIGINAL_PATH = "x-envoy-original-path"
_GRPC_STATUS = {"CAMEL_STRING": "grpc_status", "SNAKE_STRING": "grpc_status_snake", "NUMBER": "grpc_status_number"}
_OPERATOR = re.compile(r"%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::([0-9]+))?%")
_HEADER_NAME = re.compile(r":?[A-Za-z0-9!#$&'*+.^_`|~-]+")
_TIME_DIRECTIVE = re.compile(r"%(?:[1-9]?f|[aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyYzZ%])")


class FormatError(ValueError):
    """A format that cannot be compiled; the text says where and offers the nearest operator."""


class UnknownOperator(FormatError):
    """It may be one of Envoy's that means nothing here."""


class Part(msgspec.Struct, frozen=True):
    """A piece of a value. ``limit``: so many bytes of it at the most (before escaping)."""

    operation: str
    argument: str = ""
    limit: int | None = None


def parse_format(text: str) -> list[Part]:
    """The parts of a format string, literal ones joined. Raises FormatError."""
    parts: list[Part] = []
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        end = len(text) if percent < 0 else percent
        if end > position:
            _add(parts, Part("text", text[position:end]))
        if percent < 0:
            break
        part, position = _operator_at(text, percent)
        _add(parts, part)
    return parts


def format_text(parts: tuple[Part, ...] | list[Part]) -> str:
    """For people: the text with its operators, as Envoy writes them."""
    return "".join(_part_text(part) for part in parts)


def _part_text(part: Part) -> str:
    if part.operation == "text":
        return part.argument.replace("%", "%%")
    limit = "" if part.limit is None else f":{part.limit}"
    if part.operation == "start_time":
        return f"%START_TIME({part.argument})%" if part.argument else "%START_TIME%"
    if part.operation.endswith("_header"):
        return f"%{'REQ' if part.operation == 'request_header' else 'RESP'}({part.argument}){limit}%"
    return f"%{_NAMES[part.operation]}{limit}%"


_NAMES = {
    **{operation: name for name, operation in reversed(OPERATORS.items())},
    **{operation: f"REQ({name.upper()})" for name, operation in reversed(PSEUDO.items())},
    "upstream_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
    "grpc_status_snake": "GRPC_STATUS(SNAKE_STRING)",
}


def _add(parts: list[Part], part: Part) -> None:
    if part.operation == "text" and parts and parts[-1].operation == "text":
        part = Part("text", parts.pop().argument + part.argument)
    parts.append(part)


def _operator_at(text: str, start: int) -> tuple[Part, int]:
    """The operator that starts at this percent sign, and where the text goes on."""
    if text.startswith("%%", start):
        return Part("text", "%"), start + 2
    if text.startswith("%START_TIME(", start):
        return _start_time_at(text, start)
    found = _OPERATOR.match(text, start)
    if found is None:
        raise FormatError(f"not an operator at {text[start : start + 24]!r} (%% is a percent sign)")
    name, argument, limit = found.groups()
    operation, value = _operation(name, argument)
    return Part(operation, value, None if limit is None else int(limit)), found.end()


def _start_time_at(text: str, start: int) -> tuple[Part, int]:
    """%START_TIME(FORMAT)%: the format holds percent signs of its own, so it ends at the first ")%"."""
    end = text.find(")%", start)
    if end < 0:
        raise FormatError("%START_TIME( without )%")
    argument = text[start + len("%START_TIME(") : end]
    wrong = _TIME_DIRECTIVE.sub("", argument).partition("%")
    if wrong[1]:
        raise FormatError(f"START_TIME: unknown directive %{wrong[2][:1]}")
    # the number of digits may be left out, then it is nanoseconds
    return Part("start_time", re.sub(r"(?<!%)((?:%%)*)%f", r"\1%9f", argument)), end + 2


def _operation(name: str, argument: str | None) -> tuple[str, str]:
    if name in ("REQ", "REQUEST_HEADER", "RESP", "RESPONSE_HEADER"):
        if not argument:
            raise FormatError(f"%{name}% wants a header: %{name}(NAME)%")
        return _header(argument, response=name.startswith("RESP"))
    if name == "START_TIME":
        return "start_time", ""
    if name == "GRPC_STATUS" and argument is not None:
        if argument not in _GRPC_STATUS:
            raise FormatError(f"%GRPC_STATUS({argument})%: wanted one of {', '.join(_GRPC_STATUS)}")
        return _GRPC_STATUS[argument], ""
    operation = OPERATORS.get(name)
    if operation is None:
        nearest = difflib.get_close_matches(name, [*OPERATORS, *WITH_ARGUMENT], 1, 0.5)
        hint = f"; did you mean %{nearest[0]}%?" if nearest else ""
        raise UnknownOperator(f"unknown operator %{name}%{hint}")
    if argument is not None:
        raise FormatError(f"%{name}% takes no argument")
    return operation, ""


def _header(argument: str, response: bool) -> tuple[str, str]:
    names = [part.strip().lower() for part in argument.split("?")]
    if len(names) > 2 or not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise FormatError(f"{argument!r} is not a header name, or two with ? between")
    if response:
        if names == ["x-envoy-upstream-service-time"]:
            return "upstream_service_time", ""
        return "response_header", "?".join(names)
    if names[0] == _ORIGINAL_PATH:
        names = names[1:] or [":path"]
    if names[0] in PSEUDO:
        return PSEUDO[names[0]], ""  # it is always there, so that another one is never looked for
    names = [":authority" if name == "host" else name for name in names]
    if any(name.startswith(":") and name not in PSEUDO for name in names):
        raise FormatError(f"{argument!r}: pseudo headers are :method, :path, :scheme and :authority")
    return "request_header", "?".join(names)
