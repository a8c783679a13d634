"""What a route match costs, by the number of hosts and of prefix rules on one host: ns a match, and bytes of image a route.

python benchmarks/scale/match_cost.py [--json FILE] [--max N]

Two columns say what of the cost of random requests is not the matcher's doing. "bare": the same requests where there is a single
virtual host, which leaves the reading of the requests themselves. "miss": one step of a walk in random order through as much memory
as the matcher's tables have, that is, one cache miss that nothing can hide.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from fastgw.image.layout import HEADER, TABLES, ffi, lib  # noqa: E402
from fastgw.image.numbers import StateNumbers  # noqa: E402
from fastgw.image.writer import write_image  # noqa: E402
from fastgw.model.origin import Origin  # noqa: E402
from fastgw.model.plan import (  # noqa: E402
    Action,
    Chain,
    Cluster,
    Endpoint,
    Listener,
    ObjectRef,
    PathMatch,
    Plan,
    Predicate,
    RouteTable,
    Rule,
    VirtualHost,
    WeightedDestination,
)

SIZES = [1, 100, 10_000, 100_000]
REQUESTS = 20_000
PASS_NS = 1_000_000
"""A pass is short enough to be seldom interrupted; the best of many counts."""
BEST_OF = 150
CHASE_STEPS = 200_000
Target = tuple[bytes, bytes, tuple[bytes, bytes] | None]


def rule_of(i: int, path: PathMatch | None, *predicates: Predicate) -> Rule:
    place = Origin(f"virtual-services-{i // 100}.yaml", 1 + i % 100 * 20, 1)
    owner = ObjectRef("VirtualService", f"default/shop-{i}", place)
    cluster = f"outbound|8080||shop-{i % 1000}.default.svc.cluster.local"
    return Rule("", owner, 0, 0, Action("route", (WeightedDestination(cluster, 100),)), path, predicates, place)


def plan_of(vhosts: list[VirtualHost]) -> Plan:
    clusters = {}
    for i in range(1000):
        name = f"outbound|8080||shop-{i}.default.svc.cluster.local"
        clusters[name] = Cluster(name, name[16:], 8080, endpoints=[Endpoint(f"10.0.{i // 250}.{i % 250}", 8080)])
    listener = Listener("0.0.0.0_80", "", 80, "HTTP", [], [Chain("http.80", route_table="http.80")])
    return Plan([listener], {"http.80": RouteTable("http.80", vhosts)}, clusters)


def by_hosts(count: int, wildcards: bool = False) -> tuple[Plan, list[Target], Target]:
    star = "*." if wildcards else ""
    names = [f"shop-{i}.customers.example.com" for i in range(count)]
    hosts = [VirtualHost(f"{n}:80", [star + n], [rule_of(i, PathMatch("prefix", "/"))]) for i, n in enumerate(names)]
    front = b"www." if wildcards else b""
    targets: list[Target] = [(front + name.encode(), b"/catalog/items/4711", None) for name in names]
    return plan_of(hosts), targets, (b"nowhere.customers.example.com", b"/catalog/items/4711", None)


def by_rules(count: int) -> tuple[Plan, list[Target], Target]:
    """Prefix rules on one host."""
    paths = [f"/team-{i % 97}/service-{i}/v1" for i in range(count)]
    host = VirtualHost("a.example.com:80", ["a.example.com"], [rule_of(i, PathMatch("prefix", p)) for i, p in enumerate(paths)])
    targets: list[Target] = [(b"a.example.com", path.encode() + b"/orders", None) for path in paths]
    return plan_of([host]), targets, (b"a.example.com", b"/team-1/service-x/v1", None)


def by_header(count: int) -> tuple[Plan, list[Target], Target]:
    """Rules on one host that differ in a header's value."""
    rules = [rule_of(i, PathMatch("prefix", "/"), Predicate("header", "exact", "x-tenant", f"tenant-{i}")) for i in range(count)]
    host = VirtualHost("a.example.com:80", ["a.example.com"], rules)
    targets: list[Target] = [(b"a.example.com", b"/orders", (b"x-tenant", f"tenant-{i}".encode())) for i in range(count)]
    return plan_of([host]), targets, (b"a.example.com", b"/orders", (b"x-tenant", b"none"))


def by_regex(count: int) -> tuple[Plan, list[Target], Target]:
    """Rules on one host whose regexes begin with anything."""
    shapes = ["/[^/]+/orders/{i}", "/.*/item-{i}(/.*)?", "/(v1|v2)/shop-{i}/.*", ".*/export-{i}\\.csv"]
    paths = ["/eu/orders/{i}", "/a/b/item-{i}/x", "/v2/shop-{i}/cart", "/files/2024/export-{i}.csv"]
    rules = [rule_of(i, PathMatch("regex", shapes[i % 4].format(i=i))) for i in range(count)]
    host = VirtualHost("a.example.com:80", ["a.example.com"], rules)
    targets: list[Target] = [(b"a.example.com", paths[i % 4].format(i=i).encode(), None) for i in range(count)]
    return plan_of([host]), targets, (b"a.example.com", b"/nothing/of/the/kind", None)


def by_value_regex(count: int) -> tuple[Plan, list[Target], Target]:
    """Rules on one host that differ in a regex on a header."""
    rules = [
        rule_of(i, PathMatch("prefix", "/"), Predicate("header", "regex", "x-tenant", f".*-tenant-{i}(-.*)?")) for i in range(count)
    ]
    host = VirtualHost("a.example.com:80", ["a.example.com"], rules)
    targets: list[Target] = [(b"a.example.com", b"/orders", (b"x-tenant", f"eu-tenant-{i}-web".encode())) for i in range(count)]
    return plan_of([host]), targets, (b"a.example.com", b"/orders", (b"x-tenant", b"none"))


CASES: dict[str, Callable[[int], tuple[Plan, list[Target], Target]]] = {
    "hosts": by_hosts,
    "wildcard hosts": lambda count: by_hosts(count, wildcards=True),
    "prefix rules": by_rules,
    "header values": by_header,
    "open regexes": by_regex,
    "header regexes": by_value_regex,
}


class Bench:
    """The C loop, compiled for this run from the sources of the product."""

    def __init__(self, directory: str) -> None:
        library = Path(directory) / "route_bench.so"
        sources = [ROOT / "ext/src/route.c", ROOT / "ext/src/hash.c", Path(__file__).with_name("route_bench.c")]
        flags = ["-O3", "-std=gnu11", "-shared", "-fPIC", f"-I{ROOT / 'ext/include'}", f"-I{ROOT / 'ext/src'}"]
        subprocess.run(["cc", *flags, "-o", str(library), *map(str, sources)], check=True)
        loader = FFI()
        loader.cdef("""
            uint64_t fgw_route_bench(const void *, const void *, size_t, size_t, void *, const void *, uint64_t *);
            uint64_t fgw_chase_bench(size_t, size_t, uint64_t *);
        """)
        self._ffi, self._lib = loader, loader.dlopen(str(library))

    def ns(self, image: Any, requests: Any, count: int) -> float:
        total = self._ffi.new("uint64_t *")
        regexes = ffi.gc(lib.fgw_regexes_open(image, ffi.NULL), lib.fgw_regexes_close)
        image, requests, regexes_, calls = (
            self._ffi.cast("void *", int(ffi.cast("uintptr_t", p))) for p in (image, requests, regexes, lib.fgw_regexes_calls())
        )
        bench = self._lib.fgw_route_bench
        once = bench(image, requests, count, 1, regexes_, calls, total) / count
        rounds = max(1, int(PASS_NS / max(once, 1)) // count)
        return min(bench(image, requests, count, rounds, regexes_, calls, total) for _ in range(BEST_OF)) / rounds / count

    def cache_miss_ns(self, size: int) -> float:
        """Of a random line among ``size`` bytes."""
        total = self._ffi.new("uint64_t *")
        return min(self._lib.fgw_chase_bench(size, CHASE_STEPS, total) for _ in range(3)) / CHASE_STEPS


def c_requests(targets: list[Target]) -> tuple[Any, Any]:
    """An array of requests, and what has to stay alive with it."""
    requests = ffi.new("fgw_route_request[]", len(targets))
    kept: dict[Any, Any] = {}  # equal texts once: on a real gateway a request is in the cache when it is matched
    for request, (host, path, header) in zip(requests, targets, strict=True):
        texts = {"host": host, "authority": host, "path": path, "raw_path": path, "query": b"", "method": b"GET", "scheme": b"http"}
        for name, value in texts.items():
            setattr(request, name, kept.setdefault(value, ffi.from_buffer(value)))
            setattr(request, f"{name}_len", len(value))
        names = [(b"user-agent", b"curl/8.0"), (b"accept", b"*/*"), *([header] if header else [])]
        if tuple(names) not in kept:
            kept[tuple(names)] = fields_of(names)
        request.fields, request.base = kept[tuple(names)]
        request.field_count = len(names)
    return requests, kept


def fields_of(headers: list[tuple[bytes, bytes]]) -> tuple[Any, Any]:
    fields, head = ffi.new("fgw_field[]", len(headers)), b""
    for field, (name, value) in zip(fields, headers, strict=True):
        field.name_off, field.name_len, field.value_off, field.value_len = len(head), len(name), len(head + name), len(value)
        field.id = lib.fgw_header_id_of(name, len(name))
        head += name + value
    return fields, ffi.new("char[]", head)


BARE = VirtualHost("any:80", ["www.example.com", "*"], [rule_of(0, PathMatch("prefix", "/"))])
_LOOKED_AT = ("slots", "vhosts", "nodes", "lists", "candidates", "groups", "rules", "predicates")


def looked_at_bytes(data: bytes) -> int:
    """Size of the tables that a match reads."""
    header = dict(zip(HEADER.names, HEADER.unpack_from(data), strict=True))
    return sum(header[f"{name}.count"] * (TABLES[name].size if name in TABLES else 4) for name in _LOOKED_AT)


def measure(bench: Bench, case: str, count: int) -> dict[str, Any]:
    plan, targets, miss = CASES[case](count)
    start = time.perf_counter()
    data = write_image(plan, StateNumbers(), 1)
    written_s = time.perf_counter() - start
    image = ffi.from_buffer(data)
    assert lib.fgw_image_check(image, len(data)) == 1
    picks = random.Random(1)
    mixes = {
        "first": [targets[0]],
        "last": [targets[-1]],
        "random": [picks.choice(targets) for _ in range(REQUESTS)],
        "miss": [miss],
    }
    row: dict[str, Any] = {"case": case, "count": count, "image_bytes": len(data), "write_s": round(written_s, 3)}
    for name, mix in mixes.items():
        requests, _kept = c_requests(mix)
        row[f"{name}_ns"] = round(bench.ns(image, requests, len(mix)), 1)
        if name == "random":
            bare = write_image(plan_of([BARE]), StateNumbers(), 1)
            row["bare_ns"] = round(bench.ns(ffi.from_buffer(bare), requests, len(mix)), 1)
    row["cache_miss_ns"] = round(bench.cache_miss_ns(looked_at_bytes(data)), 1)
    return row


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", type=Path)
    options.add_argument("--max", type=int, default=100_000)
    chosen = options.parse_args()
    rows: list[dict[str, Any]] = []
    heads = "".join(f"{head:>9}" for head in ("first", "last", "no match", "random", "bare", "miss"))
    print(f"{'':16}{'count':>8}{heads}  ns   {'B/route':>8}{'written':>9}")
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(directory)
        for case in CASES:
            for count in SIZES:
                if count > chosen.max or (case not in ("hosts", "wildcard hosts") and count > 10_000):
                    continue
                row = measure(bench, case, count)
                rows.append(row)
                times = "".join(f"{row[f'{name}_ns']:9.1f}" for name in ("first", "last", "miss", "random", "bare", "cache_miss"))
                per_route = row["image_bytes"] // count if count >= 10_000 else "-"
                print(f"{case:16}{count:8}{times}       {per_route:>8}{row['write_s']:8.2f}s", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
