"""The policy of a cluster: what DestinationRules ask for beyond the defaults (fields.md 3, sections Q and R)."""

from __future__ import annotations

from typing import Any

from fastgw.compiler.destination_rules import HostRules
from fastgw.model.duration import parse_ms, parse_ns
from fastgw.model.kinds.destination_rule import (
    ConnectionPool,
    ConsistentHash,
    HttpCookie,
    LoadBalancer,
    OutlierDetection,
    TcpKeepalive,
)
from fastgw.model.plan import HashKey, Keepalive, Outlier, Policy, Pool, RetryBudget, Warmup

MAX_MS = 0xFFFF_FFFE
MAX_COUNT = 0xFFFF_FFFE
MAX_REST_BYTES = 1024
TABLE_SIZE = 65537
MAX_TABLE = 5_000_011
MAX_NAME_BYTES = 128
_SIMPLE = {"ROUND_ROBIN": "round_robin", "RANDOM": "random", "LEAST_REQUEST": "least_request", "LEAST_CONN": "least_request"}
_SECOND_NS = 1_000_000_000


def balancer_of(block: LoadBalancer | None) -> str:
    """lb of a cluster (Q1 to Q3); PASSTHROUGH would connect a client to the gateway itself, and is reported elsewhere."""
    if block is None:
        return "least_request"
    if block.consistent_hash is not None and not what_is_wrong(block.consistent_hash):
        return "ring_hash" if block.consistent_hash.maglev is None else "maglev"
    return _SIMPLE.get(block.simple or "", "least_request")


def policy_of(rules: HostRules, port: int, subset: str) -> Policy:
    """Everything but what clusters have as fields of their own."""
    balancer: LoadBalancer | None = rules.block("load_balancer", port, subset)
    pool: ConnectionPool | None = rules.block("connection_pool", port, subset)
    outlier: OutlierDetection | None = rules.block("outlier_detection", port, subset)
    ring = balancer.consistent_hash if balancer is not None else None
    if ring is not None and what_is_wrong(ring):
        ring = None
    return Policy(
        hash_key=hash_key(ring) if ring is not None else None,
        ring_size=_ring_size(ring),
        table_size=_table_size(ring),
        pool=_pool(pool, _retry_budget(rules, subset)),
        outlier=_outlier(outlier) if outlier is not None else None,
        warmup=_warmup(balancer) if balancer is not None else None,
        proxy_protocol=_proxy_protocol(rules, subset),
    )


# --- consistentHash ---


def hash_key(rule: ConsistentHash) -> HashKey | None:
    """None when nothing is named that could be a key."""
    if rule.http_header_name:
        name = rule.http_header_name.lower()
        return HashKey("header", "host" if name == ":authority" else name)
    if rule.http_cookie is not None and rule.http_cookie.name:
        return HashKey("cookie", rule.http_cookie.name, cookie_rest(rule.http_cookie))
    if rule.use_source_ip:
        return HashKey("source_ip")
    if rule.http_query_parameter_name:
        return HashKey("query", rule.http_query_parameter_name)
    return None


def cookie_rest(cookie: HttpCookie) -> str | None:
    """What follows the value of a cookie that is given to clients; None without a ttl: none is given (Q5)."""
    if cookie.ttl is None:
        return None
    seconds = parse_ns(cookie.ttl) // _SECOND_NS
    parts = [f"Max-Age={seconds}"] if seconds > 0 else []
    parts += [f"Path={cookie.path}"] if cookie.path else []
    parts += [f"{each.name}={each.value}" if each.value else each.name for each in cookie.attributes]
    return "".join(f"; {part}" for part in (*parts, "HttpOnly"))


def what_is_wrong(rule: ConsistentHash) -> str:
    """Why a key cannot be used as it is written, "" when it can."""
    key = hash_key(rule)
    if key is None:
        return "it names no header, cookie, parameter or source address"
    if len(key.name.encode()) > MAX_NAME_BYTES:
        return f"a name of more than {MAX_NAME_BYTES} bytes"
    rest = key.cookie_rest
    if rest is None:
        return ""
    if any(not "!" <= letter <= "~" or letter in ';,="' for letter in key.name):
        return f'"{key.name}" cannot be the name of a cookie'
    if len(rest.encode()) > MAX_REST_BYTES or any(not " " <= letter <= "~" for letter in rest):
        return "path and attributes of the cookie are too long, or hold what cannot be in a header"
    return ""


def _ring_size(rule: ConsistentHash | None) -> int:
    if rule is None:
        return 1024
    size = rule.ring_hash.minimum_ring_size if rule.ring_hash is not None else rule.minimum_ring_size
    return min(size, MAX_COUNT) if size > 0 else 1024


def _table_size(rule: ConsistentHash | None) -> int:
    """Only a prime makes every endpoint's walk reach every place; what is none has been reported as an error of the rule."""
    size = rule.maglev.table_size if rule is not None and rule.maglev is not None else 0
    is_prime = 1 < size <= MAX_TABLE and all(size % divisor for divisor in range(2, int(size**0.5) + 1))
    return size if is_prime else TABLE_SIZE


# --- connectionPool ---


def _pool(block: ConnectionPool | None, budget: RetryBudget | None) -> Pool:
    """0 is the default, not zero (Q11); an idleTimeout of 0s is none, and that of tcp counts where http has none."""
    if block is None:
        return Pool(retry_budget=budget)
    tcp, http = block.tcp, block.http
    idle = (http.idle_timeout if http is not None else None) or (tcp.idle_timeout if tcp is not None else None)
    return Pool(
        max_connections=_count(tcp.max_connections) if tcp is not None else None,
        max_pending=_count(http.http1_max_pending_requests) if http is not None else None,
        max_requests=_count(http.http2_max_requests) if http is not None else None,
        max_retries=_count(http.max_retries) if http is not None else None,
        max_requests_per_connection=_count(http.max_requests_per_connection) if http is not None else None,
        idle_timeout_ms=_ms(idle) if idle is not None else None,
        max_connection_ms=_ms(tcp.max_connection_duration) or None if tcp is not None else None,
        keepalive=_keepalive(tcp.tcp_keepalive) if tcp is not None and tcp.tcp_keepalive is not None else None,
        retry_budget=budget,
    )


def _keepalive(block: TcpKeepalive) -> Keepalive:
    """The kernel knows whole seconds, from 1 to 32767."""
    time_s, interval_s = (min(-(-_ms(text) // 1000), 32767) if text else 0 for text in (block.time, block.interval))
    return Keepalive(time_s, interval_s, min(block.probes, 127))


def _count(number: int) -> int | None:
    return min(number, MAX_COUNT) if number > 0 else None


def _ms(text: str | None) -> int:
    """More than nothing is a millisecond at the least, since 0 is none."""
    nanoseconds = parse_ns(text) if text else 0
    return min(max(nanoseconds // 1_000_000, 1), MAX_MS) if nanoseconds > 0 else 0


# --- outlierDetection, warmup, proxyProtocol, retryBudget ---


def _outlier(block: OutlierDetection) -> Outlier:
    """Defaults as Istio has them (Q8, Q9)."""
    default = Outlier()
    local, percent = block.consecutive_local_origin_failures, block.max_ejection_percent
    return Outlier(
        consecutive_errors=_or(block.consecutive_5xx_errors, default.consecutive_errors),
        consecutive_gateway_errors=_or(block.consecutive_gateway_errors, 0),
        consecutive_local_errors=_or(local, default.consecutive_local_errors),
        split_local=block.split_external_local_origin_errors,
        interval_ms=_ms(block.interval) or default.interval_ms,
        base_ejection_ms=_ms(block.base_ejection_time) or default.base_ejection_ms,
        max_ejection_percent=min(percent, 100) if percent > 0 else default.max_ejection_percent,
        min_health_percent=max(0, min(block.min_health_percent, 100)),
        error_codes=tuple(code for code in map(_code, block.outlier_detection_http_error_codes) if code is not None),
    )


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _code(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isdigit() and 100 <= int(text) <= 599 else None


def _warmup(block: LoadBalancer) -> Warmup | None:
    """``warmupDurationSecs`` is the older form."""
    if block.warmup is not None and block.warmup.duration:
        percent, aggression = block.warmup.minimum_percent, block.warmup.aggression
        return Warmup(
            _ms(block.warmup.duration),
            10.0 if percent is None else max(0.0, min(percent, 100.0)),
            1.0 if aggression is None or aggression <= 0 else min(aggression, 1000.0),
        )
    older = block.warmup_duration_secs
    return Warmup(parse_ms(older)) if older and parse_ms(older) > 0 else None


def _proxy_protocol(rules: HostRules, subset: str) -> int:
    found = _of_all_ports(rules, subset, "proxy_protocol")
    return 0 if found is None else 1 if found.version == "V1" else 2


def _retry_budget(rules: HostRules, subset: str) -> RetryBudget | None:
    """J15."""
    found = _of_all_ports(rules, subset, "retry_budget")
    if found is None:
        return None
    default = RetryBudget()
    percent = default.percent if found.percent is None else max(0.0, min(found.percent, 100.0))
    return RetryBudget(percent, min(_or(found.min_retry_concurrency, default.least), MAX_COUNT))


def _of_all_ports(rules: HostRules, subset: str, name: str) -> Any:
    """A block that ports have none of their own of: the subset's, else the rule's."""
    chosen = rules.subsets.get(subset)
    blocks = (getattr(policy, name) for policy in (chosen and chosen.traffic_policy, rules.policy) if policy is not None)
    return next((block for block in blocks if block is not None), None)
