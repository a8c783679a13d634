"""HTTP/2 and gRPC beside nginx, HAProxy and Envoy: requests, unary calls, memory of idle connections and open streams.

HTTP/2 over TLS 1.3 from h2load, to an HTTP/1.1 origin; gRPC to an HTTP/2 origin without TLS. Placement, rounds and ratios are
those of run.py. Memory is measured on proxies started anew, one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command
import development_ca
import h2_crowd
import procfs
import proxies
import proxies_h2
import rounds
import scenes

NAMES = ["fastgw", "nginx", "haproxy", "envoy"]
GOALS = (scenes.Goal(0.9, ("haproxy",)), scenes.Goal(0.35, ("envoy",)))
WARM_UP = 64
SETTLE_S = 10.0
CONNECTIONS_OF_STREAMS, STREAMS = 20, 50
# nginx does not send the head either when nothing may follow
OPEN_WINDOW, STALLED_WINDOW = 65535, 1

SCENES = [
    scenes.Scene("small", "HTTP/2, 16 connections x 32 streams, 128 B", "requests/s", "CPU us a request", GOALS),
    scenes.Scene("bulk", "HTTP/2, 16 connections x 32 streams, 16 KB", "requests/s", "CPU us a request", GOALS),
    scenes.Scene("many", "HTTP/2, 1,000 connections x 1 stream, 128 B", "requests/s", "CPU us a request", GOALS),
    scenes.Scene("grpc", "gRPC unary calls, 16 connections x 32 streams, 100 B", "calls/s", "CPU us a call", GOALS),
    scenes.Scene("idle", "Idle HTTP/2 connections", "connections", "KB a connection"),
    scenes.Scene("waiting", "Streams whose upstream does not answer", "streams", "KB a stream"),
    scenes.Scene("stalled", "Streams whose client does not read, 1 MB each", "streams", "KB a stream"),
]
BY_NAME = {scene.name: scene for scene in SCENES}


@dataclass(frozen=True)
class Load:
    """What h2load does; ``body_bytes`` of each answer."""

    connections: int
    streams: int
    path: str
    body_bytes: int
    posts: bool = False

    @property
    def warm_up_s(self) -> int:
        """Long enough for all handshakes, on a core that is shared."""
        return 1 + self.connections // 200

    def words(self, port: int, directory: Path) -> list[str]:
        words = ["h2load", "-t1", f"-c{self.connections}", f"-m{self.streams}", "--tls13-ciphers=TLS_AES_128_GCM_SHA256"]
        words += ["--groups=X25519", f"--connect-to=127.0.0.1:{port}", "-H", f":authority: {proxies.HOST}"]
        if self.posts:
            words += ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(directory / "message")]
        return [*words, f"https://{proxies.HOST}{self.path}"]


LOADS = {
    "small": Load(16, 32, proxies.PATH, 128),
    "bulk": Load(16, 32, proxies_h2.BULK_PATH, proxies_h2.BULK_BYTES),
    "many": Load(1000, 1, proxies.PATH, 128),
    "grpc": Load(16, 32, proxies_h2.GRPC_PATH, proxies_h2.GRPC_BYTES, posts=True),
}


@dataclass(frozen=True)
class Count:
    """What h2load counted: answers with 2xx, and the bytes of bodies (with those of its warm-up)."""

    answers: int
    body_bytes: int


def read_summary(output: str) -> Count:
    """Raises RuntimeError when anything but a 2xx came back."""
    requests = re.search(r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output, re.M)
    traffic = re.search(r"^traffic: .*\((\d+)\) data", output, re.M)
    if requests is None or traffic is None:
        raise RuntimeError(f"h2load has not finished: {output[-500:]}")
    done, succeeded, *wrong = map(int, requests.groups())
    if not done or done != succeeded or any(wrong):
        raise RuntimeError(f"not every request was answered with 2xx: {requests.group()}")
    return Count(done, int(traffic.group(1)))


def check_answers(load: Load, server: proxies.Server, bench: proxies.Bench) -> None:
    """A fixed number of requests, whose answers have to be whole: gRPC's errors come with status 200 and no message."""
    wanted = 20 * load.connections
    words = ["timeout", "60", "taskset", "-c", str(bench.load_core), *load.words(server.port, bench.directory), f"-n{wanted}"]
    count = read_summary(subprocess.run(words, capture_output=True, text=True).stdout)
    if count != Count(wanted, wanted * load.body_bytes):
        raise RuntimeError(f"{server.name}: {wanted} answers of {load.body_bytes} bytes were expected, not {count}")


def measure(name: str, server: proxies.Server, options: argparse.Namespace, bench: proxies.Bench) -> scenes.Sample:
    """One stretch of load. Processor time is taken between the lines that h2load prints at the ends of its main phase."""
    load, seconds = LOADS[name], options.seconds
    check_answers(load, server, bench)
    words = ["timeout", str(seconds + 60), "taskset", "-c", str(bench.load_core), *load.words(server.port, bench.directory)]
    words += [f"-D{round(seconds * 1000)}ms", f"--warm-up-time={load.warm_up_s}"]
    marks: list[tuple[procfs.CpuTime, float]] = []
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Main benchmark duration is"):
                marks.append((server.cpu_time(), time.monotonic()))
    count = read_summary("".join(lines))
    if len(marks) != 2 or count.body_bytes < count.answers * load.body_bytes:
        raise RuntimeError(f"{server.name}: not a whole run: {count}, {len(marks)} marks")
    (before, began), (after, ended) = marks
    return scenes.sample(name, server.name, count.answers, after - before, (ended - began) * 1e6)


def measure_rounds(
    names: list[str], edge: proxies_h2.Edge, options: argparse.Namespace, bench: proxies.Bench
) -> tuple[list[scenes.Sample], dict[str, str]]:
    """The scenes of processor time, all proxies running side by side; and the proxies' versions."""
    samples = []
    servers = rounds.start_all(bench, edge.starters(), options.only)
    for name in names:
        samples += rounds.visit(
            servers,
            options.rounds,
            lambda server, name=name: measure(name, server, options, bench),
            BY_NAME[name].progress,
        )
    for server in servers:
        server.stop()
    return samples, {server.name: server.version for server in servers}


def settled_memory_kb(server: proxies.Server) -> int:
    """What is used when it grows no more."""
    deadline, last = time.monotonic() + SETTLE_S, -1
    while (now := procfs.tree_memory_kb(server.process.pid)) > last * 1.002 and time.monotonic() < deadline:
        last = now
        time.sleep(0.5)
    return now


def open_crowd(stack: contextlib.ExitStack, port: int, count: int, window: int = OPEN_WINDOW) -> list[h2_crowd.Client]:
    """Connections that have been answered once each."""
    context, clients = h2_crowd.client_context(), []
    for _ in range(count):
        clients.append(h2_crowd.Client(port, context, window))
        stack.callback(clients[-1].close)
        clients[-1].ask(proxies.PATH, 1)
        clients[-1].await_answers(h2_crowd.ENDED if window == OPEN_WINDOW else h2_crowd.BEGUN, 1)
    return clients


def measure_memory(name: str, server: proxies.Server, options: argparse.Namespace) -> scenes.Sample:
    """KB that each idle connection, or each open stream of connections that were there before, adds to a proxy."""
    with contextlib.ExitStack() as crowd:
        open_crowd(crowd, server.port, WARM_UP)
    with contextlib.ExitStack() as crowd:
        if name == "idle":
            count = options.idle
            before = settled_memory_kb(server)
            open_crowd(crowd, server.port, count)
        else:
            count = CONNECTIONS_OF_STREAMS * STREAMS
            clients = open_crowd(crowd, server.port, CONNECTIONS_OF_STREAMS, STALLED_WINDOW if name == "stalled" else OPEN_WINDOW)
            before = settled_memory_kb(server)
            for client in clients:
                client.ask(proxies_h2.STALLED_PATH if name == "stalled" else proxies_h2.SILENT_PATH, STREAMS)
                if name == "stalled":
                    client.await_answers(h2_crowd.BEGUN, STREAMS)
        after = settled_memory_kb(server)
    print(f"{name}  {server.name:8} {before} -> {after} KB", file=sys.stderr)
    return scenes.Sample(name, server.name, count, rate=count, cost=round((after - before) / count, 3))


def measure_memories(
    names: list[str], edge: proxies_h2.Edge, options: argparse.Namespace, bench: proxies.Bench
) -> list[scenes.Sample]:
    """Each on a proxy started for it."""
    samples = []
    for name in names:
        for proxy in options.only:
            for server in rounds.start_all(bench, edge.starters(), [proxy]):
                samples.append(measure_memory(name, server, options))
                server.stop()
    return samples


def run(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    rounds.allow_many_descriptors()
    bench = rounds.open_bench(directory, options.fastgw)
    (directory / "message").write_bytes(b"\0" + (proxies_h2.GRPC_BYTES - 5).to_bytes(4, "big") + b"x" * (proxies_h2.GRPC_BYTES - 5))
    edge = proxies_h2.Edge(development_ca.make_credential(directory, proxies.HOST))
    with contextlib.ExitStack() as stack:
        stack.callback(bench.stop)
        edge.start_origins(bench)
        samples, versions = measure_rounds([name for name in options.scenes if name in LOADS], edge, options, bench)
        samples += measure_memories([name for name in options.scenes if name not in LOADS], edge, options, bench)
    rows = scenes.summarise(samples)
    print(scenes.as_tables(SCENES, rows))
    return scenes.as_json(rounds.machine_description(), versions, rows, samples)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = command.make_parser(__doc__, NAMES, seconds=4)
    parser.add_argument("--idle", type=int, default=2000, help="connections of the memory scene")
    parser.add_argument("--scenes", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command.run_in_folder(run, parse_options(sys.argv[1:])))
