"""From changed files to workers that serve them: compile, check, open, hand over, one generation after the other.

Whatever fails on the way, the generation before keeps serving. Changes that come while one is compiled are taken together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from fastgw.credentials.status import Status
from fastgw.model.diagnostic import ERROR, INFO, WARNING, Diagnostic
from fastgw.model.worker_protocol import Image
from fastgw.sources.page_files import Stamps
from fastgw.supervisor.canary import Canary, CanaryFailed, Rules
from fastgw.supervisor.compile_protocol import Counts, MetricLabels, RateLimitLabels
from fastgw.supervisor.compiler_client import CompileError, Compiler, Result
from fastgw.supervisor.fleet import Fleet, ImageNacked
from fastgw.supervisor.health import HealthChecker
from fastgw.supervisor.history import Entry, History, NotKept
from fastgw.supervisor.image_check import ImageRefused, check_credentials, check_image
from fastgw.supervisor.listeners import ListenerSet
from fastgw.supervisor.resolver import Resolver
from fastgw.supervisor.state import StateSegment

log = logging.getLogger("fastgw.config")
ACK_S = 10.0
FIRST_DNS_S = 1.0
FIRST_CHECKS_S = 1.0
RETIRED_S = 2.0
MANY_RULES = 5000
QUIET_S = 1.0


class NothingToServe(Exception):
    """The configuration has no listener, or none that could be opened."""


class Sizes(msgspec.Struct, frozen=True):
    """Bytes of what a generation hands to workers; 0 credentials: there are none."""

    image: int = 0
    credentials: int = 0


class Pin(msgspec.Struct, frozen=True):
    """A Plan (JSON) that is served instead of what the sources say, until they change. ``source``: where it came from."""

    plan: bytes
    source: str


class Trial(msgspec.Struct):
    """The last plan that was given to be served. phase: none, compiling, canary, served, refused."""

    phase: str = "none"
    source: str = ""
    error: str = ""
    generation: int = 0
    canary: Canary | None = None


class Outcome(msgspec.Struct):
    """How the last attempt went, for the admin API and the metrics."""

    generation: int = 0
    serving: int = 0
    error: str = ""
    attempts: int = 0
    failures: int = 0
    apply_seconds: float = 0.0
    applied_at: float = 0.0
    """Unix time of the last success."""


def _message(result: Result, sizes: Sizes) -> tuple[Image, list[int]]:
    """How a worker is told about it."""
    message = Image(result.generation, sizes.image, sizes.credentials)
    return message, [result.image_fd, *([result.credentials_fd] if sizes.credentials else [])]


def print_diagnostics(found: list[Diagnostic]) -> None:
    """One line each on stderr."""
    print("\n".join(one.text() for one in found), file=sys.stderr, flush=True)


class Generations:
    """Owns the current Result. ``fleet`` may be told nothing until ``begin`` has found something to serve."""

    def __init__(
        self, compiler: Compiler, listeners: ListenerSet, resolver: Resolver, health: HealthChecker,
        last: int = 0, history: History | None = None,
    ) -> None:  # fmt: skip
        """``last``: the number after which to go on."""
        self.outcome = Outcome(last)
        self.history = history or History()
        self.trial = Trial()
        self.pin: Pin | None = None
        """Of what is served; None: it is what the sources say."""
        self._compiled_pin: Pin | None = None
        self._next_pin: Pin | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        self.diagnostics: list[Diagnostic] = []
        self.current: Result | None = None
        self._retired: Result | None = None
        self._retired_timer: asyncio.TimerHandle | None = None
        self.fleet: Fleet | None = None
        self.on_watched: Callable[[list[str]], None] = lambda paths: None
        """Called with the files and directories that hold the credentials of a generation."""
        self.on_pages: Callable[[Stamps], None] = lambda pages: None
        """Called with the files of its error pages."""
        self._sizes = Sizes()
        self._compiler = compiler
        self._listeners = listeners
        self._resolver = resolver
        self._health = health
        self._wanted = asyncio.Event()
        self._wanted_since_s = 0.0
        self._changed: frozenset[str] | None = None
        """Files that have changed since the last compilation that succeeded; None: any may have."""
        self._credentials_changed = True
        self._tickets = 0
        self._done_tickets = 0
        self._finished = asyncio.Condition()
        self._printed: set[str] = set()
        self._picture: list[Diagnostic] = []
        """What the whole picture of the last examined generation shows."""
        compiler.on_findings = self._take_findings
        self.on_diagnostics: Callable[[list[Diagnostic]], None] = print_diagnostics
        """Called with what the last attempt has found and those before had not; without infos."""

    @property
    def counts(self) -> Counts:
        """Of the generation that is served."""
        return self.current.counts if self.current else Counts()

    @property
    def credentials(self) -> list[Status]:
        """Of all credentials that are named by what is served."""
        return self.current.credentials if self.current else []

    @property
    def metric_labels(self) -> dict[int, MetricLabels]:
        return self.current.metric_labels if self.current else {}

    @property
    def rate_limits(self) -> dict[int, RateLimitLabels]:
        return self.current.rate_limits if self.current else {}

    async def plan_json(self) -> bytes:
        """The plan that is served, as JSON. Raises CompileError when there is none, or none can be had."""
        if self.current is None:
            raise CompileError("no configuration is served yet")
        try:
            return await self._compiler.plan_json(self.current.generation)
        except CompileError:
            # the child that knew it has died: the next one knows the plan of the same files
            await self.reload()
            return await self._compiler.plan_json(self.current.generation)

    @contextlib.contextmanager
    def borrow_image(self) -> Iterator[int]:
        """A descriptor of the image in use that stays good when the generation is replaced meanwhile; -1 without one."""
        fd = os.dup(self.current.image_fd) if self.current else -1
        try:
            yield fd
        finally:
            if fd >= 0:
                os.close(fd)

    @property
    def credentials_fd(self) -> int:
        """Of the credentials block in use, -1 without one."""
        return self.current.credentials_fd if self.current is not None else -1

    def image_message(self) -> tuple[Image, list[int]] | None:
        """What a worker is told about the image in use."""
        if self.current is None:
            return None
        return _message(self.current, self._sizes)

    def go_on_with(self, source: str, plan: bytes) -> None:
        """Before ``begin``: what the version before served instead of the sources; b"" when it was the sources."""
        if plan:
            self._next_pin = Pin(plan, source)

    async def begin(self) -> None:
        """The first generation, before there are workers: of the sources, or the last that was kept. Raises NothingToServe."""
        try:
            await self._begin()
        except NothingToServe as error:
            kept = self._snapshot()
            if kept is None:
                raise
            log.error("the sources cannot be served: %s; the gateway starts with the %s, until they change", error, kept.source)
            self._next_pin = kept
            await self._begin()

    def _snapshot(self) -> Pin | None:
        entry = self.history.last_good()
        if entry is None:
            return None
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.served_at))
        try:
            return Pin(self.history.plan(entry), f"snapshot of generation {entry.generation} from {when}")
        except NotKept as error:
            log.error("there is no snapshot to start with: %s", error)
            return None

    async def _begin(self) -> None:
        started_s = time.monotonic()
        self.outcome.attempts += 1
        try:
            result, sizes = await self._compile()
        except (CompileError, ImageRefused) as error:
            raise NothingToServe(str(error)) from None
        self._take_diagnostics(result)
        self._listeners.open_wanted(result.report.listeners)
        self._print_new(self.all_diagnostics())
        if not self._listeners.open:
            result.close()
            opened = "none of the listeners could be opened" if result.report.listeners else "no listener came of the configuration"
            raise NothingToServe(opened)
        self.current, self._sizes = result, sizes
        self.on_watched(result.report.watched)
        self.on_pages(result.report.pages)
        self._resolver.follow(result.dns)
        await self._resolver.wait_known(FIRST_DNS_S)
        self._health.follow(result.health)
        self._health.go_on()
        await self._health.wait_known(FIRST_CHECKS_S)
        self._succeeded(result, started_s)

    def request(self, changed: frozenset[str] | None = None) -> None:
        """Something changed. Returns at once; ``run`` does it. ``changed``: the only files that did; None when any may have."""
        if not self._wanted.is_set():
            self._wanted_since_s = time.monotonic()
        self._changed = None if changed is None or self._changed is None else self._changed | changed
        self._tickets += 1
        self._wanted.set()

    def request_credentials(self) -> None:
        """A file of a certificate, key or CA has changed, and perhaps nothing else."""
        self._credentials_changed = True
        self.request(frozenset())

    async def serve_plan(self, plan: bytes, source: str) -> Outcome:
        """Serve this Plan instead of what the sources say, until they change. Returns when that has been tried."""
        self._next_pin = Pin(plan, source)
        self.request(frozenset())
        return await self._wait_done()

    async def try_plan(self, plan: bytes, source: str, state: StateSegment, rules: Rules) -> None:
        """Like serve_plan, with a few workers first. ``trial`` tells how it goes; changes of files wait meanwhile."""
        self.trial = trial = Trial("compiling", source)
        async with self._busy:
            self.outcome.attempts += 1
            since_s = time.monotonic()
            try:
                result, sizes = await self._compile(Pin(plan, source))
                trial.generation = result.generation
                await self._apply_by_canary(result, sizes, trial, state, rules)
            except (CompileError, ImageRefused, ImageNacked, NothingToServe, CanaryFailed) as error:
                self._refuse_trial(trial, str(error))
            except Exception as error:
                log.exception("a given configuration could not be tried")
                self._refuse_trial(trial, f"{type(error).__name__}: {error}")
            else:
                trial.phase = "served"
                self._succeeded(result, since_s)

    async def _apply_by_canary(self, result: Result, sizes: Sizes, trial: Trial, state: StateSegment, rules: Rules) -> None:
        assert self.fleet
        if not result.report.listeners:
            result.close()
            raise NothingToServe("no listener comes of it")
        trial.canary = canary = Canary(self.fleet, state, rules)
        trial.phase = "canary"
        self._resolver.follow(result.dns)
        self._health.follow(result.health)
        log.info("generation %d: on trial by %d of %d workers", result.generation, rules.workers, len(self.fleet.slots))
        try:
            await canary.run(*_message(result, sizes))
        except BaseException:
            canary.restore()
            self._resolver.retain(self.current.dns if self.current else ())
            self._health.retain(self.current.health if self.current else ())
            result.close()
            raise
        await self._apply(result, sizes)

    def _refuse_trial(self, trial: Trial, why: str) -> None:
        trial.phase, trial.error = "refused", why
        self._failed(why)
        # the compile child has what is not served as its last: the next attempt must not build on it
        if self.pin is None:
            self._changed = None

    async def _wait_done(self) -> Outcome:
        ticket = self._tickets
        async with self._finished:
            await self._finished.wait_for(lambda: self._done_tickets >= ticket)
        return self.outcome

    async def reload(self) -> Outcome:
        """Request, and wait until an attempt that began after this call is over."""
        self.request()
        return await self._wait_done()

    async def run(self) -> None:
        """For ever: do what is requested."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            tickets = self._tickets
            async with self._busy:
                await self._attempt(self._wanted_since_s)
            async with self._finished:
                self._done_tickets = tickets
                self._finished.notify_all()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """No attempt is under way, and none begins."""
        async with self._busy:
            yield

    def all_diagnostics(self) -> list[Diagnostic]:
        """Of the configuration, and of what happened to it here."""
        return [*self.diagnostics, *self._picture, *self._listener_diagnostics(), *self._pin_diagnostics()]

    def close(self) -> None:
        self._retire(None)
        if self.current:
            self.current.close()
            self.current = None

    def _retire(self, result: Result | None) -> None:
        """Keep a replaced image for a moment. Exchanges in flight hold it, and whoever lets go of it last frees its memory, which
        takes milliseconds at a hundred megabytes: that is not to be a worker. Not more than one is kept."""
        if self._retired is not None:
            self._retired.close()
        self._retired = result
        if self._retired_timer is not None:
            self._retired_timer.cancel()
            self._retired_timer = None
        if result is not None:
            self._retired_timer = asyncio.get_running_loop().call_later(RETIRED_S, self._retire, None)

    async def _attempt(self, since_s: float) -> None:
        self.outcome.attempts += 1
        try:
            result, sizes = await self._compile()
            self._take_diagnostics(result)
            self.on_watched(result.report.watched)
            self.on_pages(result.report.pages)
            await self._apply(result, sizes)
        except (CompileError, ImageRefused, ImageNacked, NothingToServe) as error:
            self._failed(str(error))
        except Exception as error:
            log.exception("a change of the configuration could not be taken over")
            self._failed(f"{type(error).__name__}: {error}")
        else:
            self._succeeded(result, since_s)
        self._print_new(self.all_diagnostics())

    async def _compile(self, pin: Pin | None = None) -> tuple[Result, Sizes]:
        """``pin``: this, and not the next thing that was asked for."""
        self.outcome.generation += 1
        changed, self._changed = self._changed, frozenset()
        credentials, self._credentials_changed = self._credentials_changed or changed is None, False
        names = None if changed is None else sorted(changed)
        if pin is None:
            # what is pinned stays when certificates alone have changed; the child may be another one by now
            pin, self._next_pin = self._next_pin or (self.pin if names == [] else None), None
        self._compiled_pin = pin
        try:
            result = await self._compiler.compile(self.outcome.generation, names, credentials, pin.plan if pin else None)
        except BaseException:
            self._changed = None
            raise
        try:
            image_bytes = await asyncio.to_thread(check_image, result.image_fd)
            return result, Sizes(image_bytes, await asyncio.to_thread(check_credentials, result.credentials_fd))
        except BaseException:
            result.close()
            raise

    async def _apply(self, result: Result, sizes: Sizes) -> None:
        """Hand a checked image over. Listeners that go are closed before it, those that come are opened after it."""
        assert self.fleet
        wanted = result.report.listeners
        if not wanted:
            result.close()
            raise NothingToServe("no listener came of the changed configuration")
        self._resolver.follow(result.dns)
        self._health.follow(result.health)
        if self._listeners.close_unwanted(wanted):
            self.fleet.tell_listen()
        before, before_sizes = self.current, self._sizes
        self.current, self._sizes = result, sizes
        self.fleet.tell_image()
        try:
            if not await self.fleet.wait_image(result.generation, ACK_S):
                self.fleet.replace_laggards(result.generation, ACK_S)
        except ImageNacked:
            self.current, self._sizes = before, before_sizes
            self.fleet.tell_image()
            self._resolver.retain(before.dns if before else ())
            self._health.retain(before.health if before else ())
            result.close()
            raise
        if before:
            self._retire(before)
        if self._listeners.open_wanted(wanted):
            self.fleet.tell_listen()
            await self.fleet.wait_listening(set(self._listeners.open), ACK_S)
        self._resolver.retain(result.dns)
        self._health.retain(result.health)

    def _succeeded(self, result: Result, since_s: float) -> None:
        outcome = self.outcome
        outcome.serving, outcome.error = result.generation, ""
        outcome.apply_seconds = time.monotonic() - since_s
        outcome.applied_at = time.time()
        self.pin = self._compiled_pin
        self._keep(result)
        counts = result.counts
        log.info(
            "generation %d: %d listeners, %d hosts, %d rules, %d clusters, %.0f ms",
            result.generation, counts.listeners, counts.hosts, counts.rules, counts.clusters, outcome.apply_seconds * 1000,
        )  # fmt: skip

    def _keep(self, result: Result) -> None:
        """Into the history, in the background and one after the other."""
        counts, source = result.counts, self.pin.source if self.pin else "sources"
        entry = Entry(
            result.generation, round(self.outcome.applied_at, 3), source, "",
            counts.listeners, counts.hosts, counts.rules, counts.clusters,
        )  # fmt: skip
        before, plan = self._keeping, self.pin.plan if self.pin else None
        self._keeping = asyncio.get_running_loop().create_task(self._keep_entry(entry, plan, before))

    async def _keep_entry(self, entry: Entry, plan: bytes | None, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        if entry.rules > MANY_RULES:
            await asyncio.sleep(QUIET_S)  # a large plan is put into words when there is no next change to wait for it
        if plan is None:
            with contextlib.suppress(CompileError):
                plan = await self._compiler.plan_json(entry.generation)
        try:
            await asyncio.to_thread(self.history.add, entry, plan)
        except OSError as error:
            log.error("generation %d is not kept in the history: %s", entry.generation, error)

    async def kept(self) -> None:
        """Returns when what is served is in the history."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping])

    def _failed(self, message: str) -> None:
        self.outcome.failures += 1
        self.outcome.error = message
        log.error("generation %d is not served: %s; generation %d stays", self.outcome.generation, message, self.outcome.serving)

    def _take_diagnostics(self, result: Result) -> None:
        self.diagnostics = result.diagnostics

    def _take_findings(self, generation: int, found: list[Diagnostic]) -> None:
        """They come after the generation is served; those of an older one are out of date."""
        if generation == self.outcome.generation:
            self._picture = found
            self._print_new(self.all_diagnostics())

    def _listener_diagnostics(self) -> list[Diagnostic]:
        return [
            Diagnostic(ERROR, "FGW0201", reason, "Listener", "", name)
            for name, (_, reason) in list(self._listeners.failures.items())
        ]

    def _pin_diagnostics(self) -> list[Diagnostic]:
        if self.pin is None:
            return []
        return [Diagnostic(WARNING, "FGW0202", f"the {self.pin.source} is served, and not what the sources say, until they change")]

    def _print_new(self, diagnostics: list[Diagnostic]) -> None:
        """Only what the last time had not."""
        lines = {found.text(): found for found in diagnostics if found.severity != INFO}
        new = [found for line, found in lines.items() if line not in self._printed]
        self._printed = set(lines)
        if new:
            self.on_diagnostics(new)
