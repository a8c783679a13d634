"""What a full policy costs a request: fastgw's and Envoy's bare route beside the same with everything armed.

Bare: one endpoint, no log. Full: header edits on request and answer, retries and a timeout armed, outlier detection, least request
over ten endpoints, and the access log to a file. Everything else is as in run.py; the figure is the difference in processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from pathlib import Path
from typing import Any

import command
import proxies
import report
import rounds
import run as bare

ENDPOINTS = 10
GOAL_US = 1.5
"""fastgw's full policy, at the most, over its bare route."""


def start_origins(bench: proxies.Bench) -> list[int]:
    """The first is the bare route's as well."""
    program = proxies.compile_c("origin", bench.directory)
    ports = [proxies.free_port() for _ in range(ENDPOINTS)]
    for number, port in enumerate(ports):
        bench.start(f"origin{number}", port, [program, str(port)], bench.load_core)
    bench.origin_port = ports[0]
    return ports


def documents_of(ports: list[int]) -> list[dict[str, Any]]:
    """The documents of the bare route, with policies and all endpoints."""
    documents: list[dict[str, Any]] = proxies.gateway_documents(ports[0])
    for document in documents:
        if document["kind"] == "VirtualService":
            for route in document["spec"]["http"]:
                route["timeout"] = "15s"
                route["retries"] = {"attempts": 2, "perTryTimeout": "5s", "retryOn": "5xx,reset,connect-failure"}
                route["headers"] = {
                    "request": {"set": {"x-edge": "fastgw"}, "add": {"x-hop": "1"}, "remove": ["x-debug"]},
                    "response": {"set": {"strict-transport-security": "max-age=31536000"}, "remove": ["x-powered-by"]},
                }
        elif document["kind"] == "ServiceEntry":
            document["spec"]["endpoints"] = [{"address": "127.0.0.1", "ports": {"main": port}} for port in ports]
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "origin"},
        "spec": {
            "host": "origin.bench",
            "trafficPolicy": {
                "loadBalancer": {"simple": "LEAST_REQUEST"},
                "outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s"},
            },
        },
    }
    return [*documents, rule]


def start_full_fastgw(bench: proxies.Bench, ports: list[int]) -> proxies.Server:
    log = ["--access-log", str(bench.directory / "fastgw-access.log")]
    opened = {proxies.HTTP_PORT: proxies.free_port()}
    return proxies.run_fastgw(bench, documents_of(ports), opened, log, proxies.answers, name="fastgw-full")


def start_full_envoy(bench: proxies.Bench, ports: list[int]) -> proxies.Server:
    port, program = proxies.free_port(), proxies.find_program("envoy")
    endpoint = "              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}"
    values = {"PORT": port, "ENDPOINTS": "\n".join(endpoint % each for each in ports)}
    config = proxies.fill_template("envoy-policy.yaml.in", bench.directory, values)
    words = [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return bench.start("envoy-full", port, words, bench.proxy_core, [program, "--version"])


def start_servers(bench: proxies.Bench, ports: list[int], only: list[str]) -> list[proxies.Server]:
    starters: dict[str, rounds.Starter] = {
        "fastgw": proxies.start_fastgw,
        "fastgw-full": lambda bench: start_full_fastgw(bench, ports),
        "envoy": proxies.start_envoy,
        "envoy-full": lambda bench: start_full_envoy(bench, ports),
    }
    return rounds.start_all(bench, starters, only)


def extra(samples: list[report.Sample], name: str) -> float | None:
    """Microseconds that the full policy of a proxy costs more than its bare route: the median of the rounds' differences."""
    cpu = {each: [s.cpu_us for s in samples if s.proxy == each] for each in (name, f"{name}-full")}
    differences = [full - plain for plain, full in zip(cpu[name], cpu[f"{name}-full"], strict=False)]
    return round(statistics.median(differences), 2) if differences else None


def run(options: argparse.Namespace, directory: Path) -> dict[str, object]:
    wrk = proxies.find_program("wrk")
    bench = rounds.open_bench(directory, options.fastgw)
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        servers = start_servers(bench, start_origins(bench), options.only)
        for server in servers:
            bare.measure(server, wrk, options, bench, 1)
        samples = rounds.visit(
            servers,
            options.rounds,
            lambda server: bare.measure(server, wrk, options, bench, options.seconds),
            lambda turn, sample: f"round {turn}  {sample.proxy:12} {sample.cpu_us:7.2f} us CPU a request",
        )
    rows = [report.summarise(s.name, s.version, [x for x in samples if x.proxy == s.name]) for s in servers]
    print("| proxy | requests/s | CPU us a request (range) |\n| --- | --: | --: |")
    for row in rows:
        print(f"| {row.proxy} | {row.requests_per_s:,.0f} | {row.cpu_us:.1f} ({row.cpu_us_low:.1f}-{row.cpu_us_high:.1f}) |")
    more = {name: extra(samples, name) for name in ("fastgw", "envoy")}
    for name, value in more.items():
        if value is not None:
            print(f"{name}: the full policy costs {value:+.2f} us a request")
    return {**report.as_json(rounds.machine_description(), rows, samples, {}), "goals": {"fastgw": GOAL_US}, "extra_us": more}


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = command.make_parser(__doc__, ["fastgw", "fastgw-full", "envoy", "envoy-full"], seconds=5)
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command.run_in_folder(run, parse_options(sys.argv[1:])))
