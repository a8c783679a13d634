"""The supervisor: the process that owns sockets, workers and configuration, and carries no traffic.

Life: compile, open the listeners, resolve names, start the workers, then react: to changed files, to signals, to workers that
end, to the clock. Whoever serves an API on top (fastgw.admin) reads the public attributes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from typing import Protocol

import fastgw
from fastgw.model.worker_protocol import Image, Listen, Start
from fastgw.model.worker_protocol import TicketKeys as TicketKeysMessage
from fastgw.sources.watch import Watcher
from fastgw.supervisor import memfd
from fastgw.supervisor.access_log import AccessLog
from fastgw.supervisor.compile_protocol import Configure
from fastgw.supervisor.compiler_client import Compiler
from fastgw.supervisor.dns_lookup import CaresLookup, Lookup
from fastgw.supervisor.drain import Drain, Progress
from fastgw.supervisor.elders import Elders
from fastgw.supervisor.files_watch import FilesWatch
from fastgw.supervisor.fleet import Fleet
from fastgw.supervisor.generations import Generations, NothingToServe, Outcome
from fastgw.supervisor.handed import Handed
from fastgw.supervisor.handover import Handover
from fastgw.supervisor.health import HealthChecker
from fastgw.supervisor.history import History
from fastgw.supervisor.limit_notice import LimitNotice
from fastgw.supervisor.listeners import ListenerSet
from fastgw.supervisor.memory_group import find_group, total_limit
from fastgw.supervisor.notify import Notifier
from fastgw.supervisor.overload import OverloadWatch
from fastgw.supervisor.resolver import Resolver
from fastgw.supervisor.service import CELLS, CREDENTIALS, NUMBERS, PIN, STATE, TICKETS, Service
from fastgw.supervisor.settings import Settings, SettingsError, parse_size
from fastgw.supervisor.state import StateSegment
from fastgw.supervisor.ticket_keys import TicketKeys
from fastgw.supervisor.upgrade import HELD_BACK, UpgradeFailed, upgrade

log = logging.getLogger("fastgw")
TICK_S = 1.0
SPARE_BUDGET_BYTES = 32 << 20
"""A worker has some 15 MiB before its first connection."""
RETRY_LISTENERS_TICKS = 5
FIRST_IMAGE_S = 30.0
RETRY_UPGRADE_S = 2.0
END_S = 10.0
"""For what comes after the drain."""
OK, NOTHING_TO_SERVE = 0, 1


class NamedServer(Protocol):
    """An HTTP server beside the supervisor."""

    what: str
    sockets: list[socket.socket]


class Supervisor:
    """Must be made inside the running event loop. Raises SettingsError and FormatError for settings that cannot be used."""

    def __init__(
        self,
        settings: Settings,
        *,
        lookup: Lookup | None = None,
        worker_command: Sequence[str] | None = None,
        handed: Handed | None = None,
        notifier: Notifier | None = None,
        handover: Handover | None = None,
    ) -> None:
        """``handed``: what was passed to this process at its start, taken; ``notifier``: who is told how it goes; ``handover``:
        what the version before left."""
        self.settings = settings
        self.handed = handed or Handed()
        self._handover = handover
        self.servers: list[NamedServer] = []
        """HTTP servers of this process, whose sockets go on to a new version."""
        left = handover.workers if handover else []
        self.started_at = handover.started_at if handover else time.time()
        self.ready_once = False
        self.draining = False
        self.access_log = AccessLog(settings)
        count = settings.worker_count()
        self.state = StateSegment(count, self.handed.blob(STATE), [worker.stripe for worker in left])
        self.state.shape_rate_limits(settings.rate_limit_buckets)
        self.limit_notice = LimitNotice(self.state)
        names = (NUMBERS, CELLS, TICKETS, CREDENTIALS)
        numbers_fd, cells_fd, tickets_fd, credentials_fd = (self.handed.blob(name) for name in names)
        if not self.state.adopted and numbers_fd >= 0:
            os.close(numbers_fd)
            numbers_fd = -1
        self.listeners = ListenerSet(count, settings.bind_addresses(), settings.listen_map, self.handed)
        self._lookup = lookup or CaresLookup(settings.name_servers())
        self.resolver = Resolver(self.state, self._lookup)
        self.health = HealthChecker(self.state, lambda: self.generations.credentials_fd)
        self.resolver.on_change = self.health.on_slot
        restore_cells(self.resolver, self.state, take_blob(cells_fd))
        self.tickets = TicketKeys(settings.ticket_keys, take_blob(tickets_fd))
        self.compiler = Compiler(Configure(**settings.sources()), numbers_fd=numbers_fd, credentials_fd=credentials_fd)
        self.history = History(settings.state_dir)
        last = max(handover.generation if handover else 0, self.history.last_generation)
        self.generations = Generations(self.compiler, self.listeners, self.resolver, self.health, last, self.history)
        self.generations.go_on_with(handover.pin_source if handover else "", take_blob(self.handed.blob(PIN)))
        self._credentials_watch = FilesWatch(self._on_credentials)
        self.generations.on_watched = self._watch_credentials
        self._pages_watch = FilesWatch(self.generations.request)
        self.generations.on_pages = lambda pages: self._pages_watch.use(sorted(pages), pages)
        self.fleet = Fleet(count, self.state, self, worker_command)
        self.elders = Elders(self.state, left)
        self._drain = Drain(self.fleet, self.elders, self.state, settings.lame_duck, settings.drain_time)
        self.service = Service(self, notifier or Notifier({}))
        group = find_group()
        self._limits = settings.limits()
        self._limits.memory_bytes = total_limit(parse_size("--memory-limit", settings.memory_limit), group) // count
        if self._limits.memory_bytes < SPARE_BUDGET_BYTES:
            log.warning("the memory limit leaves %d MiB for each worker: too little to serve well", self._limits.memory_bytes >> 20)
        self._overload = OverloadWatch(self.state, self.state.stripes, group)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._upgrading: asyncio.Task[None] | None = None
        self._reloading: set[asyncio.Task[Outcome]] = set()
        self._killer: asyncio.Task[None] | None = None

    # --- what a fresh worker is told (worker.Briefing) ---

    def start(self, slot: int) -> tuple[Start, list[int]]:
        message = Start(self.state.stripes[slot], self.state.total_bytes, self._limits, self.access_log.on, self.access_log.program)
        return message, [self.state.fd, *([self.access_log.fd] if self.access_log.on else [])]

    def listen(self, slot: int) -> tuple[Listen, list[int]]:
        specs, fds = self.listeners.of_slot(slot)
        return Listen(specs), fds

    def image(self) -> tuple[Image, list[int]] | None:
        return self.generations.image_message()

    def ticket_keys(self) -> TicketKeysMessage:
        return TicketKeysMessage(self.tickets.keys)

    # --- life ---

    async def run(self) -> int:
        """Serve until a signal or ``drain`` ends it. Returns the exit code."""
        raise_descriptor_limit()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGUSR1, self.reopen_logs)
        loop.add_signal_handler(signal.SIGUSR2, self.upgrade)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)

        def on_change() -> None:
            loop.call_soon_threadsafe(self.generations.request, watcher.take_changed())

        watcher = Watcher(self.settings.paths, on_change)
        watcher.start()
        await self._credentials_watch.start(self._watched_paths(self.settings.secrets))
        try:
            return await self._serve()
        finally:
            await asyncio.to_thread(watcher.close)
            await self._credentials_watch.close()
            await self._pages_watch.close()
            await self._close()

    def drain(self) -> None:
        """Begin to end: not ready from now on, workers finish what they have. A second call ends at once."""
        if self.draining:
            log.warning("told to end a second time: ending now")
            self._killer = asyncio.get_running_loop().create_task(self._kill())
            return
        settings = self.settings
        first = f"not ready any more; in {settings.lame_duck:g} s " if settings.lame_duck and self.ready_once else ""
        log.info("%sdraining, at the most %g s", first, settings.drain_time)
        self.draining = True
        self.service.stopping()
        self.service.extend(settings.lame_duck + settings.drain_time + END_S)
        self._stop.set()

    async def _kill(self) -> None:
        self._drain.cut_lame_duck()
        await asyncio.gather(self.fleet.kill(), self.elders.kill())

    def drain_progress(self) -> Progress:
        return self._drain.progress()

    def drain_text(self) -> str:
        return self._drain.progress().text()

    def upgrade(self) -> None:
        """Begin to become the version that is on disk now."""
        if not self.ready_once or self.draining or self._upgrading is not None:
            busy = "an upgrade is under way" if self._upgrading is not None else self.not_ready_reason()
            log.error("told to upgrade, and not now: %s", busy)
            return
        self._upgrading = asyncio.get_running_loop().create_task(self._upgrade())

    async def _upgrade(self) -> None:
        try:
            await upgrade(self)
        except UpgradeFailed as error:
            log.error("not upgraded, everything stays as it is: %s", error)
        finally:
            self._upgrading = None

    def reopen_logs(self) -> None:
        if not self.access_log.on:
            return
        try:
            fd = self.access_log.reopen()
        except SettingsError as error:
            log.error("the access log stays as it is: %s", error)
            return
        for slot in self.fleet.slots:
            slot.tell_reopen_log(fd)
        log.info("access log opened again")

    def reread_ticket_keys(self) -> None:
        """A file that cannot be used leaves the keys as they are."""
        try:
            changed = self.tickets.reread()
        except SettingsError as error:
            log.error("the ticket keys stay as they are: %s", error)
            return
        if changed:
            self.fleet.tell_ticket_keys()
            log.info("ticket keys read again: %d of them", len(self.tickets.keys))

    async def reload(self) -> Outcome:
        """Read the sources again, and wait until that has been served or refused. The service manager hears of both ends."""
        self.service.reloading()
        try:
            return await self.generations.reload()
        finally:
            self.service.ready()

    def not_ready_reason(self) -> str:
        """ "" when traffic should come here."""
        if self.draining:
            return "draining"
        if not self.ready_once and self._handover is not None and self.elders.running:
            return ""
        if not self.ready_once:
            return "the first configuration is not served by all workers yet"
        if not self.listeners.open:
            return "no listener is open"
        if not any(slot.running and slot.generation for slot in self.fleet.slots):
            return "no worker is running"
        return ""

    def _on_hangup(self) -> None:
        self.reread_ticket_keys()
        if self.ready_once and not self.draining:
            self._reloading.add(task := asyncio.get_running_loop().create_task(self.reload()))
            task.add_done_callback(self._reloading.discard)
        else:
            self.generations.request()

    def _on_credentials(self) -> None:
        self.reread_ticket_keys()
        self.generations.request_credentials()

    def _watch_credentials(self, paths: list[str]) -> None:
        self._credentials_watch.use(self._watched_paths(paths))

    def _watched_paths(self, paths: list[str]) -> list[str]:
        return sorted({*paths, *([self.settings.ticket_keys] if self.settings.ticket_keys else [])})

    async def _rotate_ticket_keys(self) -> None:
        while True:
            await asyncio.sleep(self.settings.ticket_rotation)
            if self.tickets.rotate():
                self.fleet.tell_ticket_keys()
                self.service.store_tickets()

    async def _serve(self) -> int:
        telling = asyncio.create_task(self.service.run())
        self._tasks.append(telling)
        starting = asyncio.create_task(self._begin())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        except NothingToServe as error:
            log.error("nothing can be served: %s", error)
            return NOTHING_TO_SERVE
        finally:
            starting.cancel()
            stopping.cancel()
        await self._drain.run(self.ready_once, self.service.on)
        log.info("drained")
        return OK

    async def _first_generation(self) -> None:
        """Raises NothingToServe, unless workers of the version before serve: then there is time until something can be served."""
        while True:
            try:
                return await self.generations.begin()
            except NothingToServe as error:
                if not self.elders.running:
                    raise
                log.error("the new version has nothing to serve: %s; the workers of the old one stay", error)
                self.service.struggling(f"the workers of the version before serve; the new one has nothing to serve: {error}")
                await asyncio.sleep(RETRY_UPGRADE_S)

    async def _begin(self) -> None:
        await self._first_generation()
        self.generations.fleet = self.fleet
        self.fleet.start()
        self._tasks += [asyncio.create_task(self.generations.run()), asyncio.create_task(self._tick())]
        self._tasks.append(asyncio.create_task(self._rotate_ticket_keys()))
        self._tasks.append(asyncio.create_task(self._overload.run()))
        serving = self.generations.outcome.serving
        images = await self.fleet.wait_image(serving, FIRST_IMAGE_S)
        listening = await self.fleet.wait_listening(set(self.listeners.open), FIRST_IMAGE_S)
        while not (images and listening):
            log.error("not every worker serves the configuration yet; waiting")
            images = await self.fleet.wait_image(serving, FIRST_IMAGE_S)
            listening = await self.fleet.wait_listening(set(self.listeners.open), FIRST_IMAGE_S)
        self.ready_once = True
        self._retire_elders()
        self._drop_leftovers()
        self.service.ready()
        addresses = [address for listener in self.listeners.open.values() for address in listener.addresses]
        log.info("ready: %d workers, listening on %s", len(self.fleet.slots), ", ".join(addresses))

    def _retire_elders(self) -> None:
        if self._handover is not None:
            before, count = self._handover.version, len(self.elders.running)
            log.info("upgraded from %s to %s; %d workers of before finish what they have", before, fastgw.__version__, count)
            self.elders.retire(self.settings.drain_time)
            self._handover = None

    def _drop_leftovers(self) -> None:
        """Of an earlier start, what this configuration has no use for; and a word about sockets that nobody serves."""
        self.service.forget(self.handed.drop_own())
        for socket_unit in self.handed.unused():
            log.warning("no listener is on the socket %s that was passed to us: clients of it wait in vain", socket_unit)

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self.fleet.check_heartbeats()
            self.limit_notice.look()
            if ticks % RETRY_LISTENERS_TICKS == 0 and self.listeners.failures and self.listeners.retry_failed():
                self.fleet.tell_listen()
                log.info("opened after all: listening on %s", ", ".join(self.listeners.open))

    async def _close(self) -> None:
        for task in (*self._tasks, *self._reloading):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._reloading, return_exceptions=True)
        await self.fleet.kill()
        await self.elders.kill()
        self.service.leave()
        await self.compiler.stop()
        self.health.close()
        self.resolver.close()
        if isinstance(self._lookup, CaresLookup):
            self._lookup.close()
        await self.generations.kept()
        self.history.close()
        self.listeners.close(keep_files=self.service.on)
        self.handed.close()
        self.generations.close()
        self.access_log.close()
        self.state.close()


def raise_descriptor_limit() -> None:
    """The soft limit of open files up to the hard one; workers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may not allow it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def take_blob(fd: int) -> bytes:
    """What a predecessor left in a memory file, b"" for none. Closes it."""
    if fd < 0:
        return b""
    try:
        return memfd.read_all(fd)
    finally:
        os.close(fd)


def restore_cells(resolver: Resolver, state: StateSegment, data: bytes) -> None:
    """The cells of addresses from DNS, as a predecessor left them; they begin anew when that cannot be understood."""
    if not state.adopted:
        return
    try:
        resolver.restore_cells(data)
    except ValueError:
        state.clear_upper_cells()
