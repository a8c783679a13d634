"""How fastgw scales with the number of hosts and rules: match cost, compilation, changes while serving, memory; and its peers.

python benchmarks/scale/run.py [--sizes 1000,5000,20000] [--json FILE] [--plot FILE]   a few minutes
python benchmarks/scale/run.py --sizes 5000,20000,100000                                the whole scale

Prints tables; the plot needs matplotlib. See benchmarks/README.md for how the figures are to be read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "macro"), str(HERE.parents[1])]

import changes  # noqa: E402
import match_cost  # noqa: E402
import peers  # noqa: E402
import proxies  # noqa: E402
import worlds  # noqa: E402

Row = dict[str, Any]
PER_FILE = 100
SHAPES = [("yaml", PER_FILE), ("yaml", 1), ("json", PER_FILE)]


def table(title: str, rows: list[Row], columns: dict[str, str]) -> None:
    """``columns``: key -> heading."""
    print(f"\n{title}")
    cells = [list(columns.values()), *([str(row.get(key, "-")) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def match_rows(directory: Path, largest: int) -> list[Row]:
    bench = match_cost.Bench(str(directory))
    cases = [("hosts", n) for n in match_cost.SIZES] + [("prefix rules", n) for n in match_cost.SIZES if n <= 10_000]
    return [match_cost.measure(bench, case, count) for case, count in cases if count <= max(largest, 10_000)]


def compile_rows(directory: Path, sizes: list[int]) -> list[Row]:
    """Each in a process of its own, so that its memory is its own."""
    rows = []
    for size in sizes:
        for form, per_file in SHAPES:
            with tempfile.TemporaryDirectory(dir=directory) as folder:
                world = Path(folder) / "world"
                worlds.write_world(world, size, per_file, form)
                command = [sys.executable, str(HERE / "compile_times.py"), str(world)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"virtual_services": size, "form": form, "per_file": per_file, **json.loads(done.stdout)})
    return rows


def change_rows(directory: Path, sizes: list[int], rounds: int, burst: int) -> list[Row]:
    """One file a VirtualService; with very many, a hundred a file as well."""
    rows = []
    port = proxies.free_port()
    origin = subprocess.Popen([proxies.compile_c("origin", directory), str(port)])
    try:
        for size in sizes:
            for per_file in (1, PER_FILE):
                with tempfile.TemporaryDirectory(dir=directory) as folder:
                    world = Path(folder) / "world"
                    worlds.write_world(world, size, per_file, "yaml", port)
                    found = changes.measure(world, Path(folder), size, per_file, "yaml", rounds, burst)
                rows.append(flat(found))
    finally:
        origin.kill()
        origin.wait()
    return rows


def flat(found: Row) -> Row:
    steady, writes, meanwhile, memory, counts = (
        found.pop(name) for name in ("steady", "writes", "meanwhile", "worker_kb", "counts")
    )
    return {
        **found,
        "steady_p99_ms": steady["p99_ms"],
        "writes_p99_ms": writes["p99_ms"],
        "meanwhile_p99_ms": meanwhile["p99_ms"],
        "requests": sum(part["requests"] for part in (steady, writes, meanwhile)),
        "failed": sum(part["failed"] for part in (steady, writes, meanwhile)),
        "private_kb": memory["Private"],
        "pss_kb": memory["Pss"],
        "rules": counts["rules"],
        "image_bytes_a_rule": round(counts["image_bytes"] / max(counts["rules"], 1)),
    }


def draw(path: Path, results: dict[str, list[Row]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ((match, cold), (change, memory)) = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for case in ("hosts", "prefix rules"):
        rows = [row for row in results["match"] if row["case"] == case]
        match.plot([row["count"] for row in rows], [row["random_ns"] for row in rows], marker="o", label=case)
    match.set(title="cost of a match", xscale="log", xlabel="hosts, or rules on one host", ylabel="ns")
    for form, per_file in SHAPES:
        rows = [row for row in results["compile"] if (row["form"], row["per_file"]) == (form, per_file)]
        cold.plot(
            [row["virtual_services"] for row in rows],
            [row["seconds"] for row in rows],
            marker="o",
            label=f"{form}, {per_file} a file",
        )
    cold.set(title="cold compilation", xlabel="VirtualServices", ylabel="s")
    for per_file in (1, PER_FILE):
        rows = [row for row in results["changes"] if row["per_file"] == per_file]
        sizes = [row["virtual_services"] for row in rows]
        change.plot(sizes, [row["change_ms"] for row in rows], marker="o", label=f"{per_file} a file")
        memory.plot(sizes, [row["private_kb"] / 1024 for row in rows], marker="o", label=f"{per_file} a file")
    change.set(title="one changed file until served", xlabel="VirtualServices", ylabel="ms")
    memory.set(title="private memory of a worker", xlabel="VirtualServices", ylabel="MiB")
    for axes in (match, cold, change, memory):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    print(f"\nplot: {path}")


COLUMNS: dict[str, tuple[str, dict[str, str]]] = {
    "match": (
        "cost of a match (ns)",
        {
            "case": "case", "count": "count", "first_ns": "first", "last_ns": "last", "miss_ns": "no match",
            "random_ns": "random", "bare_ns": "bare", "cache_miss_ns": "one cache miss",
        },
    ),
    "compile": (
        "cold compilation, one process",
        {
            "virtual_services": "VirtualServices", "form": "form", "per_file": "a file", "seconds": "s", "cpu_seconds": "CPU s",
            "load_s": "load", "compile_s": "compile", "write_s": "write", "peak_mb": "peak MB", "bytes_a_rule": "image B/rule",
        },
    ),
    "changes": (
        "one changed file until it is served, through a running gateway under 200 requests/s",
        {
            "virtual_services": "VirtualServices", "per_file": "a file", "start_s": "start s", "change_ms": "median ms",
            "change_worst_ms": "worst ms", "burst": "burst", "burst_served_ms": "last served ms",
            "burst_generations": "generations", "failed": "failed", "steady_p99_ms": "p99 steady",
            "writes_p99_ms": "p99 writes alone", "meanwhile_p99_ms": "p99 meanwhile", "private_kb": "worker private KB",
            "image_bytes_a_rule": "image B/rule",
        },
    ),
    "peers": (
        "prefix rules on one host: processor time a request (us), requests/s",
        {
            "proxy": "proxy", "version": "version", "rules": "rules", "first_us": "first us", "last_us": "last us",
            "first_per_s": "first/s", "last_per_s": "last/s",
        },
    ),
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", default="1000,5000,20000", help="numbers of VirtualServices")
    options.add_argument("--rounds", type=int, default=10, help="single changes that are timed")
    options.add_argument("--burst", type=int, default=1000, help="changes of the burst")
    options.add_argument("--peer-rules", type=int, default=10_000)
    options.add_argument("--peer-seconds", type=float, default=3.0)
    options.add_argument("--only", nargs="+", choices=list(COLUMNS), default=list(COLUMNS))
    options.add_argument("--json", type=Path)
    options.add_argument("--plot", type=Path, default=Path("build/scale.png"))
    chosen = options.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="fastgw-scale-") as name:
        directory = Path(name)
        parts: dict[str, Callable[[], list[Row]]] = {
            "match": lambda: match_rows(directory, max(sizes)),
            "compile": lambda: compile_rows(directory, sizes),
            "changes": lambda: change_rows(directory, sizes, chosen.rounds, chosen.burst),
            "peers": lambda: peers.compare(directory, (cores[0], cores[-1]), chosen.peer_rules, chosen.peer_seconds),
        }
        results: dict[str, list[Row]] = {}
        for part in chosen.only:
            results[part] = parts[part]()
            table(COLUMNS[part][0], results[part], COLUMNS[part][1])
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    if {"match", "compile", "changes"} <= results.keys():
        try:
            chosen.plot.parent.mkdir(parents=True, exist_ok=True)
            draw(chosen.plot, results)
        except ImportError:
            print("no plot: matplotlib is not installed (pip install matplotlib)", file=sys.stderr)


if __name__ == "__main__":
    main()
