"""HTTPS beside nginx, HAProxy and Envoy: requests on kept connections, full and resumed handshakes, memory of idle connections.

TLS 1.3, a P-256 certificate, X25519, AES-128-GCM; load from peers/tls_load.c. Placement, rounds and ratios are those of run.py.
Memory is measured on proxies started anew, one after the other: what 10,000 connections, each after one request, add to it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import command
import development_ca
import procfs
import proxies
import proxies_tls
import rounds
import scenes

LIBSSL = ("nginx", "haproxy")
PEERS = (*LIBSSL, "envoy")
EQUAL = scenes.Goal(1.0, LIBSSL)
CROWD_TIMEOUT_S = 120.0
WARM_UP = 64

SCENES = [
    scenes.Scene("keepalive", "HTTPS requests on kept connections", "requests/s", "CPU us a request", (scenes.Goal(0.9, PEERS),)),
    scenes.Scene("full", "Full handshakes, one request each", "handshakes/s", "CPU us a handshake", (EQUAL,)),
    scenes.Scene("resumed", "Handshakes resumed by ticket, one request each", "handshakes/s", "CPU us a handshake", (EQUAL,)),
    scenes.Scene("idle", "Idle connections", "connections", "KB a connection", limit=20),
]
BY_NAME = {scene.name: scene for scene in SCENES}


def load_words(program: str, scene: str, port: int, connections: int) -> list[object]:
    return [program, scene, port, proxies.HOST, proxies.PATH, connections]


def measure(
    scene: str, server: proxies.Server, program: str, options: argparse.Namespace, bench: proxies.Bench, seconds: float
) -> scenes.Sample:
    """One stretch of load against one proxy. Raises RuntimeError when a request failed or a handshake was of the other sort."""
    connections = options.connections if scene == "keepalive" else options.handshaking
    before = server.cpu_time()
    counts = rounds.run_load(bench, [*load_words(program, scene, server.port, connections), seconds], seconds + 30)
    used = server.cpu_time() - before
    units, took_us = counts["units"], counts["duration_us"]
    if not units:
        raise RuntimeError(f"{server.name}: nothing was answered")
    return scenes.sample(scene, server.name, units, used, took_us, counts)


def measure_rounds(
    names: list[str], program: str, edge: proxies_tls.Edge, options: argparse.Namespace, bench: proxies.Bench
) -> tuple[list[scenes.Sample], dict[str, str]]:
    """The scenes of processor time, all proxies running side by side; and the proxies' versions."""
    samples = []
    servers = rounds.start_all(bench, edge.starters(), options.only)
    for name in names:
        for server in servers:
            measure(name, server, program, options, bench, 0.5)
        samples += rounds.visit(
            servers,
            options.rounds,
            lambda server, name=name: measure(name, server, program, options, bench, options.seconds),
            BY_NAME[name].progress,
        )
    return samples, {server.name: server.version for server in servers}


@contextlib.contextmanager
def crowd(program: str, port: int, count: int, bench: proxies.Bench):  # type: ignore[no-untyped-def]
    """``count`` connections, each answered once, that rest for as long as the context is open."""
    words = ["taskset", "-c", str(bench.load_core), *map(str, load_words(program, "idle", port, count))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            readable = select.select([process.stdout], [], [], CROWD_TIMEOUT_S)[0]
            answer = process.stdout.readline() if readable else ""
            if not answer or json.loads(answer)["units"] != count:
                raise RuntimeError(f"not all of {count} connections were served: {answer!r}")
            yield
            if process.poll() is not None:
                raise RuntimeError("idle connections were closed")
        finally:
            process.stdin.close()
            if not readable:
                process.kill()


def crowd_size(wanted: int) -> int:
    """fastgw keeps a descriptor for an upstream connection of each client: half of what the limit allows is the most it takes."""
    possible = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 500
    return max(1, min(wanted, possible))


def measure_idle(
    name: str, program: str, edge: proxies_tls.Edge, options: argparse.Namespace, bench: proxies.Bench
) -> scenes.Sample | None:
    """KB of user-space memory (Pss of all its processes) that each of many idle connections adds to a proxy started for this."""
    started = rounds.start_all(bench, edge.starters(), [name])
    if not started:
        return None
    server = started[0]
    try:
        with crowd(program, server.port, WARM_UP, bench):
            pass
        before = procfs.tree_memory_kb(server.process.pid)
        count = crowd_size(options.idle)
        with crowd(program, server.port, count, bench):
            after = procfs.tree_memory_kb(server.process.pid)
    finally:
        server.stop()
    sample = scenes.Sample("idle", name, count, rate=count, cost=round((after - before) / count, 3))
    print(f"idle  {name:8} {sample.cost:.1f} KB a connection ({before} -> {after} KB)", file=sys.stderr)
    return sample


def run(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    rounds.allow_many_descriptors()
    bench = rounds.open_bench(directory, options.fastgw)
    program = proxies.compile_c("tls_load", directory, "-lssl", "-lcrypto")
    edge = proxies_tls.Edge(development_ca.make_credential(directory, proxies.HOST))
    samples: list[scenes.Sample] = []
    versions: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        proxies.start_origin(bench)
        if timed := [name for name in options.scenes if name != "idle"]:
            samples, versions = measure_rounds(timed, program, edge, options, bench)
            for server in bench.servers[1:]:
                server.stop()
        if "idle" in options.scenes:
            measured = (measure_idle(name, program, edge, options, bench) for name in options.only)
            samples += [sample for sample in measured if sample is not None]
    rows = scenes.summarise(samples)
    print(scenes.as_tables(SCENES, rows))
    return scenes.as_json(rounds.machine_description(), versions, rows, samples)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = command.make_parser(__doc__, ["fastgw", *PEERS], seconds=4)
    parser.add_argument("--connections", type=int, default=64, help="kept ones")
    parser.add_argument("--handshaking", type=int, default=32, help="connections at once that shake hands")
    parser.add_argument("--idle", type=int, default=10_000, help="connections of the memory scene")
    parser.add_argument("--scenes", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command.run_in_folder(run, parse_options(sys.argv[1:])))
