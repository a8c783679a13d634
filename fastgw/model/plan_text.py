"""Parts of a Plan in one line each, as the tables of proxy-config and diff show them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from fastgw.model.plan import (
    Action,
    Cors,
    Edits,
    Endpoint,
    ErrorPage,
    Fault,
    Guards,
    HeaderEdit,
    PathMatch,
    Predicate,
    RateLimit,
    Redirect,
    Retries,
    RoutePolicy,
    Rule,
    SourceList,
    WeightedDestination,
)
from fastgw.model.values import format_text

LISTED = 8
"""So many networks of a list are shown in a line."""


def conditions_text(rule: Rule) -> str:
    """``/api*``, ``/exact``, ``regex ...`` and the predicates after it; ``/*`` for everything."""
    return " ".join([_path(rule.path), *(_predicate(predicate) for predicate in rule.predicates)])


def rule_name(rule: Rule) -> str:
    """``default/shop http[0].match[1]``, with its name when it has one."""
    name = f' "{rule.name}"' if rule.name else ""
    return f"{rule.virtual_service.key} http[{rule.route_index}].match[{rule.match_index}]{name}"


def action_text(value: Action) -> str:
    """``route``, ``redirect 301 to https://<host>/new<rest>``, ``direct_response 200 (5 bytes)``, ``unsupported (headers)``."""
    if value.redirect is not None:
        return f"redirect {value.redirect.status} to {_location(value.redirect)}"
    if value.answer is not None:
        return f"direct_response {value.answer.status} ({len(value.answer.body)} bytes)"
    return f"{value.kind} ({value.detail})" if value.detail else value.kind


def _location(redirect: Redirect) -> str:
    port = f":{redirect.port}" if redirect.port else ""
    path = {"": "<path>", "replace": redirect.path, "prefix": f"{redirect.path}<rest>"}[redirect.new_path]
    return f"{redirect.scheme or '<scheme>'}://{redirect.authority or '<host>'}{port}{path}"


def policy_text(policy: RoutePolicy | None, *, with_pages: bool = True) -> list[str]:
    """``timeout 5 s``, ``retries 2 on 5xx, 409``, one line for each thing that is asked for."""
    if policy is None:
        return []
    lines = []
    if policy.rewrite is not None:
        matched = f'"{policy.rewrite.pattern}"' if policy.rewrite.kind == "regex" else "what matched"
        lines.append(f'rewrite: {matched} becomes "{policy.rewrite.text}"')
    if policy.timeout_ms:
        lines.append(f"timeout: {_seconds(policy.timeout_ms)}")
    if policy.retries is not None:
        lines.append(f"retries: {_retries(policy.retries)}")
    if policy.fault is not None:
        lines += _fault(policy.fault)
    if policy.cors is not None:
        lines.append(f"cors: {_cors(policy.cors)}")
    if with_pages:
        lines += pages_text(policy.pages)
    return lines + [f"mirror: {each.cluster}, {_percent(each.per_million)}" for each in policy.mirrors]


def guards_text(guards: Guards | None) -> list[str]:
    """``clients of default/shop: 10.0.0.0/8, not 10.1.2.3/32``, one line for each thing that is asked for."""
    if guards is None:
        return []
    lines = [f"clients of {each.policy}: {_clients(each)}" for each in guards.sources]
    lines += [_rate_limit(limit) for limit in guards.rate_limits]
    return [*lines, f"request body: at most {guards.max_request_bytes} bytes"] if guards.max_request_bytes else lines


def _rate_limit(limit: RateLimit) -> str:
    """``rate limit per-client of default/shop: 100 in 1 s, 200 at once, by address (/32, /64) and header x-api-key``"""
    keys = [
        f"address (/{key.ipv4_prefix}, /{key.ipv6_prefix})" if key.kind == "source" else f"header {key.name}" for key in limit.by
    ]
    by = f", by {' and '.join(keys)}" if keys else ""
    per = f"{limit.per_ns / 1_000_000_000:g} s"
    return f"rate limit {limit.name} of {limit.policy}: {limit.requests} in {per}, {limit.burst} at once{by}"


def _clients(sources: SourceList) -> str:
    if sources.closed and not sources.allow:
        return "none"
    allow = _few(sources.allow) if sources.closed else "all"
    return f"{allow}, not {_few(sources.deny)}" if sources.deny else allow


def _few(listed: str) -> str:
    """The first of a long list."""
    networks = listed.split(", ", LISTED)
    return listed if len(networks) <= LISTED else f"{', '.join(networks[:LISTED])} and {networks[LISTED].count(',') + 1} more"


def pages_text(pages: Iterable[ErrorPage]) -> list[str]:
    """``error page 404: text/html of default/shop, pages/404.html, 120 bytes, sha256 0123456789ab``, one line each."""
    return [f"error page {_statuses(page)}: {page.content_type}{_source(page)}" for page in pages]


def _statuses(page: ErrorPage) -> str:
    return str(page.low) if page.low == page.high else f"{page.low // 100}xx"


def _source(page: ErrorPage) -> str:
    body = page.body.encode("utf-8", "surrogatepass")
    owner = f" of {page.policy}" if page.policy else ""
    file = f", {page.file}" if page.file else ""
    return f"{owner}{file}, {len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()[:12]}"


def _retries(retries: Retries) -> str:
    if not retries.attempts:
        return "none"
    words = [*retries.on, *(name.lower().replace("_", "-") for name in retries.grpc), *map(str, retries.statuses)]
    text = f"{retries.attempts} on {', '.join(words) or 'nothing'}"
    text += f", each try {_seconds(retries.per_try_timeout_ms)}" if retries.per_try_timeout_ms else ""
    if retries.other_localities:
        text += ", in other localities"
    return f"{text}, backoff from {_seconds(retries.backoff_ms)}"


def _fault(fault: Fault) -> list[str]:
    lines = []
    if fault.delay_per_million:
        lines.append(f"delay: {_seconds(fault.delay_ms)}, {_percent(fault.delay_per_million)}")
    if fault.abort_per_million:
        what = f"grpc-status {fault.abort_grpc}" if fault.abort_grpc is not None else str(fault.abort_status)
        lines.append(f"abort: {what}, {_percent(fault.abort_per_million)}")
    return lines


def _cors(cors: Cors) -> str:
    origins = ", ".join("any" if each.op == "present" else f"{each.op} {each.value}" for each in cors.origins) or "none"
    return f"origins {origins}" + (", unmatched preflights are answered" if cors.ignore_unmatched else "")


def _seconds(ms: int) -> str:
    return f"{ms / 1000:g} s"


def _percent(per_million: int) -> str:
    return f"{per_million / 10_000:g} %"


def edits_text(edits: Edits) -> list[str]:
    """``request: set x-user: %REQ(x-id)%``, one line a change; ``authority: a.example.com``."""
    lines = [f"{side}: {edit_text(edit)}" for side in ("request", "response") for edit in getattr(edits, side)]
    return [*lines, f"authority: {edits.authority}"] if edits.authority else lines


def edit_text(edit: HeaderEdit) -> str:
    """``set x-user: %REQ(x-id)%``, ``remove x-user``."""
    return f"{edit.kind} {edit.name}" if edit.kind == "remove" else f"{edit.kind} {edit.name}: {format_text(edit.value)}"


def destinations_text(listed: tuple[WeightedDestination, ...]) -> str:
    """With their shares, unless there is only one."""
    total = sum(destination.weight for destination in listed)
    if len(listed) == 1:
        return _destination(listed[0])
    return ", ".join(f"{_destination(each)} {100 * each.weight / total if total else 0:.4g} %" for each in listed)


def _destination(value: WeightedDestination) -> str:
    subset = f" subset {value.subset}" if value.subset else ""
    return f"{value.host}:{value.port}{subset}"


def endpoint_text(value: Endpoint) -> str:
    """``10.0.0.1:80``, and what is not as usual about it."""
    place = f"[{value.address}]:{value.port}" if ":" in value.address else f"{value.address}:{value.port}"
    text = value.address if value.address.startswith("unix:") else place
    text += f" weight {value.weight}" if value.weight != 1 else ""
    return text if value.healthy else f"{text} unhealthy"


def plain_text(value: object) -> str:
    """Any other field: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    encoded: Any = msgspec.json.encode(value)
    text: str = encoded.decode()
    return text


def _path(path: PathMatch | None) -> str:
    if path is None:
        return "/*"
    if path.kind == "regex":
        return f"regex {path.value}"
    text = {"exact": path.value, "segment": f"PathPrefix:{path.value}"}.get(path.kind, f"{path.value}*")
    return f"{text} (any case)" if path.ignore_case else text


def _predicate(predicate: Predicate) -> str:
    if predicate.target == "never":
        return f"never ({predicate.name})"
    subject = f"{predicate.target} {predicate.name}" if predicate.name else predicate.target
    condition = "present" if predicate.op == "present" else f"{predicate.op} {predicate.value}"
    return f"[{subject} {'not ' if predicate.invert else ''}{condition}]"
