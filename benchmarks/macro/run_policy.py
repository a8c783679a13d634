"""What a full policy costs a request: bare routes of fastgw, Envoy and nginx beside the same with more and more armed.

Bare: one endpoint, no log. Full: header edits on request and answer, retries and a timeout armed, outlier detection, least request
over ten endpoints, and the access log to a file. Between them the parts: ten endpoints, the log, all but the log. The ten endpoints
are ports of one process: ten processes would have to be woken more often, which costs the sender 2 us a request on one machine and
nothing where upstreams are elsewhere. Everything else is as in run.py; the figures are differences in processor time.
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
NAMES = ["fastgw", "fastgw-ten", "fastgw-log", "fastgw-policy", "fastgw-full", "envoy", "envoy-full", "nginx", "nginx-log"]
GOAL_US = 1.5
"""fastgw's full policy, at the most, over its bare route."""


def with_endpoints(ports: list[int]) -> list[dict[str, Any]]:
    """The documents of the bare route, with all endpoints."""
    documents: list[dict[str, Any]] = proxies.gateway_documents(ports[0])
    for document in documents:
        if document["kind"] == "ServiceEntry":
            document["spec"]["endpoints"] = [{"address": "127.0.0.1", "ports": {"main": port}} for port in ports]
    return documents


def with_policies(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for document in documents:
        if document["kind"] == "VirtualService":
            for route in document["spec"]["http"]:
                route["timeout"] = "15s"
                route["retries"] = {"attempts": 2, "perTryTimeout": "5s", "retryOn": "5xx,reset,connect-failure"}
                route["headers"] = {
                    "request": {"set": {"x-edge": "fastgw"}, "add": {"x-hop": "1"}, "remove": ["x-debug"]},
                    "response": {"set": {"strict-transport-security": "max-age=31536000"}, "remove": ["x-powered-by"]},
                }
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


def start_fastgw(bench: proxies.Bench, name: str, documents: list[dict[str, Any]], *, log: bool) -> proxies.Server:
    options = ["--access-log", str(bench.directory / f"{name}.log")] if log else []
    return proxies.run_fastgw(bench, documents, {proxies.HTTP_PORT: proxies.free_port()}, options, proxies.answers, name=name)


def start_full_envoy(bench: proxies.Bench, ports: list[int]) -> proxies.Server:
    port, program = proxies.free_port(), proxies.find_program("envoy")
    endpoint = "              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}"
    values = {"PORT": port, "ENDPOINTS": "\n".join(endpoint % each for each in ports)}
    config = proxies.fill_template("envoy-policy.yaml.in", bench.directory, values)
    words = [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return bench.start("envoy-full", port, words, bench.proxy_core, [program, "--version"])


def start_servers(bench: proxies.Bench, ports: list[int], only: list[str]) -> list[proxies.Server]:
    bare = with_endpoints(ports[:1])
    nginx_log = f"{bench.directory}/nginx-access.log combined buffer=64k flush=1s"
    starters: dict[str, rounds.Starter] = {
        "fastgw": proxies.start_fastgw,
        "fastgw-ten": lambda bench: start_fastgw(bench, "fastgw-ten", with_endpoints(ports), log=False),
        "fastgw-log": lambda bench: start_fastgw(bench, "fastgw-log", bare, log=True),
        "fastgw-policy": lambda bench: start_fastgw(bench, "fastgw-policy", with_policies(with_endpoints(ports)), log=False),
        "fastgw-full": lambda bench: start_fastgw(bench, "fastgw-full", with_policies(with_endpoints(ports)), log=True),
        "envoy": proxies.start_envoy,
        "envoy-full": lambda bench: start_full_envoy(bench, ports),
        "nginx": proxies.start_nginx,
        "nginx-log": lambda bench: proxies.start_nginx(bench, "nginx-log", nginx_log),
    }
    return rounds.start_all(bench, starters, only)


def extra(samples: list[report.Sample], name: str) -> float | None:
    """Microseconds that a proxy with more armed costs more than its bare route: the median of the rounds' differences."""
    cpu = {each: [s.cpu_us for s in samples if s.proxy == each] for each in (name.partition("-")[0], name)}
    differences = [more - plain for plain, more in zip(*cpu.values(), strict=False)]
    return round(statistics.median(differences), 2) if differences else None


WHAT = {
    "ten": "ten endpoints",
    "log": "access log to a file",
    "policy": "all but the log",
    "full": "everything",
}


def as_table(figures: dict[str, Any]) -> str:
    """The rows of a run with what each has armed and what that costs."""
    lines = ["| proxy | armed | CPU us a request (range) | more than bare |", "| --- | --- | --: | --: |"]
    for row in (report.Row(**row) for row in figures["proxies"]):
        proxy, _, armed = row.proxy.partition("-")
        more = figures["extra_us"].get(row.proxy)
        cpu = f"{row.cpu_us:.1f} ({row.cpu_us_low:.1f}-{row.cpu_us_high:.1f})"
        lines.append(f"| {proxy} | {WHAT.get(armed, 'nothing')} | {cpu} | {'' if more is None else f'{more:+.2f}'} |")
    goals = [f"Goal: at most {goal:+.1f}; measured: {figures['extra_us'][name]:+.2f}." for name, goal in figures["goals"].items()]
    return "\n".join([*lines, "", *goals])


def run(options: argparse.Namespace, directory: Path) -> dict[str, object]:
    wrk = proxies.find_program("wrk")
    bench = rounds.open_bench(directory, options.fastgw)
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        servers = start_servers(bench, proxies.start_origin(bench, more_ports=ENDPOINTS - 1), options.only)
        for server in servers:
            bare.measure(server, wrk, options, bench, 1)
        samples = rounds.visit(
            servers,
            options.rounds,
            lambda server: bare.measure(server, wrk, options, bench, options.seconds),
            lambda turn, sample: f"round {turn}  {sample.proxy:13} {sample.cpu_us:7.2f} us CPU a request",
        )
    rows = [report.summarise(s.name, s.version, [x for x in samples if x.proxy == s.name]) for s in servers]
    more = {name: value for name in options.only if "-" in name and (value := extra(samples, name)) is not None}
    goals = {name: GOAL_US for name in more if name == "fastgw-full"}
    figures = {**report.as_json(rounds.machine_description(), rows, samples, {}), "goals": goals, "extra_us": more}
    print(as_table(figures))
    return figures


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = command.make_parser(__doc__, NAMES, seconds=5)
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command.run_in_folder(run, parse_options(sys.argv[1:])))
