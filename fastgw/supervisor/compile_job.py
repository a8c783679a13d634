"""The compile child: reads the sources, compiles them and writes the image, with everything that can be reused kept warm.

Started by compiler_client; speaks compile_protocol. It serves nothing and inherits no listening socket, so whatever a strange
configuration does to it, traffic goes on.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import time
import traceback
from itertools import pairwise
from typing import Any

import msgspec

from fastgw.compiler.compile import compile_plan
from fastgw.compiler.options import CompileOptions
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import Plan
from fastgw.sources.files import FileCache, load_paths
from fastgw.supervisor import compile_protocol as protocol
from fastgw.supervisor import memfd
from fastgw.supervisor.control import receive
from fastgw.supervisor.listeners import Wanted

_PR_SET_PDEATHSIG = 1


class Job:
    """The state that stays warm between compilations."""

    def __init__(self, configure: protocol.Configure, numbers: StateNumbers) -> None:
        self._configure = configure
        self._options = CompileOptions(labels=configure.labels, namespace=configure.namespace, resolve=configure.resolve)
        self._numbers = numbers
        self._files = FileCache()
        self._compile_cache: Any = {}

    def run(self, generation: int) -> tuple[protocol.Compiled, list[int]]:
        """One compilation: the answer and its descriptors, which the caller owns."""
        times = [time.perf_counter()]
        loaded = load_paths(self._configure.paths, self._configure.namespace, self._files)
        times.append(time.perf_counter())
        result = compile_plan(loaded.resources, self._options, self._compile_cache)
        times.append(time.perf_counter())
        image = write_image(result.plan, self._numbers, generation)
        times.append(time.perf_counter())
        report = protocol.Report(
            listeners=[Wanted(listener.name, listener.bind, listener.port) for listener in result.plan.listeners],
            diagnostics=[*loaded.diagnostics, *result.diagnostics],
            dns=dns_targets(result.plan, self._numbers),
            metric_labels={number: protocol.MetricLabels(*names) for number, names in self._numbers.metric_names().items()},
        )
        counts = count(result.plan, len(image))
        timings = protocol.Timings(*(later - earlier for earlier, later in pairwise(times)))
        fds = [
            memfd.make_sealed("fastgw-image", image),
            memfd.make_sealed("fastgw-report", protocol.encode_report(report)),
            memfd.make_sealed("fastgw-plan", msgspec.json.encode(result.plan)),
            memfd.make_sealed("fastgw-numbers", msgspec.json.encode(self._numbers.to_json())),
        ]
        return protocol.Compiled(generation, counts, timings), fds


def count(plan: Plan, image_bytes: int) -> protocol.Counts:
    hosts = [host for table in plan.route_tables.values() for host in table.virtual_hosts]
    return protocol.Counts(len(plan.listeners), len(hosts), sum(len(host.rules) for host in hosts), len(plan.clusters), image_bytes)


def dns_targets(plan: Plan, numbers: StateNumbers) -> list[protocol.DnsTarget]:
    """Which name goes into which slot of the state segment."""
    return [
        protocol.DnsTarget(numbers.dns_slot_of(cluster.name), cluster.dns_name, cluster.dns_port, cluster.name)
        for cluster in plan.clusters.values()
        if cluster.discovery == "dns"
    ]


def restore_numbers(fds: list[int]) -> StateNumbers:
    """Those of a predecessor that died: cells and metric ids must keep their meaning."""
    if not fds:
        return StateNumbers()
    return StateNumbers.from_json(msgspec.json.decode(memfd.read_all(fds[0])))


def answer(job: Job, message: protocol.Compile, sock: socket.socket) -> None:
    """Compile and send what came of it; an exception is an answer too."""
    try:
        compiled, fds = job.run(message.generation)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sock.sendall(protocol.encode(protocol.Failed(message.generation, text[:2000], traceback.format_exc()[-20_000:])))
        return
    try:
        socket.send_fds(sock, [protocol.encode(compiled)], fds)
    finally:
        for fd in fds:
            os.close(fd)


def serve(sock: socket.socket) -> None:
    """Until the supervisor's end is closed."""
    job: Job | None = None
    while True:
        data, fds = receive(sock, protocol.MAX_MESSAGE_BYTES)
        if not data:
            return
        message = protocol.decode_to_child(data)
        if isinstance(message, protocol.Configure):
            job = Job(message, restore_numbers(fds))
        elif job is not None:
            answer(job, message, sock)
        for fd in fds:
            os.close(fd)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    # signals to the whole group (Ctrl-C, systemd) are the supervisor's; it decides when this ends
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with socket.socket(fileno=parser.parse_args().control) as sock:
        serve(sock)


if __name__ == "__main__":
    main()
