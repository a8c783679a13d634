"""Header fields after the edits of a rule, as far as they can be told without an upstream: for explain and route tests.

An operator whose value only traffic can tell (%START_TIME%, %DOWNSTREAM_PEER_SUBJECT%, ...) stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from fastgw.image.asked import Asked
from fastgw.model.plan import Action, HeaderEdit, Rule, WeightedDestination
from fastgw.model.values import PSEUDO, Part, format_text

Fields = list[tuple[str, str]]
"""Names in lower case, repeated ones as often as they are sent."""


class Outcome(msgspec.Struct, frozen=True):
    """What the upstream gets, and what is done to its answer (or the gateway's own). Repeated fields are joined with ","."""

    authority: str
    request_headers: dict[str, str]
    response_headers: dict[str, str]


def outcome_of(asked: Asked, rule: Rule, destination: WeightedDestination, listener: str) -> Outcome:
    """For one destination of the rule that takes a request."""
    request, response = edited_fields(asked, rule, destination, listener)
    authority = authority_of(rule.action, destination) or asked.authority
    return Outcome(authority, joined(request) | {"host": authority}, joined(response))


def answer_headers(asked: Asked, rule: Rule, listener: str, location: str) -> dict[str, str]:
    """Of an answer that the gateway gives itself."""
    fields = [("content-type", "text/plain")] if rule.action.answer is not None and rule.action.answer.body else []
    fields += [("location", location)] if location else []
    return joined(edited_fields(asked, rule, WeightedDestination("", 0), listener, fields)[1])


def edited_fields(
    asked: Asked, rule: Rule, destination: WeightedDestination, listener: str, answered: Sequence[tuple[str, str]] = ()
) -> tuple[Fields, Fields]:
    """The fields of the request and of its answer, which has ``answered`` as the upstream sends it."""
    action = rule.action
    fixed = {
        "method": asked.method,
        "path": asked.target,
        "protocol": "HTTP/1.1",
        "authority": asked.authority,
        "scheme": asked.scheme,
        "route_name": rule.name,
        "virtual_service": rule.virtual_service.key,
        "upstream_cluster": destination.cluster,
        "listener": listener,
    }
    fixed |= {"requested_server_name": asked.sni} if asked.sni else {}
    fixed |= {"downstream_remote_address_without_port": asked.source_ip} if asked.source_ip else {}
    request: Fields = list(asked.headers)
    response: Fields = list(answered)
    for block in (destination.edits.request, action.edits.request):
        request = _after(block, request, lambda part, fields: _value(part, fixed, fields, []))
    for block in (destination.edits.response, action.edits.response):
        response = _after(block, response, lambda part, fields: _value(part, fixed, request, fields))
    return request, response


def authority_of(action: Action, destination: WeightedDestination) -> str:
    """The host that is set for the upstream, "" for the client's (K7)."""
    return action.edits.authority or destination.edits.authority


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    together: dict[str, str] = {}
    for name, value in fields:
        together[name] = f"{together[name]},{value}" if name in together else value
    return together


def _after(block: tuple[HeaderEdit, ...], fields: Fields, value_of: Callable[[Part, Fields], str]) -> Fields:
    """Removals, then all values, then what is set and added (K2); an empty value changes nothing (K4)."""
    removed = {edit.name for edit in block if edit.kind == "remove"}
    left = [(name, value) for name, value in fields if name not in removed]
    written = [(edit, "".join(value_of(part, left) for part in edit.value)) for edit in block if edit.kind != "remove"]
    for edit, value in written:
        if not value:
            continue
        if edit.kind == "set":
            left = [field for field in left if field[0] != edit.name]
        left = [*left, (edit.name, value)]
    return left


def _value(part: Part, fixed: dict[str, str], request: Fields, response: Fields) -> str:
    if part.operation == "text":
        return part.argument
    if part.operation.endswith("_header"):
        fields = request if part.operation == "request_header" else response
        pseudo = [(name, fixed[operation]) for name, operation in PSEUDO.items() if name.startswith(":")]
        known = fields + pseudo if part.operation == "request_header" else fields
        value = next((value for wanted in part.argument.split("?") for name, value in known if name == wanted), "")
    else:
        found = fixed.get(part.operation)
        if found is None:
            return format_text([part])
        value = found
    return value if part.limit is None else value.encode()[: part.limit].decode(errors="replace")
