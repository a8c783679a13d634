"""Stable numbers of things in the state segment: the same cluster and address keep their cell from generation to generation.

A number is handed out anew only when no fresh one is left, and then only if its last user has been gone for ``QUARANTINE``
generations: by that time no worker serves an image that still means the old user by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastgw.image.layout import lib
from fastgw.model.plan import Cluster

QUARANTINE = 8
CELLS = lib.FGW_STATE_CELLS // 2
"""Cells of static endpoints are 0..CELLS-1; the upper half belongs to the DNS resolver."""
DNS_SLOTS: int = lib.FGW_STATE_DNS_SLOTS
CLUSTERS: int = lib.FGW_STATE_CLUSTERS
METRIC_IDS = 1 << 20
RATE_LIMITS: int = lib.FGW_STATE_RATE_LIMITS

Key = tuple[str | int, ...]


class NumbersExhausted(Exception):
    """More things of a kind are in use than the state segment has places for."""


class Numbers:
    """Numbers ``first`` .. ``first + limit - 1`` for keys of one kind. ``what`` names the kind in errors."""

    def __init__(self, what: str, limit: int, first: int = 0, on_shortage: Callable[[], None] = lambda: None) -> None:
        """``on_shortage`` is called before numbers are taken back, to ask once for all that are in use."""
        self.what, self.limit, self.first = what, limit, first
        self.taken = 0
        """How often a key has got a number: as long as this stays, ``to_json`` tells nothing new."""
        self._on_shortage = on_shortage
        self._numbers: dict[Key, int] = {}
        self._last_used: dict[Key, int] = {}
        self._free: list[int] = []
        self._fresh = first

    def of(self, key: Key, generation: int) -> int:
        """The number of ``key``, a new one when it has none; ``generation`` is noted as its last use."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._take(generation)
        self._last_used[key] = generation
        return number

    def _take(self, generation: int) -> int:
        self.taken += 1
        if self._fresh < self.first + self.limit:
            self._fresh += 1
            return self._fresh - 1
        if not self._free:
            self._on_shortage()
            self._release(generation)
        if not self._free:
            raise NumbersExhausted(f"more than {self.limit} {self.what} are in use, or were within {QUARANTINE} generations")
        return self._free.pop()

    def _release(self, generation: int) -> None:
        gone = [key for key, used in self._last_used.items() if used < generation - QUARANTINE]
        for key in gone:
            self._free.append(self._numbers.pop(key))
            del self._last_used[key]

    def renew_all(self, generation: int) -> None:
        """Whatever has a number counts as used in this generation."""
        self._last_used = dict.fromkeys(self._numbers, generation)

    def items(self) -> Iterable[tuple[Key, int]]:
        return self._numbers.items()

    def to_json(self) -> dict[str, Any]:
        used = [[*key, number, self._last_used[key]] for key, number in self._numbers.items()]
        return {"fresh": self._fresh, "free": list(self._free), "used": used}

    def load(self, data: dict[str, Any]) -> None:
        self._fresh, self._free = int(data["fresh"]), list(data["free"])
        self._numbers = {tuple(row[:-2]): row[-2] for row in data["used"]}
        self._last_used = {tuple(row[:-2]): row[-1] for row in data["used"]}


class StateNumbers:
    """All numbers that an image shares with the state segment. ``begin`` is called once for each generation that is written."""

    def __init__(self) -> None:
        self.generation = 0
        self.on_shortage: Callable[[], None] = lambda: None
        """Has to ask for every number that is in use; called when numbers run out."""
        self._cells = Numbers("static endpoints", CELLS, on_shortage=self._shortage)
        self._dns_slots = Numbers("clusters resolved by DNS", DNS_SLOTS, on_shortage=self._shortage)
        self._metric_ids = Numbers("services in the metrics", METRIC_IDS, first=1, on_shortage=self._shortage)
        self._clusters = Numbers("clusters", CLUSTERS, on_shortage=self._shortage)
        self._rate_limits = Numbers("rate limits", RATE_LIMITS, on_shortage=self._shortage)
        self._restored = False
        self._in_shortage = False

    @property
    def taken(self) -> int:
        """Changes whenever something gets a number."""
        return sum(numbers.taken for numbers in self._all())

    def _all(self) -> tuple[Numbers, ...]:
        return self._cells, self._dns_slots, self._metric_ids, self._clusters, self._rate_limits

    def begin(self, generation: int) -> None:
        self.generation = max(self.generation, generation)
        if self._restored:
            # what a predecessor noted may be old: it notes no use as long as nothing gets a number
            self._restored = False
            for numbers in self._all():
                numbers.renew_all(self.generation)

    def _shortage(self) -> None:
        if not self._in_shortage:
            self._in_shortage = True
            try:
                self.on_shortage()
            finally:
                self._in_shortage = False

    def cell_of(self, cluster_name: str, address: str, port: int) -> int:
        """Index of the endpoint's cell. Raises NumbersExhausted."""
        return self._cells.of((cluster_name, address, port), self.generation)

    def dns_slot_of(self, cluster: Cluster) -> int:
        """Index of the slot for the cluster's names. With other names it has another one, so that images with old and new ones can
        be in use side by side. Raises NumbersExhausted."""
        names = [
            f"{place} {each.lookup} {each.address}:{each.port}x{each.weight}"
            for place, each in enumerate(cluster.endpoints)
            if each.lookup
        ]
        return self._dns_slots.of((cluster.name, *names), self.generation)

    def cluster_of(self, cluster_name: str) -> int:
        """Index of what workers count together of a cluster. Raises NumbersExhausted."""
        return self._clusters.of((cluster_name,), self.generation)

    def metric_id_of(self, host: str, service_name: str, service_namespace: str) -> int:
        """Number of the service in the metrics, >= 1; 0 is "unknown". Raises NumbersExhausted."""
        return self._metric_ids.of((host, service_name, service_namespace), self.generation)

    def rate_limit_of(self, policy: str, name: str) -> int:
        """Index of a rate limit's counts. Raises NumbersExhausted."""
        return self._rate_limits.of((policy, name), self.generation)

    def rate_limit_names(self) -> dict[int, tuple[str, str]]:
        """Index -> (policy, name of the limit), also of those that left lately."""
        return {number: (str(key[0]), str(key[1])) for key, number in self._rate_limits.items()}

    def metric_names(self) -> dict[int, tuple[str, str, str]]:
        """metric id -> (host, service name, service namespace), also of services that left lately."""
        return {number: (str(key[0]), str(key[1]), str(key[2])) for key, number in self._metric_ids.items()}

    def to_json(self) -> dict[str, Any]:
        """A value that ``json`` can write and ``from_json`` reads."""
        return {
            "generation": self.generation,
            "cells": self._cells.to_json(),
            "dns_slots": self._dns_slots.to_json(),
            "metric_ids": self._metric_ids.to_json(),
            "clusters": self._clusters.to_json(),
            "rate_limits": self._rate_limits.to_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StateNumbers:
        numbers = cls()
        numbers.generation = int(data["generation"])
        numbers._cells.load(data["cells"])
        numbers._dns_slots.load(data["dns_slots"])
        numbers._metric_ids.load(data["metric_ids"])
        numbers._clusters.load(data["clusters"])
        if "rate_limits" in data:  # a predecessor may know of none
            numbers._rate_limits.load(data["rate_limits"])
        numbers._restored = True
        return numbers
