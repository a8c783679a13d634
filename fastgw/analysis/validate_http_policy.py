"""Rules of retries, faults, CORS and mirroring (fields.md, sections 2.7 to 2.10)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_match, check_ms, check_percent, one_of
from fastgw.analysis.validate_destination import check_destination
from fastgw.model.duration import parse_ns
from fastgw.model.grpc import GRPC_STATUSES
from fastgw.model.kinds.http_route import CorsPolicy, Fault, FaultAbort, FaultDelay, HttpRoute, Retries
from fastgw.model.names import is_token

RETRY_ON = frozenset(
    """5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx refused-stream
    retriable-status-codes retriable-headers http3-post-connect-failure
    cancelled deadline-exceeded internal resource-exhausted unavailable""".split()  # noqa: SIM905
)
HTTP_STATUSES = frozenset(
    (100, 101, 102, 103, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 419), *range(421, 427), 428, 429, 431)
) | frozenset((451, *range(500, 509), 510, 511))
CORS_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"))
LEAST_PERCENT = 0.0001
SECOND_NS = 1_000_000_000


def check_retries(findings: Findings, path: str, retries: Retries) -> None:
    if retries.attempts < 0:
        findings.error(f"{path}.attempts", f"the number of attempts is not negative, got {retries.attempts}")
    if retries.attempts == 0:
        given = (
            ("perTryTimeout", retries.per_try_timeout),
            ("retryOn", retries.retry_on),
            ("retryRemoteLocalities", retries.retry_remote_localities),
        )
        for field, value in given:
            if value:
                findings.error(f"{path}.{field}", f"{field} makes no sense without attempts, which turns retries off")
    check_ms(findings, f"{path}.perTryTimeout", retries.per_try_timeout)
    check_ms(findings, f"{path}.backoff", retries.backoff)
    for word in retries.retry_on.split(",") if retries.retry_on else ():
        findings.problem(f"{path}.retryOn", _retry_on_problem(word))


def _retry_on_problem(word: str) -> str:
    if word in RETRY_ON:
        return ""
    if word.isascii() and word.isdigit():
        return "" if int(word) in HTTP_STATUSES else f"{word} is no registered status"
    if not word:
        return "an empty condition"
    bare = word.strip()
    blank = (
        ", without the blank it is"
        if bare in RETRY_ON or (bare.isascii() and bare.isdigit() and int(bare) in HTTP_STATUSES)
        else ""
    )
    return f'"{word}" is no condition to retry on{blank}'


def check_fault(findings: Findings, path: str, fault: Fault) -> None:
    if fault.delay is None and fault.abort is None:
        findings.error(path, "a fault needs a delay or an abort")
    if fault.delay is not None:
        _check_delay(findings, f"{path}.delay", fault.delay)
    if fault.abort is not None:
        _check_abort(findings, f"{path}.abort", fault.abort)


def _check_delay(findings: Findings, path: str, delay: FaultDelay) -> None:
    one_of(findings, path, {"fixedDelay": delay.fixed_delay, "exponentialDelay": delay.exponential_delay})
    check_ms(findings, f"{path}.fixedDelay", delay.fixed_delay)
    check_ms(findings, f"{path}.exponentialDelay", delay.exponential_delay)
    check_percent(findings, f"{path}.percent", delay.percent)
    if delay.percentage is not None:
        check_percent(findings, f"{path}.percentage.value", delay.percentage.value, LEAST_PERCENT)


def _check_abort(findings: Findings, path: str, abort: FaultAbort) -> None:
    one_of(findings, path, {"httpStatus": abort.http_status, "grpcStatus": abort.grpc_status, "http2Error": abort.http2_error})
    if abort.http_status is not None and not 200 <= abort.http_status <= 600:
        findings.error(f"{path}.httpStatus", f"{abort.http_status} is no status, they go from 200 to 599")
    if abort.grpc_status is not None and abort.grpc_status not in GRPC_STATUSES:
        findings.error(f"{path}.grpcStatus", f'"{abort.grpc_status}" is no gRPC status')
    if abort.http_status is None and abort.grpc_status is None and abort.http2_error is None:
        findings.warn(path, "the abort does not say with what (httpStatus or grpcStatus), so it does nothing")
    if abort.percentage is not None:
        check_percent(findings, f"{path}.percentage.value", abort.percentage.value, LEAST_PERCENT)


def check_cors(findings: Findings, path: str, cors: CorsPolicy) -> None:
    for index, origin in enumerate(cors.allow_origins):
        here = f"{path}.allowOrigins[{index}]"
        if origin.exact == "" or (origin.exact is None and origin.prefix is None and origin.regex is None):
            findings.error(here, "an empty origin")
        check_match(findings, here, origin)
    for index, method in enumerate(cors.allow_methods):
        if method not in CORS_METHODS:
            findings.error(f"{path}.allowMethods[{index}]", f'"{method}" is no method that CORS knows')
    for field, names in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, name in enumerate(names):
            if not is_token(name):
                findings.error(f"{path}.{field}[{index}]", f'"{name}" is no name of a header')
    if cors.max_age is not None:
        check_ms(findings, f"{path}.maxAge", cors.max_age)
        if parse_ns(cors.max_age) % SECOND_NS:
            findings.error(f"{path}.maxAge", f'"{cors.max_age}" is not a whole number of seconds')


def check_mirrors(findings: Findings, path: str, route: HttpRoute) -> None:
    if route.mirror is not None:
        check_destination(findings, f"{path}.mirror", route.mirror)
        if route.mirrors:
            findings.error(f"{path}.mirrors", "mirror and mirrors exclude each other")
    if route.mirror_percent is not None:
        check_percent(findings, f"{path}.mirrorPercent", route.mirror_percent)
        findings.warn(f"{path}.mirrorPercent", "mirrorPercent has been replaced by mirrorPercentage.value")
    if route.mirror_percentage is not None:
        check_percent(findings, f"{path}.mirrorPercentage.value", route.mirror_percentage.value)
    for index, mirror in enumerate(route.mirrors):
        here = f"{path}.mirrors[{index}]"
        check_destination(findings, here if mirror.destination is None else f"{here}.destination", mirror.destination)
        if mirror.percentage is not None:
            check_percent(findings, f"{here}.percentage.value", mirror.percentage.value)
