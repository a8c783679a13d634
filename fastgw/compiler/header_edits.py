"""The ``headers`` of an http route and of its destinations -> what is done to requests and answers (section K).

Within one block removals come first, then what is set, then what is added, each in the order of names (K2, K3). A lone
destination's operations follow those of its route in one block (K5); of several destinations each has its own block, and the
route's comes after it (K6). ``host`` and ``:authority`` are no fields here but what the upstream sees as the host (K7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from fastgw.model.kinds.http_route import HeaderOperations, Headers, HttpRoute
from fastgw.model.plan import NO_EDITS, Edits, HeaderEdit
from fastgw.model.values import FormatError, parse_format

HOST_NAMES = frozenset(("host", ":authority"))
CONNECTION_NAMES = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
     "http2-settings", "expect")
)  # fmt: skip
"""Fields that frame a message or are about one connection: each side has its own, which an edit cannot change."""
SERVER_NAMES = frozenset(("server",))
MAX_NAME_BYTES = 1024
_NONE = Headers()
_HOST = re.compile(r"[!-~]+")


class Problem(msgspec.Struct, frozen=True):
    """Something that is left out. ``field``: inside the http route. ``matters``: the request must not go on without it."""

    field: str
    words: str
    matters: bool = False


class RouteEdits(msgspec.Struct, frozen=True):
    """``destinations``: by the position of the destination in the route."""

    route: Edits
    destinations: tuple[Edits, ...]
    problems: tuple[Problem, ...]


def edits_of(route: HttpRoute) -> RouteEdits:
    """What the headers of a route and of its destinations come to."""
    if route.headers is None and route.rewrite is None and all(entry.headers is None for entry in route.route):
        return RouteEdits(NO_EDITS, (NO_EDITS,) * len(route.route), ())
    problems: list[Problem] = []
    blocks = [(route.headers or _NONE, ".headers")]
    others = [(entry.headers or _NONE, f".route[{index}].headers") for index, entry in enumerate(route.route)]
    alone = len(others) == 1
    own = _edits(blocks + others if alone else blocks, problems)
    each = tuple(NO_EDITS if alone else _edits([other], problems) for other in others)
    if route.rewrite is not None and route.rewrite.authority:
        authority = _usable_host(route.rewrite.authority, ".rewrite.authority", problems)
        own = msgspec.structs.replace(own, authority=authority)
    return RouteEdits(own, each, tuple(problems))


def _edits(blocks: list[tuple[Headers, str]], problems: list[Problem]) -> Edits:
    requests = [(block.request, f"{field}.request") for block, field in blocks if block.request]
    responses = [(block.response, f"{field}.response") for block, field in blocks if block.response]
    hosts = [host for operations, field in requests for host in _hosts(operations, field, problems)]
    return Edits(_block(requests, problems), _block(responses, problems), hosts[0] if hosts else "")


def _hosts(operations: HeaderOperations, field: str, problems: list[Problem]) -> list[str]:
    """The values of ``host`` and ``:authority``, which are taken literally."""
    return [
        _usable_host(value, f"{field}.{kind}.{name}", problems)
        for kind, values in (("set", operations.set), ("add", operations.add))
        for name, value in sorted(values.items())
        if _is_host(name) and value
    ]


def _usable_host(host: str, field: str, problems: list[Problem]) -> str:
    if not _HOST.fullmatch(host):
        problems.append(Problem(field, f'"{host}" cannot be the host of a request', matters=True))
    return host


def _is_host(name: str) -> bool:
    return name.lower() in HOST_NAMES


def _block(sources: Iterable[tuple[HeaderOperations, str]], problems: list[Problem]) -> tuple[HeaderEdit, ...]:
    listed = list(sources)
    removed = [edit for operations, field in listed for edit in _removals(operations, field, problems)]
    written = [
        edit
        for kind in ("set", "add")
        for operations, field in listed
        for edit in _written(kind, getattr(operations, kind), f"{field}.{kind}", problems)
    ]
    return tuple(removed + written)


def _removals(operations: HeaderOperations, field: str, problems: list[Problem]) -> Iterator[HeaderEdit]:
    for index, name in enumerate(operations.remove):
        if _is_editable(name, f"{field}.remove[{index}]", problems):
            yield HeaderEdit("remove", name.lower())


def _written(kind: str, values: dict[str, str], field: str, problems: list[Problem]) -> Iterator[HeaderEdit]:
    for name, value in sorted(values.items()):
        if _is_host(name) and ".request." in field:
            continue
        here = f"{field}.{name}"
        if not value or not _is_editable(name, here, problems):
            continue
        try:
            parts = tuple(parse_format(value))
        except FormatError as error:
            # what a client sends in its place would be believed
            problems.append(Problem(here, f"this value cannot be made, {error}", matters=kind == "set" and ".request." in field))
        else:
            yield HeaderEdit(kind, name.lower(), parts)


def _is_editable(name: str, field: str, problems: list[Problem]) -> bool:
    lower = name.lower()
    if lower in CONNECTION_NAMES:
        problems.append(
            Problem(field, f"{lower} belongs to one connection, each side has its own: no edit changes it", matters=False)
        )
    elif lower in SERVER_NAMES and ".response." in field:
        problems.append(Problem(field, "server is written by the gateway, see --server-header: no edit changes it", matters=False))
    elif len(name.encode()) > MAX_NAME_BYTES:
        problems.append(Problem(field, f"a name of more than {MAX_NAME_BYTES} bytes", matters=False))
    else:
        return True
    return False
