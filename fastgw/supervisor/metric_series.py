"""Request and connection series of the state segment, by meaning: unpacks their keys and sums the stripes of all workers.

The packing mirrors ``fgw_series_key`` in ``ext/src/state.c``; a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fastgw.native._native import ffi, lib
from fastgw.supervisor.compile_protocol import MetricLabels
from fastgw.supervisor.state import Series, StateSegment, TcpSeries

_FLAG_BITS: dict[str, int] = ffi.typeof("enum fgw_flag").relements
FLAGS = sorted((value, name.removeprefix("FGW_F_")) for name, value in _FLAG_BITS.items())
BOUNDS = (
    "0.5", "1.0", "5.0", "10.0", "25.0", "50.0", "100.0", "250.0", "500.0", "1000.0", "2500.0", "5000.0", "10000.0", "30000.0",
    "60000.0", "300000.0", "600000.0", "1.8e+06", "3.6e+06", "+Inf",
)  # fmt: skip
"""Statement T8, written as Prometheus' own library writes floats; ms or bytes."""
BUCKETS = int(lib.FGW_STATE_BUCKETS)
UNKNOWN = MetricLabels("unknown", "unknown", "unknown")
OVERFLOW = MetricLabels("other", "other", "other")
_USED_BIT = 1 << 14
_METRIC_IDS = (1 << 27) - 1
_PROTOCOLS = {lib.FGW_PROTOCOL_TCP: "tcp", lib.FGW_PROTOCOL_HTTP: "http", lib.FGW_PROTOCOL_GRPC: "grpc"}


class SeriesKey(NamedTuple):
    metric_id: int
    status: int
    flags: int
    protocol: int
    grpc_status: int
    """-1 for none."""


def unpack_key(key: int) -> SeriesKey | None:
    """None for the series that collects what the table had no place for."""
    if not key & _USED_BIT:
        return None
    flags = key >> 16 & 0xFFFF | (key >> 2 & 3) << 16
    return SeriesKey(key >> 32 & _METRIC_IDS, key >> 4 & 0x3FF, flags, key & 3, (key >> 59) - 1)


def flags_text(flags: int) -> str:
    """Envoy's spelling: "NR", "UF,URX", "-" for none."""
    return ",".join(name for bit, name in FLAGS if flags & bit) or "-"


class Labels(NamedTuple):
    """What a key says. ``grpc_status``: a number, or "" (not a gRPC call, or none was given)."""

    service: MetricLabels
    response_code: str
    response_flags: str
    protocol: str
    grpc_status: str


class RequestSeries(NamedTuple):
    """One label set, summed over all workers."""

    service: MetricLabels
    response_code: str
    response_flags: str
    protocol: str
    grpc_status: str
    sums: Series


def collect(state: StateSegment, names: Mapping[int, MetricLabels]) -> list[RequestSeries]:
    """Sorted by labels. Services that are not known (any more) count as "unknown"."""
    totals: dict[int, Series] = {}
    for slot in range(state.workers):
        for key, series in state.series(slot):
            before = totals.get(key)
            totals[key] = series if before is None else _add(before, series)
    merged: dict[Labels, Series] = {}
    for key, series in totals.items():
        labels = _labels(key, names)
        merged[labels] = _add(merged[labels], series) if labels in merged else series
    found = [RequestSeries(*labels, series) for labels, series in merged.items()]
    return sorted(found, key=lambda one: (one.service.host, *one[1:-1]))


class ConnectionSeries(NamedTuple):
    """Relayed connections of one label set, summed over all workers."""

    service: MetricLabels
    response_flags: str
    sums: TcpSeries


def collect_connections(state: StateSegment, names: Mapping[int, MetricLabels]) -> list[ConnectionSeries]:
    """As collect()."""
    merged: dict[tuple[MetricLabels, str], TcpSeries] = {}
    for slot in range(state.workers):
        for key, series in state.tcp_series(slot):
            labels = _labels(key, names)
            place = labels.service, labels.response_flags
            before = merged.get(place, TcpSeries(0, 0, 0, 0))
            merged[place] = TcpSeries(*(a + b for a, b in zip(before, series, strict=True)))
    found = [ConnectionSeries(*labels, series) for labels, series in merged.items()]
    return sorted(found, key=lambda one: (one.service.host, one.response_flags))


def _labels(key: int, names: Mapping[int, MetricLabels]) -> Labels:
    parts = unpack_key(key)
    if parts is None:
        return Labels(OVERFLOW, "other", "other", "other", "")
    status = str(parts.grpc_status) if parts.grpc_status >= 0 else ""
    protocol = _PROTOCOLS.get(parts.protocol, "other")
    return Labels(names.get(parts.metric_id, UNKNOWN), str(parts.status), flags_text(parts.flags), protocol, status)


def _add(a: Series, b: Series) -> Series:
    return Series(
        a.requests + b.requests,
        a.duration_us_sum + b.duration_us_sum,
        a.request_bytes_sum + b.request_bytes_sum,
        a.response_bytes_sum + b.response_bytes_sum,
        tuple(x + y for x, y in zip(a.buckets, b.buckets, strict=True)),
    )


def cumulative(buckets: Iterable[int]) -> list[int]:
    """Running sums, as Prometheus wants them."""
    total = 0
    sums = []
    for count in buckets:
        total += count
        sums.append(total)
    return sums
