"""The supervisor: the process that owns sockets, workers and configuration, and carries no traffic.

Life: compile, open the listeners, resolve names, start the workers, then react: to changed files, to signals, to workers that
end, to the clock. Whoever serves an API on top (fastgw.admin) reads the public attributes.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import time
from collections.abc import Sequence

from fastgw.model.worker_protocol import Image, Listen, Start
from fastgw.model.worker_protocol import TicketKeys as TicketKeysMessage
from fastgw.sources.watch import Watcher
from fastgw.supervisor.access_log import AccessLog
from fastgw.supervisor.compile_protocol import Configure
from fastgw.supervisor.compiler_client import Compiler
from fastgw.supervisor.credentials_watch import CredentialsWatch
from fastgw.supervisor.dns_lookup import CaresLookup, Lookup
from fastgw.supervisor.fleet import Fleet
from fastgw.supervisor.generations import Generations, NothingToServe
from fastgw.supervisor.listeners import ListenerSet
from fastgw.supervisor.resolver import Resolver
from fastgw.supervisor.settings import Settings, SettingsError
from fastgw.supervisor.state import StateSegment
from fastgw.supervisor.ticket_keys import TicketKeys

log = logging.getLogger("fastgw")
TICK_S = 1.0
RETRY_LISTENERS_TICKS = 5
FIRST_IMAGE_S = 30.0
OK, NOTHING_TO_SERVE = 0, 1


class Supervisor:
    """Must be made inside the running event loop. Raises SettingsError and FormatError for settings that cannot be used."""

    def __init__(self, settings: Settings, *, lookup: Lookup | None = None, worker_command: Sequence[str] | None = None) -> None:
        self.settings = settings
        self.started_at = time.time()
        self.ready_once = False
        self.draining = False
        self.access_log = AccessLog(settings)
        count = settings.worker_count()
        self.state = StateSegment(count)
        self.listeners = ListenerSet(count, settings.bind_addresses(), settings.listen_map)
        self._lookup = lookup or CaresLookup()
        self.resolver = Resolver(self.state, self._lookup)
        self.tickets = TicketKeys(settings.ticket_keys)
        self.compiler = Compiler(
            Configure(
                settings.paths, settings.labels, settings.namespace, settings.resolve_table(), settings.secrets, settings.mesh_cert
            )
        )
        self.generations = Generations(self.compiler, self.listeners, self.resolver)
        self._credentials_watch = CredentialsWatch(self._on_credentials)
        self.generations.on_watched = self._watch_credentials
        self.fleet = Fleet(count, self.state, self, worker_command)
        self._limits = settings.limits()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._killer: asyncio.Task[None] | None = None

    # --- what a fresh worker is told (worker.Briefing) ---

    def start(self, slot: int) -> tuple[Start, list[int]]:
        message = Start(slot, self.state.total_bytes, self._limits, self.access_log.on, self.access_log.program)
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
        loop.add_signal_handler(signal.SIGUSR2, lambda: log.warning("SIGUSR2 means nothing to this version"))

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
            await self._close()

    def drain(self) -> None:
        """Begin to end: not ready from now on, workers finish what they have. A second call ends at once."""
        if self.draining:
            log.warning("told to end a second time: ending now")
            self._killer = asyncio.get_running_loop().create_task(self.fleet.kill())
            return
        log.info("draining, at the most %g s", self.settings.drain_time)
        self.draining = True
        self._stop.set()

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

    def not_ready_reason(self) -> str:
        """ "" when traffic should come here."""
        if self.draining:
            return "draining"
        if not self.ready_once:
            return "the first configuration is not served by all workers yet"
        if not self.listeners.open:
            return "no listener is open"
        if not any(slot.running and slot.generation for slot in self.fleet.slots):
            return "no worker is running"
        return ""

    def _on_hangup(self) -> None:
        self.reread_ticket_keys()
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

    async def _serve(self) -> int:
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
        await self.fleet.drain(self.settings.drain_time)
        log.info("drained")
        return OK

    async def _begin(self) -> None:
        await self.generations.begin()
        self.generations.fleet = self.fleet
        self.fleet.start()
        self._tasks = [asyncio.create_task(self.generations.run()), asyncio.create_task(self._tick())]
        self._tasks.append(asyncio.create_task(self._rotate_ticket_keys()))
        serving = self.generations.outcome.serving
        images = await self.fleet.wait_image(serving, FIRST_IMAGE_S)
        listening = await self.fleet.wait_listening(set(self.listeners.open), FIRST_IMAGE_S)
        while not (images and listening):
            log.error("not every worker serves the configuration yet; waiting")
            images = await self.fleet.wait_image(serving, FIRST_IMAGE_S)
            listening = await self.fleet.wait_listening(set(self.listeners.open), FIRST_IMAGE_S)
        self.ready_once = True
        addresses = [address for listener in self.listeners.open.values() for address in listener.addresses]
        log.info("ready: %d workers, listening on %s", len(self.fleet.slots), ", ".join(addresses))

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self.fleet.check_heartbeats()
            if ticks % RETRY_LISTENERS_TICKS == 0 and self.listeners.failures and self.listeners.retry_failed():
                self.fleet.tell_listen()
                log.info("opened after all: listening on %s", ", ".join(self.listeners.open))

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.fleet.kill()
        await self.compiler.stop()
        self.resolver.close()
        if isinstance(self._lookup, CaresLookup):
            self._lookup.close()
        self.listeners.close()
        self.generations.close()
        self.access_log.close()
        self.state.close()


def raise_descriptor_limit() -> None:
    """The soft limit of open files up to the hard one; workers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
