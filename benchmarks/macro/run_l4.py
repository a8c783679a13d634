"""TCP relay and TLS passthrough beside nginx, HAProxy (with and without splice) and Envoy: bulk, and connections.

Bulk: messages of 1 MB each way on a few connections that stay. Connections: 1 KB each way, then the origin ends the connection.
Load and origin are peers/stream_load.c and peers/stream_origin.c, which copy nothing. Placement, rounds and ratios are those of
run.py.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

import command
import proxies
import proxies_l4
import rounds
import scenes

RIVALS = ("haproxy", "haproxy-splice")
NAMES = ["fastgw", "nginx", *RIVALS, "envoy"]
GOALS = (scenes.Goal(1.0, RIVALS),)

SCENES = [
    scenes.Scene("relay-bulk", "TCP relay, messages of 1 MB", "GB/s", "CPU s a GB", GOALS),
    scenes.Scene("relay-connections", "TCP relay, a connection each", "connections/s", "CPU us a connection", GOALS),
    scenes.Scene("passthrough-bulk", "TLS passthrough, messages of 1 MB", "GB/s", "CPU s a GB", GOALS),
    scenes.Scene("passthrough-connections", "TLS passthrough, a connection each", "connections/s", "CPU us a connection", GOALS),
]
BY_NAME = {scene.name: scene for scene in SCENES}
PORT_OF = {
    "relay-bulk": proxies_l4.TCP_BULK,
    "relay-connections": proxies_l4.TCP_SMALL,
    "passthrough-bulk": proxies_l4.TLS_BULK,
    "passthrough-connections": proxies_l4.TLS_SMALL,
}


def load_words(scene: str, port: int, options: argparse.Namespace, directory: Path, seconds: float) -> list[object]:
    bulk = scene.endswith("bulk")
    message = proxies_l4.BULK_BYTES if bulk else proxies_l4.SMALL_BYTES
    at_once = options.streams if bulk else options.connections
    words: list[object] = [directory / "stream_load", "bulk" if bulk else "connections", port, message, at_once, seconds]
    return [*words, directory / "hello"] if scene.startswith("passthrough") else words


def measure(
    scene: str,
    server: proxies.Server,
    relays: proxies_l4.Relays,
    options: argparse.Namespace,
    bench: proxies.Bench,
    seconds: float,
) -> scenes.Sample:
    """One stretch of load against one proxy. Raises RuntimeError when a connection ended early."""
    words = load_words(scene, relays.ports[server.name][PORT_OF[scene]], options, bench.directory, seconds)
    before = server.cpu_time()
    counts = rounds.run_load(bench, words, seconds + 30)
    used, took_us = server.cpu_time() - before, counts["duration_us"]
    bulk = scene.endswith("bulk")
    units = counts["bytes"] / 1e9 if bulk else counts["units"]
    if not units:
        raise RuntimeError(f"{server.name}: nothing was relayed")
    return scenes.sample(scene, server.name, units, used, took_us, counts, cost_ns=1e9 if bulk else 1e3)


def run(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    rounds.allow_many_descriptors()
    bench = rounds.open_bench(directory, options.fastgw)
    proxies.compile_c("stream_load", directory)
    hello = proxies_l4.client_hello(proxies.HOST)
    (directory / "hello").write_bytes(hello)
    relays = proxies_l4.Relays(hello)
    samples: list[scenes.Sample] = []
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        relays.start_origin(bench)
        servers = rounds.start_all(bench, relays.starters(), options.only)
        for name in options.scenes:
            for server in servers:
                measure(name, server, relays, options, bench, 0.5)
            samples += rounds.visit(
                servers,
                options.rounds,
                lambda server, name=name: measure(name, server, relays, options, bench, options.seconds),
                BY_NAME[name].progress,
            )
    rows = scenes.summarise(samples)
    print(scenes.as_tables(SCENES, rows))
    versions = {server.name: server.version for server in servers}
    return scenes.as_json(rounds.machine_description(), versions, rows, samples)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = command.make_parser(__doc__, NAMES, seconds=4)
    parser.add_argument("--streams", type=int, default=8, help="connections of the bulk scenes")
    parser.add_argument("--connections", type=int, default=32, help="at once, in the scenes of connections")
    parser.add_argument("--scenes", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command.run_in_folder(run, parse_options(sys.argv[1:])))
