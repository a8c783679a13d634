"""telemetry.istio.io Telemetry: access logs, metrics and traces of the workloads it is for."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastgw.model.duration import Duration
from fastgw.model.kinds.base import LabelSelector, Spec
from fastgw.model.kinds.policy import TargetRef

Mode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]


class ProviderRef(Spec):
    name: str = ""


class LogMatch(Spec):
    mode: Mode = "CLIENT_AND_SERVER"


class LogFilter(Spec):
    """``expression`` is CEL over the attributes of a request."""

    expression: str = ""


class AccessLogging(Spec):
    match: LogMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


class MetricMatch(Spec):
    metric: str | None = None
    custom_metric: str | None = None
    mode: Mode = "CLIENT_AND_SERVER"


class TagOverride(Spec):
    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str = ""


class MetricOverride(Spec):
    match: MetricMatch | None = None
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = msgspec.field(default_factory=dict)


class Metrics(Spec):
    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricOverride, ...] = ()
    reporting_interval: Duration | None = None


class Tracing(Spec):
    match: LogMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: float | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, Any] = msgspec.field(default_factory=dict)
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class Telemetry(Spec):
    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
