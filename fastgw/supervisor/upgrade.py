"""SIGUSR2: the program on disk takes the place of the one that runs, and no connection is lost.

1. Rehearsal: the new version, in a process of its own, compiles the configuration and has one of its workers take it. When that
   fails, nothing has happened.
2. This process becomes the new version by exec. It keeps its number, its place under the service manager, its children, its
   listening sockets, the state segment and the ticket keys. The old workers accept and serve all the while.
3. Once its own workers accept on the same sockets, the old ones are told to finish what they have (elders.Elders).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import fastgw
from fastgw.supervisor import memfd, rehearsal
from fastgw.supervisor.child import child_environment
from fastgw.supervisor.handed import OWN, Named, listener_name
from fastgw.supervisor.handover import Handover, WorkerLeft, leave
from fastgw.supervisor.service import CELLS, CREDENTIALS, NUMBERS, PIN, STATE, TICKETS

if TYPE_CHECKING:
    from fastgw.supervisor.supervisor import Supervisor

log = logging.getLogger("fastgw")
REHEARSAL_S = 300.0
SAID_BYTES = 2000
SIGNALS_S = 0.05
"""For the event loop to act on signals that came before they were held back."""
MADE_FOR_IT = (CELLS, TICKETS, NUMBERS, CREDENTIALS, PIN)
HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""They wait from before the exec until the new version listens for them: their default is to end the process."""


class UpgradeFailed(Exception):
    """The old version stays; the text says why."""


def own_command() -> list[str]:
    """What started us, with the interpreter's path spelled out. The script and the packages are read from disk again."""
    return [sys.executable, *sys.orig_argv[1:]]


async def upgrade(supervisor: Supervisor, command: list[str] | None = None) -> None:
    """Does not return when it succeeds. Raises UpgradeFailed."""
    command = command or own_command()
    await rehearse(command)
    async with supervisor.generations.held():
        log.info("upgrading: the new version has passed its rehearsal")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            await supervisor.generations.kept()
            await supervisor.compiler.pause()
            await asyncio.sleep(SIGNALS_S)
            if supervisor.draining:
                raise UpgradeFailed("the end has begun")
            supervisor.service.reloading()
            become(describe(supervisor), command)
        except UpgradeFailed:
            supervisor.service.ready()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def become(handover: Handover, command: list[str]) -> NoReturn:
    """Raises UpgradeFailed."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        leave(handover, command)
    except OSError as error:
        for name, fd in handover.named:
            if name in MADE_FOR_IT:
                os.close(fd)
        raise UpgradeFailed(f"{command[0]}: {error.strerror}") from None


async def rehearse(command: list[str]) -> None:
    """Raises UpgradeFailed with the end of what it said."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env={**child_environment(), rehearsal.VARIABLE: "1"},
        )  # fmt: skip
    except OSError as error:
        raise UpgradeFailed(f"{command[0]}: {error.strerror}") from None
    try:
        _, said = await asyncio.wait_for(process.communicate(), REHEARSAL_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise UpgradeFailed(f"the new version was not ready within {REHEARSAL_S:g} s") from None
    if process.returncode:
        text = said[-SAID_BYTES:].decode(errors="replace").strip()
        raise UpgradeFailed(f"the new version cannot start (exit status {process.returncode}): {text or 'it said nothing'}")


def describe(supervisor: Supervisor) -> Handover:
    """Everything that the new version goes on with."""
    workers = [WorkerLeft(slot.pid, slot.control_fd, slot.stripe) for slot in supervisor.fleet.slots if slot.running]
    workers += [WorkerLeft(elder.pid, elder.control_fd, elder.stripe) for elder in supervisor.elders.running]
    generations = supervisor.generations
    return Handover(
        fastgw.__version__, generations.outcome.generation, supervisor.started_at,
        generations.pin.source if generations.pin else "", named(supervisor), workers,
    )  # fmt: skip


def named(supervisor: Supervisor) -> list[Named]:
    """Descriptors by the names under which they are looked for."""
    found = supervisor.handed.unit_sockets()
    for listener in supervisor.listeners.open.values():
        found += [(listener_name(listener.wanted.name), sock.fileno()) for sock in listener.own]
    for server in supervisor.servers:
        found += [(f"{OWN}{server.what}", sock.fileno()) for sock in server.sockets]
    found += [
        (STATE, supervisor.state.fd),
        (CELLS, memfd.make_sealed("fastgw-cells", supervisor.resolver.cells_json())),
        (TICKETS, memfd.make_sealed("fastgw-tickets", b"".join(supervisor.tickets.keys))),
    ]
    if pin := supervisor.generations.pin:
        found.append((PIN, memfd.make_sealed("fastgw-plan", pin.plan)))
    for name, fd in ((NUMBERS, supervisor.compiler.numbers_fd), (CREDENTIALS, supervisor.compiler.credentials_fd)):
        if fd >= 0:
            found.append((name, os.dup(fd)))
    return found
