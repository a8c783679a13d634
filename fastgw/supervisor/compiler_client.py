"""The supervisor's handle on the compile child: keeps one warm, restarts it when it dies or hangs, and hands out results."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence

import msgspec

from fastgw.credentials.status import Status
from fastgw.model.diagnostic import Diagnostic
from fastgw.supervisor import compile_protocol as protocol
from fastgw.supervisor import memfd
from fastgw.supervisor.child import Child, exit_text, module_command
from fastgw.supervisor.control import Channel, make_pair

log = logging.getLogger("fastgw.compile")
HANG_S = 300.0
MANY_NAMES_BYTES = 100_000


class CompileError(Exception):
    """There is no new image; the text is one line."""


class Result:
    """A compiled generation. Owns ``image_fd`` and ``credentials_fd`` (-1: no credentials) until closed. ``report`` is whole."""

    def __init__(self, message: protocol.Compiled, image_fd: int, credentials_fd: int, report: protocol.Report) -> None:
        self.generation = message.generation
        self.counts = message.counts
        self.timings = message.timings
        self.image_fd = image_fd
        self.credentials_fd = credentials_fd
        self.report = report

    @property
    def diagnostics(self) -> list[Diagnostic]:
        return self.report.diagnostics or []

    @property
    def dns(self) -> list[protocol.DnsTarget]:
        return self.report.dns or []

    @property
    def health(self) -> list[protocol.HealthTarget]:
        return self.report.health or []

    @property
    def metric_labels(self) -> dict[int, protocol.MetricLabels]:
        return self.report.metric_labels or {}

    @property
    def rate_limits(self) -> dict[int, protocol.RateLimitLabels]:
        return self.report.rate_limits or {}

    @property
    def credentials(self) -> list[Status]:
        """Of every credential that the plan names."""
        return self.report.credentials or []

    def close(self) -> None:
        os.close(self.image_fd)
        if self.credentials_fd >= 0:
            os.close(self.credentials_fd)


class Compiler:
    """One compilation at a time. ``command`` is the child's command line, without ``--control FD``."""

    def __init__(
        self,
        configure: protocol.Configure,
        command: Sequence[str] | None = None,
        hang_s: float = HANG_S,
        numbers_fd: int = -1,
        credentials_fd: int = -1,
    ) -> None:
        """``numbers_fd``: what an earlier start's child had given out, so that cells and series keep their meaning;
        ``credentials_fd``: the block that it had made, so that what was good stays good. Both are taken."""
        self._configure = configure
        self._command = list(command or module_command("fastgw.supervisor.compile_job"))
        self._hang_s = hang_s
        self._child: Child | None = None
        self._channel: Channel | None = None
        self._answer: asyncio.Future[Result] | None = None
        self._plan_answers: dict[int, asyncio.Future[bytes]] = {}
        self._report = protocol.Report()
        self._numbers_fd, self._credentials_fd = numbers_fd, credentials_fd
        self._stopped = False
        self.on_numbers: Callable[[int], None] = lambda fd: None
        """Called with the descriptor of the numbers given out so far, which stays ours, when there are new ones."""
        self.on_findings: Callable[[int, list[Diagnostic]], None] = lambda generation, found: None
        """Called with a generation and what its whole picture shows, some time after it was compiled."""

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start the child unless there is one."""
        if self._child is not None:
            return
        ours, theirs = make_pair()
        with theirs:
            fd = theirs.fileno()
            child = Child([*self._command, "--control", str(fd)], [fd], lambda code: self._on_exit(child, code))
        self._child = child
        self._report = protocol.Report()
        self._channel = Channel(ours, protocol.MAX_MESSAGE_BYTES, self._on_packet, lambda: None)
        left = [fd for fd in (self._numbers_fd, self._credentials_fd) if fd >= 0]
        self._channel.send(protocol.encode(self._configure), left if self._numbers_fd >= 0 else [])

    async def compile(
        self, generation: int, changed: list[str] | None = None, credentials_changed: bool = True, plan: bytes | None = None
    ) -> Result:
        """Raises CompileError. ``changed``: the only files that have changed since the last call that succeeded;
        ``credentials_changed``: whether a file of a certificate may have; ``plan``: JSON, served instead of the sources."""
        self.start()
        assert self._channel is not None
        self._answer = asyncio.get_running_loop().create_future()
        message = compile_message(generation, changed, credentials_changed)
        message.has_plan = plan is not None
        fds = [] if plan is None else [memfd.make_sealed("fastgw-plan", plan)]
        try:
            self._channel.send(protocol.encode(message), fds)
        finally:
            _close(fds)
        try:
            return await asyncio.wait_for(self._answer, self._hang_s)
        except TimeoutError:
            self._kill()
            raise CompileError(f"compiling took longer than {self._hang_s:g} s and was given up") from None
        finally:
            self._answer = None

    async def plan_json(self, generation: int) -> bytes:
        """The plan of the last generation or the one before, as JSON. Raises CompileError when the child does not have it."""
        if self._channel is None:
            raise CompileError(f"the plan of generation {generation} is gone with the process that made it")
        if generation not in self._plan_answers:
            self._plan_answers[generation] = asyncio.get_running_loop().create_future()
            self._channel.send(protocol.encode(protocol.AskPlan(generation)))
        try:
            return await asyncio.wait_for(asyncio.shield(self._plan_answers[generation]), self._hang_s)
        except TimeoutError:
            raise CompileError(f"no plan of generation {generation} came within {self._hang_s:g} s") from None

    @property
    def numbers_fd(self) -> int:
        """Those that were given out so far; -1: none. It stays ours."""
        return self._numbers_fd

    @property
    def credentials_fd(self) -> int:
        """The last block; -1: none. It stays ours."""
        return self._credentials_fd

    async def pause(self) -> None:
        """End the child; the next compilation starts another. Returns when it is gone."""
        child = self._child
        self._kill()
        if child:
            await child.exited.wait()

    async def stop(self) -> None:
        """Returns when the child is gone."""
        self._stopped = True
        child = self._child
        self._kill()
        if child:
            await child.exited.wait()
        _close([fd for fd in (self._numbers_fd, self._credentials_fd) if fd >= 0])
        self._numbers_fd = self._credentials_fd = -1

    def _kill(self) -> None:
        if self._child:
            self._child.kill()
        self._forget()

    def _forget(self) -> None:
        if self._channel:
            self._channel.close()
        self._child = self._channel = None
        for generation, waiting in self._plan_answers.items():
            waiting.set_exception(CompileError(f"the plan of generation {generation} is gone with the process that made it"))
            waiting.exception()  # nobody may be waiting any more
        self._plan_answers.clear()

    def _on_exit(self, child: Child, code: int) -> None:
        if child is not self._child or self._stopped:
            return
        log.error("the compile process ended (%s); the next change starts another one", exit_text(code))
        self._forget()
        if self._answer and not self._answer.done():
            self._answer.set_exception(CompileError(f"the compile process ended with {exit_text(code)}"))

    def _on_packet(self, data: bytes, fds: list[int]) -> None:
        try:
            message = protocol.decode_from_child(data)
            if isinstance(message, protocol.PlanAnswer):
                self._take_plan(message, fds)
            elif isinstance(message, protocol.Findings):
                self._take_findings(message, fds)
            elif self._answer is None or self._answer.done():
                _close(fds)
            elif isinstance(message, protocol.Failed):
                if message.traceback:
                    log.error("%s", message.traceback.rstrip())
                _close(fds)
                self._answer.set_exception(CompileError(message.message))
            else:
                self._answer.set_result(self._take(message, fds))
        except (msgspec.DecodeError, ValueError) as error:
            _close(fds)
            if self._answer and not self._answer.done():
                self._answer.set_exception(CompileError(f"the compile process answered nonsense: {error}"))

    def _take(self, message: protocol.Compiled, fds: list[int]) -> Result:
        image_fd, report_fd, *others = fds
        credentials_fd = others.pop(0) if message.has_credentials else -1
        self._report = _whole(protocol.decode_report(memfd.read_all(report_fd)), self._report)
        os.close(report_fd)
        for numbers_fd in others:
            if self._numbers_fd >= 0:
                os.close(self._numbers_fd)
            self._numbers_fd = numbers_fd
            self.on_numbers(numbers_fd)
        if self._credentials_fd >= 0:
            os.close(self._credentials_fd)
        self._credentials_fd = os.dup(credentials_fd) if credentials_fd >= 0 else -1
        return Result(message, image_fd, credentials_fd, self._report)

    def _take_findings(self, message: protocol.Findings, fds: list[int]) -> None:
        try:
            found = protocol.decode_findings(memfd.read_all(fds[0]))
        finally:
            _close(fds)
        self.on_findings(message.generation, found)

    def _take_plan(self, message: protocol.PlanAnswer, fds: list[int]) -> None:
        waiting = self._plan_answers.pop(message.generation, None)
        try:
            if waiting is None:
                return
            if fds:
                waiting.set_result(memfd.read_all(fds[0]))
            else:
                waiting.set_exception(CompileError(f"the plan of generation {message.generation} is not kept"))
                waiting.exception()
        finally:
            _close(fds)


def compile_message(generation: int, changed: list[str] | None, credentials_changed: bool = True) -> protocol.Compile:
    """Without the names when they are so many that looking at every file is the simpler way."""
    if changed is not None and sum(map(len, changed)) > MANY_NAMES_BYTES:
        changed = None
    return protocol.Compile(generation, changed, credentials_changed)


def _whole(report: protocol.Report, before: protocol.Report) -> protocol.Report:
    """With the parts of ``before`` where the child had nothing new."""
    for part in ("diagnostics", "credentials", "dns", "health", "metric_labels", "rate_limits"):
        if getattr(report, part) is None:
            setattr(report, part, getattr(before, part))
    return report


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
