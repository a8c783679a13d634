"""The new version's proof that it can start, before the old one lets go: compile, check, and have a worker of it take the image.

Run as the very command line that the upgrade will run, in a process of its own with VARIABLE set. It opens no listener and writes
nothing.
"""

from __future__ import annotations

import asyncio

from fastgw.model.worker_protocol import Image, Listen, Start, TicketKeys
from fastgw.supervisor.compile_protocol import Configure
from fastgw.supervisor.compiler_client import Compiler, Result
from fastgw.supervisor.fleet import Fleet
from fastgw.supervisor.generations import NothingToServe
from fastgw.supervisor.image_check import check_credentials, check_image
from fastgw.supervisor.settings import Settings
from fastgw.supervisor.state import StateSegment

VARIABLE = "FASTGW_REHEARSAL"
WORKER_S = 30.0


class Rehearsal:
    """Briefs one worker (worker.Briefing) that listens nowhere."""

    def __init__(self, settings: Settings, result: Result, state: StateSegment) -> None:
        self._limits = settings.limits()
        self._result = result
        self._state = state
        self._sizes = (check_image(result.image_fd), check_credentials(result.credentials_fd))

    def start(self, slot: int) -> tuple[Start, list[int]]:
        return Start(slot, self._state.total_bytes, self._limits), [self._state.fd]

    def listen(self, slot: int) -> tuple[Listen, list[int]]:
        return Listen([]), []

    def image(self) -> tuple[Image, list[int]] | None:
        fds = [self._result.image_fd, *([self._result.credentials_fd] if self._sizes[1] else [])]
        return Image(self._result.generation, *self._sizes), fds

    def ticket_keys(self) -> TicketKeys:
        return TicketKeys([])


async def rehearse(settings: Settings) -> None:
    """Raises CompileError, ImageRefused, ImageNacked or NothingToServe."""
    compiler = Compiler(Configure(**settings.sources()))
    state = StateSegment(1)
    try:
        result = await compiler.compile(1)
        if not result.report.listeners:
            raise NothingToServe("no listener comes of the configuration")
        await asyncio.wait_for(_try_worker(Rehearsal(settings, result, state), state, result.generation), WORKER_S)
        result.close()
    except TimeoutError:
        raise NothingToServe(f"a worker did not take the configuration within {WORKER_S:g} s") from None
    finally:
        await compiler.stop()
        state.close()


async def _try_worker(briefing: Rehearsal, state: StateSegment, generation: int) -> None:
    fleet = Fleet(1, state, briefing)
    fleet.start()
    try:
        while not (await fleet.wait_image(generation, WORKER_S) and fleet.slots[0].generation == generation):
            if fleet.restarts:
                raise NothingToServe("a worker of it ended at its start")
    finally:
        await fleet.kill()
