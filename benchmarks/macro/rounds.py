"""What the benchmarks of whole proxies share: the cores, starting the proxies, and rounds in a rotating order."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import proxies

Starter = Callable[[proxies.Bench], proxies.Server]
Sample = TypeVar("Sample")


def open_bench(directory: Path, fastgw: str) -> proxies.Bench:
    """The first core is the proxy's, the second the load's and the origin's."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the benchmark needs two cores: one for the proxy, one for load and origin")
    return proxies.Bench(directory, proxy_core=cores[0], load_core=cores[1], fastgw=fastgw)


def start_all(bench: proxies.Bench, starters: dict[str, Starter], names: list[str]) -> list[proxies.Server]:
    """The proxies that could be started; why the others could not is said on standard error."""
    started = []
    for name in names:
        try:
            started.append(starters[name](bench))
        except proxies.NotInstalled as missing:
            print(f"{name}: {missing} is not installed (make bench-peers)", file=sys.stderr)
        except RuntimeError as broken:
            print(f"{name}: left out: {broken}", file=sys.stderr)
    return started


def rotate(servers: list[proxies.Server], turn: int) -> list[proxies.Server]:
    shift = turn % len(servers)
    return servers[shift:] + servers[:shift]


def visit(
    servers: list[proxies.Server],
    count: int,
    measure: Callable[[proxies.Server], Sample],
    tell: Callable[[int, Sample], str],
) -> list[Sample]:
    """``count`` rounds over all proxies, in an order that rotates; ``tell`` makes a line of progress of round and sample."""
    samples = []
    for turn in range(count):
        for server in rotate(servers, turn):
            samples.append(measure(server))
            print(tell(turn + 1, samples[-1]), file=sys.stderr)
    return samples


def run_load(bench: proxies.Bench, words: list[object], timeout_s: float) -> dict[str, Any]:
    """The counts that one of the load programs prints. Raises RuntimeError with what it complained about."""
    pinned = ["taskset", "-c", str(bench.load_core), *map(str, words)]
    try:
        done = subprocess.run(pinned, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the load stands still: {' '.join(pinned)}") from None
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


def allow_many_descriptors() -> None:
    """As many as this user may have; the proxies inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def machine_description() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), platform.machine()
    )
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "virtual": "yes" if "hypervisor" in cpuinfo else "no",
        "kernel": platform.release().partition("-")[0],
        "system": release.get("PRETTY_NAME", "").strip('"'),
        "python": platform.python_version(),
    }
