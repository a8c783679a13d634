"""What a VirtualService may ask for beyond Istio, by annotations. All of it is off unless asked for.

- ``gateway.fastgw.io/priority: "10"``: the rules of all VirtualServices of a host stand in order of priority, higher first, 0
  without the annotation. Within one priority Istio's order holds (B5, E4), so a catch-all of a higher priority hides all
  that is lower.
- ``gateway.fastgw.io/path-match: segment``: ``uri.prefix`` matches whole path segments ("/foo" does not match "/foobar");
  "prefix" is the default.
- ``gateway.fastgw.io/sticky: cookie:NAME[;ttl=1h] | header:NAME | source-ip``: clients keep the destination of weighted routes.

A delegate's routes obey the root's path-match and sticky; a delegate may ask for ``segment``, and for a sticky of its own.
"""

from __future__ import annotations

import re

import msgspec

from fastgw.compiler.report import Report
from fastgw.model.duration import parse_ns
from fastgw.model.plan import Action, Sticky
from fastgw.model.resource import Resource

FAMILY = "gateway.fastgw.io/"
PRIORITY = FAMILY + "priority"
PATH_MATCH = FAMILY + "path-match"
STICKY = FAMILY + "sticky"

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


NONE = Wishes()


def wishes_of(resource: Resource, report: Report) -> Wishes:
    """What is not understood is reported and counts as not there."""
    if not any(name.startswith(FAMILY) for name in resource.annotations):
        return NONE
    found: dict[str, int | bool | Sticky] = {}
    for name, text in resource.annotations.items():
        if not name.startswith(FAMILY):
            continue
        field = f"metadata.annotations[{name}]"
        try:
            found |= _understand(name, text.strip())
        except ValueError as problem:
            report.warning("FGW0110", resource, field, f"{name}: {problem}: it has no effect")
    return msgspec.convert(found, Wishes)


def for_delegate(root: Wishes, own: Wishes) -> Wishes:
    """What counts for the routes of a delegate."""
    return Wishes(root.priority, root.segments or own.segments, own.sticky or root.sticky)


def keep_clients(action: Action, sticky: Sticky | None) -> Action:
    """The action with ``sticky``, where there is something to choose from."""
    if sticky is None or action.kind != "route" or len(action.destinations) < 2:
        return action
    return msgspec.structs.replace(action, sticky=sticky)


def _understand(name: str, text: str) -> dict[str, int | bool | Sticky]:
    if name == PRIORITY:
        return {"priority": _priority(text)}
    if name == PATH_MATCH:
        if text not in ("segment", "prefix"):
            raise ValueError(f'"{text}" is neither segment nor prefix')
        return {"segments": text == "segment"}
    if name == STICKY:
        return {"sticky": parse_sticky(text)}
    raise ValueError(f"a VirtualService has {PRIORITY}, {PATH_MATCH} and {STICKY}")


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
