"""A cluster in an image and a state segment, with clocks and chance that the test has in its hands."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from image_builders import plan, rule, vhost

from fastgw.image.layout import ffi, lib
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Cluster, Endpoint, Policy

NAME = "outbound|80||a.example"


def addresses(count: int, first: int = 1) -> list[Endpoint]:
    return [Endpoint(f"10.0.{n // 250}.{n % 250 + 1}", 8080) for n in range(first, first + count)]


class World:
    """One cluster and all workers' view of it. ``now_ms`` goes on when the test says so."""

    def __init__(
        self, endpoints: Iterable[Endpoint], lb: str = "least_request", policy: Policy | None = None, seed: int = 1
    ) -> None:
        self.endpoints = sorted(endpoints, key=lambda each: each.priority)
        self.block = ffi.new("char[]", lib.fgw_state_bytes(1))
        self.state: Any = ffi.cast("fgw_state *", self.block)
        lib.fgw_state_init(self.state, 1)
        self.numbers = StateNumbers()
        self.chance = Random(seed)
        self.now_ms = 1_000_000
        self.positions = [0] * 64
        self.generation = 0
        self.use(self.endpoints, lb, policy)

    def use(self, endpoints: Iterable[Endpoint], lb: str, policy: Policy | None = None) -> None:
        """Another image of the same cluster."""
        self.endpoints = list(endpoints)
        discovery = "dns" if any(each.lookup for each in self.endpoints) else "static"
        cluster = Cluster(NAME, "a.example", 80, discovery=discovery, endpoints=self.endpoints, lb=lb, policy=policy or Policy())
        self.generation += 1
        self.image = write_image(plan(vhost(["a.com"], rule("r")), clusters=[cluster]), self.numbers, self.generation)
        self.data = ffi.from_buffer(self.image)
        assert lib.fgw_image_check(self.data, len(self.image)) == 1
        header = ffi.cast("fgw_image_header *", self.data)
        clusters = ffi.cast("fgw_img_cluster *", ffi.cast("char *", self.data) + header.clusters.off)
        policies = ffi.cast("fgw_img_policy *", ffi.cast("char *", self.data) + header.policies.off)
        self.cluster = clusters[0]
        self.policy: Any = None if self.cluster.policy == lib.FGW_NONE else ffi.addressof(policies[self.cluster.policy])

    def cell(self, place: int) -> Any:
        """Of an endpoint."""
        each = self.endpoints[place]
        return ffi.addressof(self.state.cells[self.numbers.cell_of(NAME, each.address, each.port)])

    def cell_number(self, place: int) -> int:
        each = self.endpoints[place]
        return self.numbers.cell_of(NAME, each.address, each.port)

    def pick(self, key: int | None = None, worker: int = 0, avoid: tuple[int, ...] = ()) -> int | None:
        """The place of the endpoint that is picked."""
        ask, target = ffi.new("fgw_ask *"), ffi.new("fgw_target *")
        cells = ffi.new("uint32_t[]", [self.cell_number(place) for place in avoid]) if avoid else ffi.NULL
        ask.random, ask.now_ms, ask.position = self.chance.getrandbits(64), self.now_ms, self.positions[worker]
        ask.has_key, ask.key = key is not None, key or 0
        ask.avoid, ask.avoid_count = cells, len(avoid)
        found = lib.fgw_pick(self.data, self.state, 0, ask, target)
        self.positions[worker] = ask.position
        return int(target.index) if found == lib.FGW_PICK_ONE else None

    def places_of(self, keys: Iterable[int]) -> list[str | None]:
        """The address that each key has."""
        found = (self.pick(key) for key in keys)
        return [None if place is None else self.endpoints[place].address for place in found]
