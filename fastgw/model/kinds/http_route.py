"""The ``http`` block of a VirtualService: every field of Istio's HTTPRoute as a type, whether it has an effect yet or not."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastgw.model.duration import Duration
from fastgw.model.kinds.base import Int32, PortSelector, Spec, StringMatch, UInt32


class Destination(Spec):
    """``port`` None: the only port of the service, else the number of the Gateway's server (statement H2)."""

    host: str = ""
    subset: str = ""
    port: PortSelector | None = None


class Percent(Spec):
    value: float = 0.0


class HeaderOperations(Spec):
    set: dict[str, str] = msgspec.field(default_factory=dict)
    add: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()


class Headers(Spec):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HttpMatch(Spec):
    """HTTPMatchRequest: all conditions must hold (statement G1)."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    port: UInt32 = 0
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    query_params: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    ignore_uri_case: bool = False
    without_headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    source_namespace: str = ""
    stat_prefix: str = ""


class HttpRouteDestination(Spec):
    destination: Destination | None = None
    weight: Int32 = 0
    headers: Headers | None = None


class Redirect(Spec):
    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    port: UInt32 | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str = ""
    redirect_code: UInt32 = 0


class Body(Spec):
    """One of the two; ``bytes`` is base64."""

    string: str | None = None
    bytes: str | None = None


class DirectResponse(Spec):
    status: UInt32 = 0
    body: Body | None = None


class Delegate(Spec):
    name: str = ""
    namespace: str = ""


class RegexRewrite(Spec):
    match: str = ""
    rewrite: str = ""


class Rewrite(Spec):
    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class Retries(Spec):
    attempts: Int32 = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class FaultDelay(Spec):
    percent: Int32 = 0
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class FaultAbort(Spec):
    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = msgspec.field(default=None, name="http2Error")
    percentage: Percent | None = None


class Fault(Spec):
    """Without a percentage nothing is injected."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class Mirror(Spec):
    destination: Destination | None = None
    percentage: Percent | None = None


class CorsPolicy(Spec):
    allow_origin: tuple[str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class HttpRoute(Spec):
    """One rule; exactly one of route, redirect, direct_response and delegate."""

    name: str = ""
    match: tuple[HttpMatch, ...] = ()
    route: tuple[HttpRouteDestination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: Rewrite | None = None
    timeout: Duration | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirror: Destination | None = None
    mirrors: tuple[Mirror, ...] = ()
    mirror_percent: UInt32 | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None
