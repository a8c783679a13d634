"""Plan -> route image. Everything a worker needs to serve a generation, as one block of bytes (layout: ext/include/fgw/image.h).

The image is linked from pieces, one a cluster and two a virtual host; pieces of what has not changed since the last
image are used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastgw.image.chains import add_listener, host_fields
from fastgw.image.layout import HEADER, MAGIC, ImageError, lib
from fastgw.image.link import Host, Linker, Piece
from fastgw.image.numbers import StateNumbers
from fastgw.image.pieces import ClusterBuilder, TailBuilder, nowhere, touch_numbers
from fastgw.image.references import FORMAT, NUMBERS
from fastgw.image.rule_sets import HostBuilder, RuleSet, RuleSetBuilder
from fastgw.image.symbols import Symbols
from fastgw.model.plan import Cluster, Plan, RouteTable, Rule, VirtualHost
from fastgw.model.progress import with_progress

ALIGNMENT = 64
_SPARE_HOSTS = 100
"""So many virtual hosts are kept beyond those in use before it is worth while to look for them."""
_SIZES = [FORMAT.record_bytes(number) for number in NUMBERS.values()]


def write_image(plan: Plan, numbers: StateNumbers, generation: int) -> bytes:
    """The image of ``plan``. Raises ImageError (the format cannot hold it) and NumbersExhausted (too small a state segment)."""
    return ImageWriter(numbers).link(plan, generation).to_bytes()


class LinkedImage:
    """An image whose size is known and that still has to be written, best straight into the memory that workers map."""

    def __init__(self, linker: Linker, generation: int) -> None:
        self._linker = linker
        counts = linker.counts()
        self._offsets: list[int] = []
        at = HEADER.size
        for count, size in zip(counts, _SIZES, strict=True):
            at += -at % ALIGNMENT
            self._offsets.append(at)
            at += count * size
        self.total_bytes = at + -at % ALIGNMENT
        if self.total_bytes > 0xFFFFFFFF:
            raise ImageError(f"the image has {self.total_bytes} bytes, more than 4 GiB")
        places = [number for pair in zip(self._offsets, counts, strict=True) for number in pair]
        self._header = HEADER.pack(MAGIC, lib.FGW_IMAGE_VERSION, HEADER.size, self.total_bytes, generation, *places)

    def write_into(self, memory: bytearray | memoryview) -> None:
        """``memory``: ``total_bytes`` zeroes. To be called before the next link."""
        memory[: len(self._header)] = self._header
        self._linker.write(memory, self._offsets)

    def to_bytes(self) -> bytes:
        memory = bytearray(self.total_bytes)
        self.write_into(memory)
        return bytes(memory)


class _Known(NamedTuple):
    """A virtual host of the last image. It is the same one as long as it is the same object: the compiler changes none."""

    source: VirtualHost
    host: Host


class _KnownRules(NamedTuple):
    """``rules`` keeps the rules alive, whose identities are the key."""

    rules: tuple[Rule, ...]
    written: RuleSet


class ImageWriter:
    """Writes images of a changing Plan. Objects of a Plan that it has seen must not be changed afterwards."""

    def __init__(self, numbers: StateNumbers) -> None:
        self._numbers = numbers
        numbers.on_shortage = self._renew_all_numbers
        self._symbols = Symbols()
        self._host_builder = HostBuilder(self._symbols, numbers)
        self._rule_set_builder = RuleSetBuilder(self._symbols, numbers)
        self._clusters: dict[str, tuple[Cluster, Piece]] = {}
        self._hosts: dict[int, _Known] = {}
        self._rule_sets: dict[tuple[int, ...], _KnownRules] = {}

    def link(self, plan: Plan, generation: int) -> LinkedImage:
        """Raises ImageError and NumbersExhausted; the next link then writes everything anew."""
        self._numbers.begin(generation)
        try:
            return self._link(plan, generation)
        except BaseException:
            self._clusters, self._hosts, self._rule_sets = {}, {}, {}
            raise

    def _link(self, plan: Plan, generation: int) -> LinkedImage:
        linker = Linker(FORMAT, sum(len(table.virtual_hosts) for table in plan.route_tables.values()))
        linker.add(nowhere(self._symbols))
        for piece in self._pieces_of(plan.clusters.values()):
            linker.add(piece)
        tail = TailBuilder(self._symbols, self._numbers)
        tables = [(table, self._hosts_of(table)) for table in plan.route_tables.values()]
        for table, hosts in tables:
            first = linker.add_hosts(hosts)
            exact, wild, default = linker.add_domains(hosts)
            tail.add_route_table(table, first, len(hosts), *host_fields(exact, wild, default))
        for listener in plan.listeners:
            add_listener(tail, linker, listener)
        linker.add(tail.tables.take())
        self._forget_unused(plan)
        return LinkedImage(linker, generation)

    def _pieces_of(self, clusters: Iterable[Cluster]) -> list[Piece]:
        pieces = []
        for cluster in clusters:
            known = self._clusters.get(cluster.name)
            if known is None or known[0] is not cluster:
                if known is not None:
                    # its endpoints may be others now: theirs have been in use until this moment
                    self._renew_numbers(known[0])
                known = self._clusters[cluster.name] = (cluster, ClusterBuilder(self._symbols, self._numbers).build(cluster))
            pieces.append(known[1])
        return pieces

    def _hosts_of(self, table: RouteTable) -> list[Host]:
        hosts, seen = [], self._hosts
        for vhost in with_progress("writing virtual hosts", table.virtual_hosts, len(table.virtual_hosts)):
            known = seen.get(id(vhost))
            if known is None:
                known = seen[id(vhost)] = _Known(vhost, self._host_builder.build(vhost, self._rule_set(vhost.rules)))
            hosts.append(known.host)
        return hosts

    def _rule_set(self, rules: list[Rule]) -> RuleSet:
        key = tuple(map(id, rules))
        known = self._rule_sets.get(key)
        if known is None:
            known = self._rule_sets[key] = _KnownRules(tuple(rules), self._rule_set_builder.build(rules))
        return known.written

    # --- what is kept ---

    def _forget_unused(self, plan: Plan) -> None:
        """Clusters that are gone now, virtual hosts when half of what is kept is not in use any more."""
        if len(self._clusters) > len(plan.clusters):
            for name in self._clusters.keys() - plan.clusters.keys():
                self._renew_numbers(self._clusters.pop(name)[0])
        used = sum(len(table.virtual_hosts) for table in plan.route_tables.values())
        if max(len(self._hosts), len(self._rule_sets)) > 2 * used + _SPARE_HOSTS:
            vhosts = [vhost for table in plan.route_tables.values() for vhost in table.virtual_hosts]
            self._hosts = {id(vhost): self._hosts[id(vhost)] for vhost in vhosts}
            keys = {tuple(map(id, vhost.rules)) for vhost in vhosts}
            self._rule_sets = {key: known for key, known in self._rule_sets.items() if key in keys}

    def _renew_all_numbers(self) -> None:
        for cluster, _ in self._clusters.values():
            self._renew_numbers(cluster)
        guards = {rule.action.guards for known in self._rule_sets.values() for rule in known.rules}
        for each in guards | {known.source.guards for known in self._hosts.values()}:
            for limit in each.rate_limits if each is not None else ():
                self._numbers.rate_limit_of(limit.policy, limit.name)

    def _renew_numbers(self, cluster: Cluster) -> None:
        """They are in use in this generation."""
        touch_numbers(cluster, self._numbers)
