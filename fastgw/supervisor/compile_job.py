"""The compile child: reads the sources, compiles them and writes the image, with everything that can be reused kept warm.

Started by compiler_client; speaks compile_protocol. It serves nothing and inherits no listening socket, so whatever a strange
configuration does to it, traffic goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec

from fastgw.analysis.examine import ExamineOptions, examine
from fastgw.analysis.picture import Interrupted, Memory
from fastgw.compiler.compile import CompileCache, CompileResult, compile_plan
from fastgw.compiler.options import CompileOptions
from fastgw.credentials.keeper import Keeper
from fastgw.credentials.places import PlaceOptions, Places
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import ImageWriter
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import Listener, Plan
from fastgw.model.resource import Resource
from fastgw.sources.files import FileCache, LoadResult, load_paths
from fastgw.sources.page_files import Stamps
from fastgw.supervisor import compile_protocol as protocol
from fastgw.supervisor import memfd
from fastgw.supervisor.background import yield_to_traffic
from fastgw.supervisor.control import receive
from fastgw.supervisor.credentials_file import CredentialsFile
from fastgw.supervisor.listeners import Wanted

_PR_SET_PDEATHSIG = 1
QUIET_S = 1.0
"""So long nothing is asked before the whole picture is looked at: a change must not wait for that."""
COLLECT_EVERY = 100
"""After so many compilations garbage is collected although it has never been quiet; and after the first, which leaves most."""
PLANS_KEPT = 2
"""The one that is served is the last, or the one before when the last was refused."""


class Job:
    """The state that stays warm between compilations."""

    def __init__(self, configure: protocol.Configure, numbers: StateNumbers, is_urgent: Callable[[], bool] | None = None) -> None:
        """``is_urgent``: does somebody wait for something else than what is being examined?"""
        self._configure = configure
        self._options = CompileOptions(
            labels=configure.labels,
            namespace=configure.namespace,
            resolve=configure.resolve,
            proxy_protocol=tuple(configure.proxy_protocol),
        )
        self._numbers = numbers
        self._files = FileCache(keeps_last_good=True)
        self._compile_cache = CompileCache()
        self._writer = ImageWriter(numbers)
        self._credentials = CredentialsFile(
            Keeper(Places(PlaceOptions(configure.namespace, tuple(configure.secrets), configure.mesh_cert)))
        )
        self._compiled: tuple[LoadResult, CompileResult] | None = None
        self._plans: dict[int, Plan] = {}
        self._reporter = Reporter(numbers)
        self._examine_options = ExamineOptions(
            labels=configure.labels,
            namespace=configure.namespace,
            secret_directories=configure.secrets,
            mesh_directory=configure.mesh_cert,
        )
        self._examine_memory = Memory(is_urgent)
        self._unexamined: tuple[int, list[Resource], Plan] | None = None

    def run(self, message: protocol.Compile, plan: bytes | None = None) -> tuple[protocol.Compiled, list[int]]:
        """One compilation: the answer and its descriptors, which the caller owns. ``plan``: JSON, see Compile.has_plan."""
        times = [time.perf_counter()]
        generation = message.generation
        loaded = self._load(message if plan is None else protocol.Compile(generation))
        times.append(time.perf_counter())
        result = self._compile(loaded) if plan is None else CompileResult(msgspec.json.decode(plan, type=Plan), [])
        times.append(time.perf_counter())
        linked = self._writer.link(result.plan, generation)
        fds = [memfd.make_filled("fastgw-image", linked.total_bytes, linked.write_into)]
        times.append(time.perf_counter())
        try:
            block = self._credentials.update(result.plan, loaded.resources, message.credentials_changed)
            times.append(time.perf_counter())
            fds += self._reporter.write(result.plan, [*loaded.diagnostics, *result.diagnostics], self._credentials, loaded.pages)
            if block >= 0:
                fds.insert(2, os.dup(block))
        except BaseException:
            close_all(fds)
            raise
        self._compiled = (loaded, result)
        self._keep_plan(generation, result.plan)
        self._unexamined = (generation, loaded.resources, result.plan) if plan is None else None
        timings = protocol.Timings(*(later - earlier for earlier, later in pairwise(times)))
        return protocol.Compiled(generation, count(result.plan, linked.total_bytes), timings, block >= 0), fds

    def _load(self, message: protocol.Compile) -> LoadResult:
        if self._compiled is not None and message.changed == []:
            return self._compiled[0]
        return load_paths(self._configure.paths, self._configure.namespace, self._files, message.changed)

    def _compile(self, loaded: LoadResult) -> CompileResult:
        """When only certificates have changed, it is the plan of before."""
        if self._compiled is not None and loaded is self._compiled[0]:
            return self._compiled[1]
        return compile_plan(loaded.resources, self._options, self._compile_cache, loaded.doubtful)

    def restore_credentials(self, block: bytes) -> None:
        self._credentials.restore(block)

    @property
    def has_to_examine(self) -> bool:
        """A generation was compiled whose whole picture has not been looked at."""
        return self._unexamined is not None

    def examine(self) -> tuple[int, list[Diagnostic]]:
        """The last generation and what its whole picture shows; once. Raises Interrupted: then it is still to be done."""
        assert self._unexamined is not None
        generation, resources, plan = unexamined = self._unexamined
        self._unexamined = None
        try:
            keeper = self._credentials.keeper
            return generation, examine(resources, plan, self._examine_options, self._examine_memory, keeper)
        except Interrupted:
            self._unexamined = unexamined
            raise

    def plan_json(self, generation: int) -> bytes | None:
        """None when the generation is unknown or too old."""
        plan = self._plans.get(generation)
        return None if plan is None else msgspec.json.encode(plan)

    def _keep_plan(self, generation: int, plan: Plan) -> None:
        self._plans[generation] = plan
        for old in sorted(self._plans)[:-PLANS_KEPT]:
            del self._plans[old]


class Reporter:
    """Writes what goes beside an image; parts that are the same as last time are left out."""

    def __init__(self, numbers: StateNumbers) -> None:
        self._numbers = numbers
        self._sent: dict[str, bytes] = {}
        self._numbers_taken = -1

    def write(self, plan: Plan, diagnostics: list[Diagnostic], credentials: CredentialsFile, pages: Stamps) -> list[int]:
        """Descriptors, the caller's: of the Report, and of the numbers when they have changed."""
        numbers = self._numbers
        fresh_numbers = numbers.taken != self._numbers_taken
        found, dns, health = dict.fromkeys(diagnostics), dns_targets(plan, numbers), health_targets(plan, numbers)
        report = protocol.Report(
            listeners=[wanted(listener) for listener in plan.listeners],
            watched=credentials.watched(),
            pages=pages,
            diagnostics=list(found) if self._is_new("diagnostics", list(found)) else None,
            dns=dns if self._is_new("dns", dns) else None,
            health=health if self._is_new("health", health) else None,
            metric_labels=metric_labels(numbers) if fresh_numbers else None,
            rate_limits=rate_limit_labels(numbers) if fresh_numbers else None,
            credentials=credentials.statuses if self._is_new("credentials", credentials.statuses) else None,
        )
        blobs = {"fastgw-report": protocol.encode_report(report)}
        if fresh_numbers:
            blobs["fastgw-numbers"] = msgspec.json.encode(numbers.to_json())
        fds: list[int] = []
        try:
            for name, blob in blobs.items():
                fds.append(memfd.make_sealed(name, blob))
        except BaseException:
            close_all(fds)
            # nobody got them: the next report has to be whole
            self._sent, self._numbers_taken = {}, -1
            raise
        self._numbers_taken = numbers.taken
        return fds

    def _is_new(self, part: str, value: object) -> bool:
        blob = msgspec.msgpack.encode(value)
        same = self._sent.get(part) == blob
        self._sent[part] = blob
        return not same


def wanted(listener: Listener) -> Wanted:
    """What the supervisor has to open."""
    names = tuple(dict.fromkeys(server.port_name for server in listener.servers if server.port_name))
    return Wanted(listener.name, listener.bind, listener.port, names)


def count(plan: Plan, image_bytes: int) -> protocol.Counts:
    tables = [table.virtual_hosts for table in plan.route_tables.values()]
    rules = sum(len(host.rules) for hosts in tables for host in hosts)
    return protocol.Counts(len(plan.listeners), sum(map(len, tables)), rules, len(plan.clusters), image_bytes)


def metric_labels(numbers: StateNumbers) -> dict[int, protocol.MetricLabels]:
    return {number: protocol.MetricLabels(*names) for number, names in numbers.metric_names().items()}


def rate_limit_labels(numbers: StateNumbers) -> dict[int, protocol.RateLimitLabels]:
    return {number: protocol.RateLimitLabels(*names) for number, names in numbers.rate_limit_names().items()}


def dns_targets(plan: Plan, numbers: StateNumbers) -> list[protocol.DnsTarget]:
    """Which names go into which slot of the state segment."""
    return [
        protocol.DnsTarget(
            numbers.dns_slot_of(cluster), each.address, each.port, cluster.name, each.lookup, max(each.weight, 1), index
        )
        for cluster in plan.clusters.values()
        if cluster.discovery == "dns"
        for index, each in enumerate(cluster.endpoints)
        if each.lookup
    ]


def health_targets(plan: Plan, numbers: StateNumbers) -> list[protocol.HealthTarget]:
    """What has to be checked; endpoints that the configuration calls unhealthy are not used whatever a check says."""
    return [
        protocol.HealthTarget(
            cluster.name,
            cluster.health_check,
            cluster.health_check.host or cluster.host,
            cluster.protocol == "http2" or cluster.health_check.kind == "grpc",
            cluster.tls,
            tuple(
                (each.address, each.port, numbers.cell_of(cluster.name, each.address, each.port))
                for each in cluster.endpoints
                if each.healthy and not each.lookup
            ),
            numbers.dns_slot_of(cluster) if cluster.discovery == "dns" else -1,
        )
        for cluster in plan.clusters.values()
        if cluster.health_check is not None
    ]


def restore_credentials(job: Job, fds: list[int]) -> None:
    """Those that a predecessor handed over: what was good stays good, whatever lies on disk by now."""
    for fd in fds[1:]:
        job.restore_credentials(memfd.read_all(fd))


def restore_numbers(fds: list[int]) -> StateNumbers:
    """Those of a predecessor that died: cells and metric ids must keep their meaning. What cannot be understood must not keep this
    process from starting again and again: counts that are mixed up are better than no configuration."""
    if not fds:
        return StateNumbers()
    try:
        return StateNumbers.from_json(msgspec.json.decode(memfd.read_all(fds[0])))
    except (KeyError, TypeError, ValueError):
        traceback.print_exc()
        return StateNumbers()


def answer(job: Job, message: protocol.Compile, fds: list[int], sock: socket.socket) -> None:
    """Compile and send what came of it; an exception is an answer too."""
    try:
        compiled, made = job.run(message, memfd.read_all(fds[0]) if message.has_plan else None)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sock.sendall(protocol.encode(protocol.Failed(message.generation, text[:2000], traceback.format_exc()[-20_000:])))
        return
    send(sock, protocol.encode(compiled), made)


def answer_plan(job: Job, message: protocol.AskPlan, sock: socket.socket) -> None:
    plan = job.plan_json(message.generation)
    fds = [] if plan is None else [memfd.make_sealed("fastgw-plan", plan)]
    send(sock, protocol.encode(protocol.PlanAnswer(message.generation)), fds)


def tell_findings(job: Job, sock: socket.socket) -> None:
    """A failure costs the findings, nothing else; a change that comes meanwhile is compiled first."""
    try:
        generation, found = job.examine()
    except Interrupted:
        return
    except Exception:
        traceback.print_exc()
        return
    fds = [memfd.make_sealed("fastgw-findings", protocol.encode_findings(found))]
    send(sock, protocol.encode(protocol.Findings(generation)), fds)


def send(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    """Takes the descriptors."""
    try:
        socket.send_fds(sock, [data], fds)
    finally:
        close_all(fds)


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def set_garbage_aside() -> None:
    """Called when nobody waits. What has come of a compilation lives long: the collector need not walk it ever again.

    That costs as much as a compilation, whose lists are as long as the configuration: not to be done after each of a burst.
    """
    if gc.get_freeze_count():
        gc.collect()
    gc.freeze()


def serve(sock: socket.socket) -> None:
    """Until the supervisor's end is closed."""
    job: Job | None = None
    compilations, yields = 0, False
    while True:
        if job is not None and job.has_to_examine and not waits(sock, QUIET_S):
            tell_findings(job, sock)
            if not waits(sock):
                set_garbage_aside()
        data, fds = receive(sock, protocol.MAX_MESSAGE_BYTES)
        if not data:
            return
        message = protocol.decode_to_child(data)
        if isinstance(message, protocol.Configure):
            job = Job(message, restore_numbers(fds), lambda: waits(sock))
            restore_credentials(job, fds)
        elif isinstance(message, protocol.AskPlan):
            if job is not None:
                answer_plan(job, message, sock)
        elif job is not None:
            if message.generation == 1:  # there is no traffic yet that it could hold up
                answer(job, message, fds, sock)
            if not yields:
                yield_to_traffic()
                yields = True
            if message.generation > 1:
                answer(job, message, fds, sock)
            if compilations % COLLECT_EVERY == 0:
                set_garbage_aside()
            compilations += 1
        close_all(fds)


def waits(sock: socket.socket, seconds: float = 0.0) -> bool:
    """Is there a message?"""
    return bool(select.select([sock], [], [], seconds)[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    # signals to the whole group (Ctrl-C, systemd) are the supervisor's; it decides when this ends
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):  # private keys are read here: nothing of this memory goes into a core dump
        Path("/proc/self/coredump_filter").write_text("0")
    # a collection in the middle of a compilation would walk millions of objects: it is done between them
    gc.disable()
    with socket.socket(fileno=parser.parse_args().control) as sock:
        serve(sock)


if __name__ == "__main__":
    main()
