"""The difference between two Plans as plain values, and between two answers to the same traffic."""

from __future__ import annotations

import msgspec

from fastgw.image.asked import Asked
from fastgw.model.origin import NOWHERE, Origin
from fastgw.model.plan import Rule

ADDED, REMOVED, CHANGED, MOVED = "added", "removed", "changed", "moved"


class FieldChange(msgspec.Struct, frozen=True):
    """A field in words; "" on the side where there is nothing."""

    field: str
    old: str
    new: str


class ThingChange(msgspec.Struct, frozen=True):
    """A listener, virtual host or cluster. ``old_origin``, ``new_origin``: NOWHERE on the side where it does not exist."""

    change: str
    name: str
    detail: str = ""
    fields: tuple[FieldChange, ...] = ()
    old_origin: Origin = NOWHERE
    new_origin: Origin = NOWHERE


class RuleChange(msgspec.Struct, frozen=True):
    """A rule of one virtual host, or of several that share it. ``over``: a rule that a moved one passed and overlaps with."""

    change: str
    virtual_hosts: tuple[str, ...]
    old: Rule | None
    new: Rule | None
    fields: tuple[FieldChange, ...] = ()
    over: Rule | None = None


class PlanChanges(msgspec.Struct):
    """What is different for traffic. Names of objects, files and lines alone make no difference."""

    listeners: list[ThingChange]
    hosts: list[ThingChange]
    rules: list[RuleChange]
    clusters: list[ThingChange]

    def __bool__(self) -> bool:
        return bool(self.listeners or self.hosts or self.rules or self.clusters)


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of a request, in words. ``statuses`` as in fastgw.image.decide; "" where a field does not apply."""

    action: str
    statuses: tuple[int, ...]
    rule: str
    destinations: tuple[str, ...]
    location: str = ""
    path: str = ""
    authority: str = ""


class TrafficGroup(msgspec.Struct, frozen=True):
    """Requests that change in the same way: how many, which fields, one of them."""

    count: int
    fields: tuple[FieldChange, ...]
    example: Asked


class TrafficChanges(msgspec.Struct):
    """``requests``: how many were looked at; ``skipped``: lines that are no requests, ``first_skipped`` counts from 1 (0: none)."""

    requests: int
    changed: int
    groups: list[TrafficGroup]
    skipped: int = 0
    first_skipped: int = 0
