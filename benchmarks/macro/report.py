"""Rounds -> one row a proxy, as table and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

GOALS = {"relay": 1.25, "nginx": 0.9, "haproxy": 0.75, "envoy": 0.3}
"""fastgw's processor time a request, at the most, as a multiple of each peer's."""


@dataclass(frozen=True)
class Sample:
    """One proxy in one round. Processor time is the proxy's, user and system, a request answered."""

    proxy: str
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    user_us: float
    system_us: float


@dataclass(frozen=True)
class Row:
    """Medians over the rounds; the processor time with its range."""

    proxy: str
    version: str
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    cpu_us_low: float
    cpu_us_high: float
    user_us: float
    system_us: float


def summarise(proxy: str, version: str, samples: Sequence[Sample]) -> Row:
    def median(name: str) -> float:
        return round(statistics.median(getattr(s, name) for s in samples), 3)

    cpu = [s.cpu_us for s in samples]
    return Row(
        proxy,
        version,
        sum(s.requests for s in samples),
        median("requests_per_s"),
        median("p50_ms"),
        median("p99_ms"),
        median("cpu_us"),
        round(min(cpu), 3),
        round(max(cpu), 3),
        median("user_us"),
        median("system_us"),
    )


def ratios(samples: Sequence[Sample]) -> dict[str, float]:
    """fastgw's processor time over each peer's: the median of the rounds' own ratios, so that a slow minute cancels out."""
    by_proxy: dict[str, list[float]] = {}
    for sample in samples:
        by_proxy.setdefault(sample.proxy, []).append(sample.cpu_us)
    ours = by_proxy.pop("fastgw", [])
    return {
        peer: round(statistics.median(a / b for a, b in zip(ours, theirs, strict=False)), 3)
        for peer, theirs in by_proxy.items()
        if ours
    }


def as_table(rows: Sequence[Row], ratio: dict[str, float]) -> str:
    """A Markdown table, so that it can be pasted where it is wanted."""
    head = "| proxy | requests/s | p50 ms | p99 ms | CPU us a request (range) | user | system | fastgw is | goal |"
    lines = [head, "| --- | --: | --: | --: | --: | --: | --: | --: | --: |"]
    for row in rows:
        cpu = f"{row.cpu_us:.1f} ({row.cpu_us_low:.1f}-{row.cpu_us_high:.1f})"
        compared = f"x {ratio[row.proxy]:.2f}" if row.proxy in ratio else ""
        goal = f"<= x {GOALS[row.proxy]}" if row.proxy in GOALS else ""
        lines.append(
            f"| {row.proxy} | {row.requests_per_s:,.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} | {cpu} "
            f"| {row.user_us:.1f} | {row.system_us:.1f} | {compared} | {goal} |"
        )
    return "\n".join(lines)


def as_json(machine: dict[str, str], rows: Sequence[Row], samples: Sequence[Sample], ratio: dict[str, float]) -> dict[str, object]:
    return {
        "machine": machine,
        "proxies": [asdict(row) for row in rows],
        "fastgw_cpu_ratio": ratio,
        "goals": GOALS,
        "samples": [asdict(sample) for sample in samples],
    }
