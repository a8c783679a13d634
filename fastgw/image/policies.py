"""What DestinationRules ask for, as records; the rings and Maglev tables of consistent hashing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastgw.image import layout
from fastgw.image.layout import NONE, ffi, lib
from fastgw.image.symbols import to_bytes
from fastgw.image.tables import Tables
from fastgw.model.plan import DEFAULTS, SRV_LEVELS, Cluster, Endpoint, HashKey, Outlier, Policy, Warmup

CURVE_POINTS = 17
_SERVER_ERRORS = range(500, 600)
_MOST = 0xFFFFFFFE
"""The greatest number of a limit: the one above it is none."""


def add_policy(tables: Tables, cluster: Cluster) -> int:
    """Index of the record in its piece; NONE when the cluster has nothing but defaults."""
    policy, levels = cluster.policy, 1 + max(map(_lowest_level, cluster.endpoints), default=0)
    if policy == DEFAULTS and levels == 1:
        return NONE
    pool, outlier, warmup = policy.pool, policy.outlier or Outlier(), policy.warmup
    key = policy.hash_key or HashKey("")
    keepalive = pool.keepalive
    return tables["policies"].add(
        _flags(policy),
        layout.HASH_ON[key.on],
        lib.fgw_header_id_of(to_bytes(key.name), len(to_bytes(key.name))) if key.on == "header" else 0,
        policy.proxy_protocol,
        levels,
        outlier.max_ejection_percent,
        outlier.min_health_percent if policy.outlier else 0,
        *tables.span(key.name),
        *tables.span(key.cookie_rest or ""),
        _limit(pool.max_connections),
        _limit(pool.max_pending),
        _limit(pool.max_requests),
        _limit(pool.retry_budget.least if pool.retry_budget else pool.max_retries),
        _limit(pool.max_requests_per_connection),
        _limit(pool.idle_timeout_ms),
        min(pool.max_connection_ms or 0, _MOST),
        *((keepalive.time_s, keepalive.interval_s, keepalive.probes) if keepalive else (0, 0, 0)),
        outlier.consecutive_errors,
        outlier.consecutive_gateway_errors,
        outlier.consecutive_local_errors,
        outlier.interval_ms,
        outlier.base_ejection_ms,
        warmup.duration_ms if warmup else 0,
        *(_curve(warmup) if warmup else [1000] * CURVE_POINTS),
        round(pool.retry_budget.percent * 100) if pool.retry_budget else lib.FGW_NO_SHARE,
        *_code_bits(outlier.error_codes),
    )


def _lowest_level(endpoint: Endpoint) -> int:
    return min(endpoint.priority + (SRV_LEVELS - 1 if endpoint.lookup == "srv" else 0), int(lib.FGW_PRIORITIES_MAX) - 1)


def _flags(policy: Policy) -> int:
    flags = 0
    if policy.outlier is not None:
        flags |= lib.FGW_POLICY_OUTLIER | (lib.FGW_POLICY_SPLIT_LOCAL if policy.outlier.split_local else 0)
    if policy.hash_key is not None and policy.hash_key.cookie_rest is not None:
        flags |= lib.FGW_POLICY_GIVES_COOKIE
    if policy.pool.keepalive is not None:
        flags |= lib.FGW_POLICY_KEEPALIVE
    return flags


def _limit(value: int | None) -> int:
    return NONE if value is None else min(value, _MOST)


def _curve(warmup: Warmup) -> list[int]:
    """Thousandths of an endpoint's weight as time passes: max(minimum, passed ** (1 / aggression)), as Envoy has it."""
    passed = [step / (CURVE_POINTS - 1) for step in range(CURVE_POINTS)]
    return [max(round(warmup.minimum_percent * 10), round(1000 * share ** (1 / warmup.aggression)), 1) for share in passed]


def _code_bits(codes: tuple[int, ...]) -> list[int]:
    """Those that are named take the place of 5xx (Q9)."""
    words = [0] * 8
    for code in codes or _SERVER_ERRORS:
        if 0 <= code - 100 < 512:
            words[(code - 100) // 64] |= 1 << (code - 100) % 64
    return words


# --- consistent hashing ---

Parse = Callable[[str, str], tuple[int, bytes, str]]


def add_hash_tables(tables: Tables, cluster: Cluster, parse: Parse) -> tuple[int, int, int, int]:
    """(first, count) of the cluster's points on a ring, and of its places in a Maglev table. Clusters with names have neither:
    their addresses come and go without an image. ``parse``: (cluster, address) -> (family, ip, path of a unix socket)."""
    if cluster.lb not in ("ring_hash", "maglev") or cluster.discovery == "dns" or not cluster.endpoints:
        return 0, 0, 0, 0
    numbers = [_identity(endpoint, *parse(cluster.name, endpoint.address)) for endpoint in cluster.endpoints]
    identities = ffi.new("uint64_t[]", numbers)
    weights = ffi.new("uint32_t[]", [max(endpoint.weight, 1) for endpoint in cluster.endpoints])
    if cluster.lb == "ring_hash":
        return *_add_ring(tables, identities, weights, cluster.policy.ring_size), 0, 0
    order = ffi.new("uint32_t[]", sorted(range(len(numbers)), key=numbers.__getitem__))
    return 0, 0, *_add_maglev(tables, identities, weights, order, cluster.policy.table_size)


def _identity(endpoint: Endpoint, family: int, ip: bytes, path: str) -> int:
    raw = to_bytes(path)
    return int(lib.fgw_endpoint_identity(family, ip.ljust(16, b"\0"), endpoint.port, raw, len(raw)))


def _add_ring(tables: Tables, identities: Any, weights: Any, minimum: int) -> tuple[int, int]:
    size = lib.fgw_ring_size(weights, len(weights), minimum)
    points = ffi.new("fgw_img_ring_point[]", size)
    lib.fgw_ring_build(identities, weights, len(weights), minimum, points, size)
    return tables["ring_points"].extend(ffi.buffer(points)), size


def _add_maglev(tables: Tables, identities: Any, weights: Any, order: Any, size: int) -> tuple[int, int]:
    """None when there are more endpoints than places."""
    places = ffi.new("fgw_img_maglev_place[]", size)
    scratch = ffi.new("uint64_t[]", 2 * len(identities))
    if not lib.fgw_maglev_build(identities, weights, order, len(weights), places, size, scratch):
        return 0, 0
    return tables["maglev_places"].extend(ffi.buffer(places)), size
