"""fastgw beside nginx, HAProxy, Envoy and a bare relay: one run, interleaved rounds, table and JSON.

Each proxy is pinned to one core; wrk and the origin share the other. The figure to compare is the processor time a proxy spends
on a request, which holds on a shared machine where requests/s do not. Rounds visit the proxies in a rotating order, so that a
slow minute of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import command
import proxies
import report
import rounds


def measure(server: proxies.Server, wrk: str, options: argparse.Namespace, bench: proxies.Bench, seconds: float) -> report.Sample:
    """One stretch of load against one proxy. Raises RuntimeError when anything but a 2xx came back."""
    words = ["taskset", "-c", str(bench.load_core), wrk, "-t1", f"-c{options.connections}", f"-d{seconds:g}s"]
    words += ["-s", str(proxies.PEERS / "summary.lua"), "-H", f"Host: {proxies.HOST}"]
    words += [f"http://127.0.0.1:{server.port}{proxies.PATH}"]
    before = server.cpu_time()
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    used = server.cpu_time() - before
    summary = json.loads(next(line for line in output.splitlines() if line.startswith("SUMMARY")).removeprefix("SUMMARY "))
    if summary["non_2xx"] or summary["socket_errors"] or not summary["requests"]:
        raise RuntimeError(f"{server.name}: not every request was answered with 2xx: {summary}")
    cpu_us = used.total_ns / 1e3 / summary["requests"]
    return report.Sample(
        server.name,
        summary["requests"],
        round(summary["requests"] / summary["duration_us"] * 1e6, 1),
        summary["p50_us"] / 1e3,
        summary["p99_us"] / 1e3,
        round(cpu_us, 3),
        round(cpu_us * used.user_share, 3),
        round(cpu_us * (1 - used.user_share), 3),
    )


def run(options: argparse.Namespace, directory: Path) -> dict[str, object]:
    wrk = proxies.find_program("wrk")
    bench = rounds.open_bench(directory, options.fastgw)
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        proxies.start_origin(bench)
        servers = rounds.start_all(bench, proxies.PROXIES, options.only)
        for server in servers:
            measure(server, wrk, options, bench, 1)
        samples = rounds.visit(
            servers,
            options.rounds,
            lambda server: measure(server, wrk, options, bench, options.seconds),
            lambda turn, sample: f"round {turn}  {sample.proxy:8} {sample.cpu_us:7.2f} us CPU a request",
        )
    rows = [report.summarise(s.name, s.version, [x for x in samples if x.proxy == s.name]) for s in servers]
    ratio = report.ratios(samples)
    print(report.as_table(rows, ratio))
    return report.as_json(rounds.machine_description(), rows, samples, ratio)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = command.make_parser(__doc__, list(proxies.PROXIES), seconds=5)
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command.run_in_folder(run, parse_options(sys.argv[1:])))
