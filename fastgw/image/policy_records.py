"""The records of redirects, direct responses and route policies. Few routes have one, so they are written from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgw.image.layout import AVOID_TRIED, NEW_PATHS, NONE, RETRY_ON, ImageError, lib
from fastgw.model.grpc import GRPC_STATUSES
from fastgw.model.plan import Cors, DirectResponse, ErrorPage, Fault, MirrorTarget, Redirect, Retries, Rewrite, RoutePolicy

if TYPE_CHECKING:
    from fastgw.image.tables import Tables

_STATUS_BASE = 100
_SET_BITS = 64
_MAX_MS = NONE - 1


def add_redirect(tables: Tables, redirect: Redirect) -> int:
    """Index of the record."""
    texts = (*tables.span(redirect.path), *tables.span(redirect.scheme), *tables.span(redirect.authority))
    return tables["answers"].add(*texts, redirect.status, redirect.port, NEW_PATHS[redirect.new_path])


def add_direct_response(tables: Tables, answer: DirectResponse) -> int:
    """The same."""
    return tables["answers"].add(*tables.span(answer.body), 0, 0, 0, 0, answer.status, 0, 0)


def add_route_policy(tables: Tables, policy: RoutePolicy, origins: tuple[int, int]) -> int:
    """The same. ``origins``: the records of the conditions in ``policy.cors``."""
    fault = policy.fault or Fault()
    mirrors = _add_mirrors(tables, policy.mirrors)
    retry = NONE if policy.retries is None else _add_retries(tables, policy.retries)
    cors = NONE if policy.cors is None else _add_cors(tables, policy.cors, origins)
    return tables["route_policies"].add(
        *_rewrite(tables, policy.rewrite),
        lib.FGW_GRPC_NONE if fault.abort_grpc is None else fault.abort_grpc,
        fault.abort_status,
        min(policy.timeout_ms, _MAX_MS),
        min(fault.delay_ms, _MAX_MS),
        fault.delay_per_million,
        fault.abort_per_million,
        retry,
        cors,
        *mirrors,
        *add_pages(tables, policy.pages),
    )


def _rewrite(tables: Tables, rewrite: Rewrite | None) -> tuple[int, int, int, int]:
    """Text, regex, kind."""
    if rewrite is None:
        return 0, 0, NONE, lib.FGW_REWRITE_NONE
    if rewrite.kind == "path":
        return *tables.span(rewrite.text), NONE, lib.FGW_REWRITE_PATH
    regex, _ = tables.regex(rewrite.pattern)
    if not tables.is_usable_regex(rewrite.pattern):
        raise ImageError(f"the regex {rewrite.pattern[:60]} of a rewrite does not compile")
    return *tables.span(rewrite.text), regex, lib.FGW_REWRITE_REGEX


def _add_retries(tables: Tables, retries: Retries) -> int:
    on, on_grpc = 0, 0
    for word in retries.on:
        on |= RETRY_ON[word]
    for name in retries.grpc:
        on_grpc |= 1 << GRPC_STATUSES[name]
    statuses = [0] * lib.FGW_STATUS_SETS
    for status in retries.statuses:
        place, bit = divmod(status - _STATUS_BASE, _SET_BITS)
        statuses[place] |= 1 << bit
    if retries.statuses:
        on |= lib.FGW_RETRY_STATUSES
    times = min(retries.per_try_timeout_ms, _MAX_MS), min(max(retries.backoff_ms, 1), _MAX_MS)
    avoid = AVOID_TRIED[retries.avoid_tried]
    return tables["retries"].add(retries.attempts, on, on_grpc, *times, avoid, retries.other_localities, *statuses)


def _add_cors(tables: Tables, cors: Cors, origins: tuple[int, int]) -> int:
    texts = [tables.span(text) for text in (cors.allow_methods, cors.allow_headers, cors.expose_headers, cors.max_age)]
    return tables["cors"].add(*origins, *(number for text in texts for number in text), cors.credentials, cors.ignore_unmatched)


def _add_mirrors(tables: Tables, mirrors: tuple[MirrorTarget, ...]) -> tuple[int, int]:
    table = tables["mirrors"]
    first = table.count
    for mirror in mirrors:
        table.add(tables.cluster(mirror.cluster), mirror.per_million)
    return first, len(mirrors)


def add_pages(tables: Tables, pages: tuple[ErrorPage, ...]) -> tuple[int, int]:
    """Where they begin, and how many."""
    table = tables["pages"]
    first = table.count
    for page in pages:
        table.add(*tables.span(page.content_type), *tables.shared_span(page.body), page.low, page.high)
    return first, len(pages)
