"""fastgw beside nginx, HAProxy, Envoy and a bare relay: one run, interleaved rounds, table and JSON.

Each proxy is pinned to one core; wrk and the origin share the other. The figure to compare is the processor time a proxy spends
on a request, which holds on a shared machine where requests/s do not. Rounds visit the proxies in a rotating order, so that a
slow minute of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import proxies
import report
import rounds


def measure(server: proxies.Server, wrk: str, options: argparse.Namespace, bench: proxies.Bench, seconds: float) -> report.Sample:
    """One stretch of load against one proxy. Raises RuntimeError when anything but a 2xx came back."""
    command = ["taskset", "-c", str(bench.load_core), wrk, "-t1", f"-c{options.connections}", f"-d{seconds:g}s"]
    command += ["-s", str(proxies.PEERS / "summary.lua"), "-H", f"Host: {proxies.HOST}"]
    command += [f"http://127.0.0.1:{server.port}{proxies.PATH}"]
    before = server.cpu_time()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
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
    samples: list[report.Sample] = []
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        proxies.start_origin(bench)
        servers = rounds.start_all(bench, proxies.PROXIES, options.only)
        for server in servers:
            measure(server, wrk, options, bench, 1)
        for turn in range(options.rounds):
            for server in rounds.rotate(servers, turn):
                sample = measure(server, wrk, options, bench, options.seconds)
                samples.append(sample)
                print(f"round {turn + 1}  {sample.proxy:8} {sample.cpu_us:7.2f} us CPU a request", file=sys.stderr)
    rows = [report.summarise(s.name, s.version, [x for x in samples if x.proxy == s.name]) for s in servers]
    ratio = report.ratios(samples)
    print(report.as_table(rows, ratio))
    return report.as_json(rounds.machine_description(), rows, samples, ratio)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of load, for each proxy in each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=list(proxies.PROXIES), default=list(proxies.PROXIES))
    parser.add_argument("--fastgw", default="fastgw", help="the program, to compare builds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse_options(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="fastgw-bench-") as directory:
        # daemons that drop root must reach their files
        os.chmod(directory, 0o755)
        figures = run(options, Path(directory))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
