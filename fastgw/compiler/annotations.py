"""What a VirtualService may ask for beyond Istio, by annotations. All of it is off unless asked for.

- ``gateway.fastgw.io/priority: "10"``: the rules of all VirtualServices of a host stand in order of priority, higher first, 0
  without the annotation. Within one priority Istio's order holds (B5, E4), so a catch-all of a higher priority hides all
  that is lower.
- ``gateway.fastgw.io/path-match: segment``: ``uri.prefix`` matches whole path segments ("/foo" does not match "/foobar");
  "prefix" is the default.
- ``gateway.fastgw.io/sticky: cookie:NAME[;ttl=1h] | header:NAME | source-ip``: clients keep the destination of weighted routes.
- ``gateway.fastgw.io/error-pages: '{"503": {"text/html": "<p>Busy", "application/json": "{}"}, "5xx": ...}'``: bodies of the
  answers that the gateway makes for the routes, and for its hosts where no rule matches, by status and by what the client accepts.

A delegate's routes obey the root's path-match and sticky; a delegate may ask for ``segment``, and for a sticky of its own.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fastgw.compiler.report import Report
from fastgw.model.duration import parse_ns
from fastgw.model.error_pages import MAX_PAGE_BYTES, content_type_of, in_order, is_too_large, statuses_of
from fastgw.model.plan import NO_POLICY, Action, ErrorPage, Sticky
from fastgw.model.resource import Resource

FAMILY = "gateway.fastgw.io/"
PRIORITY = FAMILY + "priority"
PATH_MATCH = FAMILY + "path-match"
STICKY = FAMILY + "sticky"
ERROR_PAGES = FAMILY + "error-pages"
MAX_REQUEST_BYTES = FAMILY + "max-request-bytes"
ALLOW_FROM = FAMILY + "allow-from"
DENY_FROM = FAMILY + "deny-from"
OF_GUARDS = (MAX_REQUEST_BYTES, ALLOW_FROM, DENY_FROM)
"""Read in edge_policies."""

MAX_PRIORITY = 1_000_000
MAX_NAME_BYTES = 128
MAX_TTL_S = 400 * 86_400
"""Browsers keep no cookie longer (RFC 6265bis, section 5.5)."""
_SECOND_NS = 1_000_000_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Wishes(msgspec.Struct, frozen=True):
    """The annotations of one VirtualService, understood."""

    priority: int = 0
    segments: bool = False
    sticky: Sticky | None = None
    error_pages: tuple[ErrorPage, ...] = ()


NONE = Wishes()


def wishes_of(resource: Resource, report: Report) -> Wishes:
    """What is not understood is reported and counts as not there."""
    if not any(name.startswith(FAMILY) for name in resource.annotations):
        return NONE
    found: dict[str, Any] = {}
    for name, text in resource.annotations.items():
        if not name.startswith(FAMILY) or name in OF_GUARDS:
            continue
        field = f"metadata.annotations[{name}]"
        try:
            found |= _understand(name, text.strip())
        except ValueError as problem:
            report.warning("FGW0110", resource, field, f"{name}: {problem}: it has no effect")
    return msgspec.convert(found, Wishes)


def for_delegate(root: Wishes, own: Wishes) -> Wishes:
    """What counts for the routes of a delegate."""
    return Wishes(root.priority, root.segments or own.segments, own.sticky or root.sticky, own.error_pages or root.error_pages)


def keep_clients(action: Action, sticky: Sticky | None) -> Action:
    """The action with ``sticky``, where there is something to choose from."""
    if sticky is None or action.kind != "route" or len(action.destinations) < 2:
        return action
    return msgspec.structs.replace(action, sticky=sticky)


def with_pages(action: Action, pages: tuple[ErrorPage, ...]) -> Action:
    """The action with error pages, for what the gateway itself has to say in its place."""
    if not pages:
        return action
    return msgspec.structs.replace(action, policy=msgspec.structs.replace(action.policy or NO_POLICY, pages=pages))


def parse_error_pages(text: str) -> tuple[ErrorPage, ...]:
    """Single statuses before classes ("4xx", "5xx"), content types as they are listed. Raises ValueError."""
    try:
        given = msgspec.json.decode(text.encode("utf-8", "surrogatepass"), type=dict[str, dict[str, str]])
    except msgspec.MsgspecError as error:
        raise ValueError(f"not JSON of status, content type and body ({error})") from None
    found = []
    for status, bodies in given.items():
        low, high = statuses_of(status)
        for content_type, body in bodies.items():
            known_type = content_type_of(content_type)
            if is_too_large(body):
                raise ValueError(f"the body for {status} {content_type} has more than {MAX_PAGE_BYTES} bytes")
            found.append(ErrorPage(low, high, known_type, body))
    return in_order(found)


def _understand(name: str, text: str) -> dict[str, Any]:
    if name == PRIORITY:
        return {"priority": _priority(text)}
    if name == PATH_MATCH:
        if text not in ("segment", "prefix"):
            raise ValueError(f'"{text}" is neither segment nor prefix')
        return {"segments": text == "segment"}
    if name == STICKY:
        return {"sticky": parse_sticky(text)}
    if name == ERROR_PAGES:
        return {"error_pages": parse_error_pages(text)}
    raise ValueError(f"a VirtualService has {', '.join((PRIORITY, PATH_MATCH, STICKY, ERROR_PAGES, *OF_GUARDS))}")


def _priority(text: str) -> int:
    if not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_PRIORITY:
        raise ValueError(f'"{text}" is no integer from -{MAX_PRIORITY} to {MAX_PRIORITY}')
    return int(text)


def parse_sticky(text: str) -> Sticky:
    """Raises ValueError."""
    if text == "source-ip":
        return Sticky("source_ip")
    kind, _, rest = text.partition(":")
    name, *parameters = (part.strip() for part in rest.split(";"))
    if kind not in ("cookie", "header"):
        raise ValueError(f'"{text}" is none of cookie:NAME, header:NAME and source-ip')
    if not _TOKEN.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise ValueError(f'"{name}" cannot be the name of a {kind}')
    if kind == "header":
        if parameters or name.lower() == "host":
            raise ValueError(f'"{text}": {"a header has no parameters" if parameters else "not for the header host"}')
        return Sticky("header", name.lower())
    return Sticky("cookie", name, _ttl_s(parameters))


def _ttl_s(parameters: list[str]) -> int | None:
    if not parameters:
        return None
    key, _, value = parameters[0].partition("=")
    if len(parameters) > 1 or key.strip() != "ttl":
        raise ValueError(f'"{";".join(parameters)}": a cookie has no parameter but one ttl')
    ttl_s, rest = divmod(parse_ns(value.strip()), _SECOND_NS)
    if rest or not 1 <= ttl_s <= MAX_TTL_S:
        raise ValueError(f'"{value.strip()}": ttl is in whole seconds, from 1s to {MAX_TTL_S // 3600}h')
    return ttl_s
