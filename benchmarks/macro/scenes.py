"""Scenes: one kind of load with its unit, measured on every proxy -> one row a proxy and scene, as table and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import procfs


@dataclass(frozen=True)
class Goal:
    """fastgw's cost may be ``times`` that of the best of ``against``."""

    times: float
    against: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """``rate`` says what is counted, ``cost`` what one of it is measured in. ``limit``: what fastgw's cost may be at the most."""

    name: str
    title: str
    rate: str
    cost: str
    goals: tuple[Goal, ...] = ()
    limit: float | None = None

    def progress(self, turn: int, sample: Sample) -> str:
        """What is said while it runs."""
        return f"{self.name} round {turn}  {sample.proxy:14} {sample.cost:8.3f} {self.cost}, {sample.busy:.0%} of a core"


@dataclass(frozen=True)
class Sample:
    """One proxy in one round of a scene. ``busy`` is the part of a core that the proxy took."""

    scene: str
    proxy: str
    units: float
    rate: float
    cost: float
    user_share: float = 0.0
    busy: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def sample(
    scene: str,
    proxy: str,
    units: float,
    used: procfs.CpuTime,
    took_us: float,
    latency: Mapping[str, float] | None = None,
    cost_ns: float = 1e3,
) -> Sample:
    """``units`` that took the proxy ``used`` of processor time. ``cost_ns``: what the cost is counted in."""
    return Sample(
        scene,
        proxy,
        round(units, 3),
        rate=round(units / took_us * 1e6, 3),
        cost=round(used.total_ns / cost_ns / units, 4),
        user_share=round(used.user_share, 3),
        busy=round(used.total_ns / 1e3 / took_us, 3),
        p50_ms=latency["p50_ms"] if latency else 0.0,
        p99_ms=latency["p99_ms"] if latency else 0.0,
    )


@dataclass(frozen=True)
class Row:
    """Medians over the rounds; the cost with its range. ``ratio``: fastgw's cost over this proxy's, round by round."""

    scene: str
    proxy: str
    rate: float
    cost: float
    cost_low: float
    cost_high: float
    user_share: float
    busy: float
    p50_ms: float
    p99_ms: float
    ratio: float | None


def summarise(samples: Sequence[Sample]) -> list[Row]:
    """One row for each scene and proxy, in the order in which they first came."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.scene, sample.proxy), []).append(sample)
    return [_row(group, groups.get((scene, "fastgw"), [])) for (scene, _), group in groups.items()]


def _row(group: Sequence[Sample], ours: Sequence[Sample]) -> Row:
    def median(name: str, digits: int = 3) -> float:
        return round(statistics.median(getattr(s, name) for s in group), digits)

    costs = [s.cost for s in group]
    first = group[0]
    ratio = None
    if ours and first.proxy != "fastgw":
        ratio = round(statistics.median(a.cost / b.cost for a, b in zip(ours, group, strict=False)), 3)
    return Row(
        first.scene,
        first.proxy,
        median("rate"),
        median("cost"),
        round(min(costs), 3),
        round(max(costs), 3),
        median("user_share"),
        median("busy"),
        median("p50_ms"),
        median("p99_ms"),
        ratio,
    )


def verdict(scene: Scene, rows: Iterable[Row]) -> str:
    """The goals and how far fastgw is from them, or nothing when it was not measured."""
    rows = [row for row in rows if row.scene == scene.name]
    ours = next((row for row in rows if row.proxy == "fastgw"), None)
    if ours is None:
        return ""
    if scene.limit is not None:
        return f"goal: at most {scene.limit:g} {scene.cost}; fastgw: {ours.cost:.1f}"
    said = []
    for goal in scene.goals:
        ratios = [row.ratio for row in rows if row.proxy in goal.against and row.ratio is not None]
        best_of = "the best of " if len(goal.against) > 1 else ""
        if ratios:
            said.append(f"at most x {goal.times:g} of {best_of}{', '.join(goal.against)}; fastgw: x {max(ratios):.2f}")
    return f"goal: {'. Goal: '.join(said)}" if said else ""


def as_tables(kinds: Sequence[Scene], rows: Sequence[Row]) -> str:
    """A Markdown table for each scene that was measured, with its goal below."""
    blocks = []
    for scene in kinds:
        own = [row for row in rows if row.scene == scene.name]
        if not own:
            continue
        lines = [f"{scene.title}:", "", f"| proxy | {scene.rate} | {scene.cost} (range) | fastgw is |", "| --- | --: | --: | --: |"]
        for row in own:
            ratio = f"x {row.ratio:.2f}" if row.ratio is not None else ""
            lines.append(f"| {row.proxy} | {_figure(row.rate)} | {_range(row)} | {ratio} |")
        said = verdict(scene, rows)
        blocks.append("\n".join([*lines, *(["", said[0].upper() + said[1:] + "."] if said else [])]))
    return "\n\n".join(blocks)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _range(row: Row) -> str:
    digits = 1 if row.cost >= 10 else 3
    return f"{row.cost:.{digits}f} ({row.cost_low:.{digits}f}-{row.cost_high:.{digits}f})"


def as_json(
    machine: Mapping[str, str], versions: Mapping[str, str], rows: Sequence[Row], samples: Sequence[Sample]
) -> dict[str, Any]:
    return {
        "machine": machine,
        "versions": versions,
        "rows": [asdict(row) for row in rows],
        "samples": [asdict(sample) for sample in samples],
    }
