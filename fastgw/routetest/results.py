"""What came of running route tests: plain values that the text, JSON and JUnit forms are made from."""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.model.diagnostic import Diagnostic
from fastgw.model.origin import NOWHERE, Origin


class Difference(msgspec.Struct, frozen=True):
    """A field of ``expect`` that came out otherwise; both sides in words."""

    field: str
    expected: str
    actual: str


class CaseResult(msgspec.Struct):
    """One test. ``document``: "namespace/name" of its RouteTest. ``answer``: the explanation of its request."""

    document: str
    name: str
    method: str
    url: str
    differences: list[Difference]
    answer: dict[str, Any]
    seconds: float = 0.0
    origin: Origin = NOWHERE

    @property
    def passed(self) -> bool:
        return not self.differences


class CoveredRule(msgspec.Struct, frozen=True):
    """A rule of the configuration; indexes count from 0 within the VirtualService. ``tests``: how many tests it took."""

    virtual_service: str
    route: int
    match: int
    name: str
    origin: Origin
    tests: int


class Report(msgspec.Struct):
    """``broken``: findings on account of which tests may be missing. ``rules``: every rule that is served, in file order."""

    results: list[CaseResult]
    broken: list[Diagnostic]
    rules: list[CoveredRule]

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results)

    @property
    def failed(self) -> int:
        return len(self.results) - self.passed

    @property
    def unread(self) -> int:
        """Documents (or files) that ``broken`` is about."""
        return len({(found.origin.file, found.kind, found.namespace, found.name) for found in self.broken})

    @property
    def untouched(self) -> list[CoveredRule]:
        return [rule for rule in self.rules if not rule.tests]

    @property
    def percent(self) -> float:
        """Share of the rules that some test takes; 100 when there are none."""
        return round(100 * (len(self.rules) - len(self.untouched)) / len(self.rules), 1) if self.rules else 100.0

    @property
    def good(self) -> bool:
        return not self.failed and not self.broken
