"""The records of guards. Few rules have any, so they are written from Python."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from fastgw.image.layout import lib
from fastgw.image.symbols import to_bytes
from fastgw.model.plan import Guards, RateKey, RateLimit, SourceList

if TYPE_CHECKING:
    from fastgw.image.numbers import StateNumbers
    from fastgw.image.tables import Tables

_SECOND_NS = 1_000_000_000


def add_guards(tables: Tables, guards: Guards, numbers: StateNumbers) -> int:
    """Index of the record. Raises NumbersExhausted."""
    sources = _add_sources(tables, guards.sources)
    asked = guards.rate_limits[: lib.FGW_RATE_LIMITS_MAX]  # as many as eight policies have
    limits = _add_rate_limits(tables, asked, numbers)
    policies = ", ".join(map(_policy_item, asked))
    return tables["guards"].add(*sources, *limits, *tables.span(policies), guards.max_request_bytes)


def _add_sources(tables: Tables, sources: tuple[SourceList, ...]) -> tuple[int, int]:
    table = tables["source_lists"]
    first = table.count
    for each in sources:
        otherwise = lib.FGW_SOURCE_DENIED if each.closed else lib.FGW_SOURCE_ALLOWED
        table.add(*tables.networks_span(each.allow, each.deny), *tables.span(each.policy), otherwise)
    return first, len(sources)


def _add_rate_limits(tables: Tables, limits: tuple[RateLimit, ...], numbers: StateNumbers) -> tuple[int, int]:
    keys = [_add_keys(tables, limit.by) for limit in limits]
    table = tables["rate_limits"]
    first = table.count
    for limit, (first_key, count) in zip(limits, keys, strict=True):
        interval_ns = limit.per_ns // limit.requests
        number = numbers.rate_limit_of(limit.policy, limit.name)
        table.add(*tables.span(limit.name), _identity(limit), interval_ns, limit.burst, number, first_key, count)
    return first, len(limits)


def _identity(limit: RateLimit) -> int:
    """Of everything that a limit says: with another number its buckets are others, full ones."""
    return int.from_bytes(hashlib.blake2b(msgspec.json.encode(limit), digest_size=8).digest(), "little")


def _add_keys(tables: Tables, keys: tuple[RateKey, ...]) -> tuple[int, int]:
    table = tables["rate_keys"]
    first = table.count
    for key in keys:
        raw = to_bytes(key.name)
        kind = lib.FGW_RATE_BY_SOURCE if key.kind == "source" else lib.FGW_RATE_BY_HEADER
        header_id = lib.fgw_header_id_of(raw, len(raw)) if key.kind == "header" else 0
        table.add(*tables.span(raw), kind, header_id, key.ipv4_prefix, key.ipv6_prefix)
    return first, len(keys)


def _policy_item(limit: RateLimit) -> str:
    """An item of RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10): windows are whole seconds there."""
    seconds, rest = divmod(limit.per_ns, _SECOND_NS)
    return f'"{limit.name}";q={limit.requests}' + (f";w={seconds}" if not rest else "")
