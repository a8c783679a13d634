"""What an http route asks for beyond destinations and header fields -> the route's policy (sections J, M, N)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastgw.compiler.destinations import ClusterKey, Finder, weighted
from fastgw.compiler.header_edits import Problem
from fastgw.compiler.local_actions import is_url_text
from fastgw.compiler.regexes import regex_problem, replacement_problem
from fastgw.model.duration import parse_ms
from fastgw.model.grpc import GRPC_STATUSES
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.http_route import CorsPolicy, Destination, FaultAbort, FaultDelay, HttpRoute, Percent
from fastgw.model.kinds.http_route import Retries as AskedRetries
from fastgw.model.kinds.http_route import Rewrite as AskedRewrite
from fastgw.model.plan import NO_POLICY, Cors, Fault, MirrorTarget, Predicate, Retries, Rewrite, RoutePolicy

PER_MILLION = 1_000_000
_PER_PERCENT = PER_MILLION // 100
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"
"""J4; retriable-status-codes is among Istio's, too, without any code."""
RETRY_CONDITIONS = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
)
_WITHOUT_EFFECT = ("retriable-status-codes", "retriable-headers", "http3-post-connect-failure")
"""Valid words that mean nothing by themselves in a VirtualService, in Istio neither."""
_RETRY_GRPC = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
DEFAULT_BACKOFF_MS = 25
MAX_ATTEMPTS = 100


class BuiltPolicy(msgspec.Struct, frozen=True):
    """``policy`` None: nothing is asked for. ``clusters``: of mirrors, with the field that names them."""

    policy: RoutePolicy | None
    clusters: tuple[tuple[ClusterKey, str], ...] = ()
    problems: tuple[Problem, ...] = ()


def route_policy(route: HttpRoute, namespace: str, server_port: int, finder: Finder) -> BuiltPolicy:
    """``namespace``: of the VirtualService, for short names. ``server_port``: of the Gateway's server (H2)."""
    if not asks_for_policy(route):
        return BuiltPolicy(None)
    problems: list[Problem] = []
    clusters: list[tuple[ClusterKey, str]] = []
    timeout_ms = max(parse_ms(route.timeout), 0) if route.timeout else 0
    policy = RoutePolicy(
        rewrite=_rewrite(route.rewrite, problems) if route.rewrite else None,
        timeout_ms=timeout_ms,
        retries=_retries(route.retries, timeout_ms, problems) if route.retries else None,
        fault=_fault(route, problems),
        cors=_cors(route.cors_policy, problems) if route.cors_policy else None,
        mirrors=tuple(_mirrors(route, namespace, server_port, finder, clusters, problems)),
    )
    return BuiltPolicy(policy if policy != NO_POLICY else None, tuple(clusters), tuple(problems))


def asks_for_policy(route: HttpRoute) -> bool:
    """Few routes do, so that this is asked first."""
    return bool(
        route.rewrite or route.timeout or route.retries or route.fault or route.cors_policy or route.mirror or route.mirrors
    )


def _rewrite(rewrite: AskedRewrite, problems: list[Problem]) -> Rewrite | None:
    """Without its rewrite a request must not go on: the upstream would take it for another one."""
    regex = rewrite.uri_regex_rewrite
    if regex is not None and (regex.match or regex.rewrite):
        wrong = regex_problem(regex.match) or replacement_problem(regex.match, regex.rewrite)
        if not wrong and not is_url_text(regex.rewrite):
            wrong = f'"{regex.rewrite}" holds a blank or a control character'
        if wrong:
            problems.append(Problem(".rewrite.uriRegexRewrite", wrong, matters=True))
            return None
        return Rewrite("regex", regex.rewrite, regex.match)
    if not rewrite.uri:
        return None
    if not is_url_text(rewrite.uri):
        problems.append(Problem(".rewrite.uri", f'"{rewrite.uri}" holds a blank or a control character', matters=True))
        return None
    return Rewrite("path", rewrite.uri)


# --- retries ---


def _retries(asked: AskedRetries, timeout_ms: int, problems: list[Problem]) -> Retries:
    if asked.attempts <= 0:
        return Retries(0)
    per_try_ms = max(parse_ms(asked.per_try_timeout), 0) if asked.per_try_timeout else 0
    on: list[str] = []
    grpc: list[str] = []
    statuses: list[int] = []
    for word in (asked.retry_on or DEFAULT_RETRY_ON).split(","):
        name = word.strip()
        if name in RETRY_CONDITIONS:
            on.append(name)
        elif name in _RETRY_GRPC:
            grpc.append(name.upper().replace("-", "_"))
        elif name.isascii() and name.isdigit() and 100 <= int(name) <= 599:
            statuses.append(int(name))
        elif name not in _WITHOUT_EFFECT:
            problems.append(Problem(".retries.retryOn", f'"{word}" is no condition to retry on'))
    return Retries(
        attempts=min(asked.attempts, MAX_ATTEMPTS),
        on=tuple(dict.fromkeys(on)),
        grpc=tuple(dict.fromkeys(grpc)),
        statuses=tuple(sorted(set(statuses))),
        per_try_timeout_ms=0 if timeout_ms and per_try_ms >= timeout_ms else per_try_ms,
        backoff_ms=max(parse_ms(asked.backoff), 1) if asked.backoff else DEFAULT_BACKOFF_MS,
        avoid_tried=asked.retry_ignore_previous_hosts,
        other_localities=bool(asked.retry_remote_localities),
    )


# --- faults ---


def _fault(route: HttpRoute, problems: list[Problem]) -> Fault | None:
    if route.fault is None:
        return None
    delay_ms, delay_share = _delay(route.fault.delay, problems)
    status, grpc, abort_share = _abort(route.fault.abort, problems)
    return Fault(delay_ms, delay_share, status, grpc, abort_share) if delay_share or abort_share else None


def _delay(delay: FaultDelay | None, problems: list[Problem]) -> tuple[int, int]:
    """(milliseconds, share); (0, 0) for none."""
    if delay is None:
        return 0, 0
    share = _share(delay.percentage) if delay.percentage is not None else _clamped(delay.percent * _PER_PERCENT)
    if share and delay.fixed_delay is None:
        problems.append(Problem(".fault.delay", "a delay is given as fixedDelay"))
    delay_ms = max(parse_ms(delay.fixed_delay), 0) if delay.fixed_delay else 0
    return (delay_ms, share) if delay_ms and share else (0, 0)


def _abort(abort: FaultAbort | None, problems: list[Problem]) -> tuple[int, int | None, int]:
    """(status, grpc-status, share). To abort every request is how people close a path: what cannot be understood closes it, too."""
    share = _share(abort.percentage) if abort is not None and abort.percentage is not None else 0
    if abort is None or not share:
        return 0, None, 0
    if abort.grpc_status is not None:
        number = GRPC_STATUSES.get(abort.grpc_status)
        if number is not None:
            return 0, number, share
        wrong = f'"{abort.grpc_status}" is no gRPC status'
    elif abort.http_status is not None:
        if 200 <= abort.http_status <= 600:
            return abort.http_status, None, share
        wrong = f"{abort.http_status} is no status, they go from 200 to 599"
    else:
        wrong = "an abort is given as httpStatus or grpcStatus"
    problems.append(Problem(".fault.abort", wrong, matters=share == PER_MILLION))
    return 0, None, 0


def _share(percentage: Percent | None) -> int:
    """Of a million requests; without a percentage all."""
    return PER_MILLION if percentage is None else _clamped(round(percentage.value * _PER_PERCENT))


def _clamped(share: int) -> int:
    return min(max(share, 0), PER_MILLION)


# --- cors ---


def _cors(policy: CorsPolicy, problems: list[Problem]) -> Cors:
    exact = tuple(StringMatch(exact=origin) for origin in policy.allow_origin)
    origins = [_origin(match, f".corsPolicy.allowOrigins[{i}]", problems) for i, match in enumerate(policy.allow_origins or exact)]
    return Cors(
        origins=tuple(origin for origin in origins if origin is not None),
        allow_methods=_listed(policy.allow_methods),
        allow_headers=_listed(policy.allow_headers),
        expose_headers=_listed(policy.expose_headers),
        max_age=str(parse_ms(policy.max_age) // 1000) if policy.max_age else "",
        credentials=bool(policy.allow_credentials),
        ignore_unmatched=policy.unmatched_preflights == "IGNORE",
    )


def _origin(match: StringMatch, field: str, problems: list[Problem]) -> Predicate | None:
    if match.exact is not None:
        return (
            Predicate("header", "present", "origin") if match.exact == "*" else Predicate("header", "exact", "origin", match.exact)
        )
    if match.prefix is not None:
        return Predicate("header", "prefix", "origin", match.prefix)
    wrong = regex_problem(match.regex) if match.regex is not None else "an empty origin"
    if wrong or match.regex is None:
        problems.append(Problem(field, wrong))
        return None
    return Predicate("header", "regex", "origin", match.regex)


def _listed(names: tuple[str, ...]) -> str:
    """What cannot stand in a field is left out; validation has said so."""
    return ",".join(name for name in names if is_url_text(name))


# --- mirrors ---


def _mirrors(
    route: HttpRoute,
    namespace: str,
    server_port: int,
    finder: Finder,
    clusters: list[tuple[ClusterKey, str]],
    problems: list[Problem],
) -> Iterator[MirrorTarget]:
    for destination, share, field in _asked_mirrors(route):
        if destination is None or not destination.host:
            problems.append(Problem(field, "a mirror without a host"))
            continue
        found = weighted(destination, 1, namespace, server_port, finder)
        if found.key is None:
            problems.append(Problem(field, f"{found.why_missing}: nothing is mirrored"))
            continue
        clusters.append((found.key, field))
        to = found.destination
        yield MirrorTarget(to.cluster, share, to.host, to.subset, to.port)


def _asked_mirrors(route: HttpRoute) -> Iterator[tuple[Destination | None, int, str]]:
    """(destination, share, field), without those of 0 % (N11)."""
    if route.mirror is not None:
        percentage = route.mirror_percentage
        if percentage is None and route.mirror_percent is not None:
            percentage = Percent(value=float(route.mirror_percent))
        share = _share(percentage)
        if share:
            yield route.mirror, share, ".mirror"
    for index, mirror in enumerate(route.mirrors):
        share = _share(mirror.percentage)
        if share:
            yield mirror.destination, share, f".mirrors[{index}].destination"
