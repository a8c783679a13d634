"""Reads the Prometheus text format (version 0.0.4), strictly enough to notice a broken line."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


class Metrics:
    """All samples of one scrape."""

    def __init__(self, text: str):
        self.types: dict[str, str] = {}
        self.samples: list[Sample] = []
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.types[name] = kind
            elif line and not line.startswith("#"):
                self.samples.append(self._sample(line))
        seen = [(s.name, tuple(sorted(s.labels.items()))) for s in self.samples]
        assert len(seen) == len(set(seen)), "a series came twice"

    @staticmethod
    def _sample(line: str) -> Sample:
        match = LINE.fullmatch(line)
        assert match, f"not a sample: {line!r}"
        return Sample(match[1], dict(LABEL.findall(match[2] or "")), float(match[3]))

    def find(self, metric: str, **labels: str) -> list[Sample]:
        return [s for s in self.samples if s.name == metric and labels.items() <= s.labels.items()]

    def total(self, metric: str, **labels: str) -> float:
        """The sum over all series of that name with these labels; 0 when there is none."""
        return sum(s.value for s in self.find(metric, **labels))

    def names(self) -> set[str]:
        return {s.name for s in self.samples}
