"""One worker slot: starts its process, tells it what to do, notices when it ends, and starts it again."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from fastgw.model import worker_protocol as protocol
from fastgw.supervisor.backoff import Backoff
from fastgw.supervisor.child import Child, exit_text, module_command
from fastgw.supervisor.control import Channel, make_pair

log = logging.getLogger("fastgw.worker")
ANSWER_S = 5.0
ABORT_GRACE_S = 1.0
"""After SIGABRT, for a core dump to begin; a stopped process gets SIGKILL then."""


class Briefing(Protocol):
    """What a fresh worker has to be told. Descriptors stay the briefing's."""

    def start(self, slot: int) -> tuple[protocol.Start, list[int]]: ...

    def listen(self, slot: int) -> tuple[protocol.Listen, list[int]]: ...

    def image(self) -> tuple[protocol.Image, list[int]] | None: ...

    def ticket_keys(self) -> protocol.TicketKeys: ...


class Events(Protocol):
    """What the rest of the supervisor hears from a slot."""

    def on_ack(self, slot: int, generation: int) -> None: ...

    def on_nack(self, slot: int, generation: int, message: str) -> None: ...

    def on_listening(self, slot: int, names: list[str]) -> None: ...

    def on_drained(self, slot: int) -> None: ...

    def on_exit(self, slot: int) -> None: ...


class WorkerSlot:
    """A place for one worker process. All methods from the event loop."""

    def __init__(self, slot: int, stripe: int, briefing: Briefing, events: Events, command: Sequence[str] | None = None) -> None:
        self.slot = slot
        self.stripe = stripe
        """Of the state segment."""
        self.restarts = 0
        self.started_s = 0.0
        self.generation = 0
        """Of the image it acknowledged."""
        self.listening: list[str] = []
        self.drained = False
        """Since it was told to drain, it has had nothing to do at least once."""
        self._briefing = briefing
        self._events = events
        self._command = list(command or module_command("fastgw.dataplane.worker"))
        self._backoff = Backoff()
        self._child: Child | None = None
        self._aborted: Child | None = None
        self._channel: Channel | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._draining = False
        self._waiting_for_leaks: list[asyncio.Future[dict[str, int]]] = []

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    @property
    def control_fd(self) -> int:
        """Our end of its control socket. Only while it runs."""
        assert self._channel is not None
        return self._channel.fileno()

    @property
    def running(self) -> bool:
        return self._child is not None

    @property
    def backing_off(self) -> bool:
        return self._restart is not None

    def start(self) -> None:
        self._restart = None
        ours, theirs = make_pair()
        with theirs:
            fd = theirs.fileno()
            try:
                self._child = Child([*self._command, "--control", str(fd)], [fd], self._on_exit)
            except OSError as error:
                ours.close()
                log.error("worker %d cannot be started: %s", self.slot, error)
                self._start_later(0.0)
                return
        self.started_s = time.monotonic()
        self.generation = 0
        self.listening = []
        self._channel = Channel(ours, protocol.MAX_MESSAGE_BYTES, self._on_packet, lambda: None)
        self._send(*self._briefing.start(self.slot))
        self.tell_ticket_keys()
        self.tell_listen()
        self.tell_image()

    def tell_ticket_keys(self) -> None:
        self._send(self._briefing.ticket_keys(), [])

    def tell_listen(self) -> None:
        self._send(*self._briefing.listen(self.slot))

    def tell_image(self, image: tuple[protocol.Image, list[int]] | None = None) -> None:
        """``image``: another one than all have."""
        image = image or self._briefing.image()
        if image is not None:
            self._send(*image)

    def tell_reopen_log(self, fd: int) -> None:
        self._send(protocol.ReopenLog(), [fd])

    def drain(self, seconds: float, patience_s: float, kept: bool) -> None:
        """The worker gets ready to end, and is not started again. It accepts until ``finish``. See protocol.Drain."""
        self._draining = True
        if self._restart:
            self._restart.cancel()
            self._restart = None
        self._send(protocol.Drain(seconds, patience_s, stay=True, kept=kept), [])

    def finish(self, seconds: float, patience_s: float) -> None:
        """It accepts nothing more, and ends by itself when it has answered what it has."""
        self._send(protocol.Listen([]), [])
        self._send(protocol.Drain(seconds, patience_s), [])

    def kill(self) -> None:
        self._draining = True
        if self._restart:
            self._restart.cancel()
            self._restart = None
        if self._child:
            self._child.kill()

    def abort(self, reason: str) -> None:
        """For a worker that hangs: SIGABRT for a core dump, then SIGKILL."""
        child = self._child
        if child is None or self._aborted is child:
            return
        self._aborted = child
        log.error("worker %d (pid %d) %s: aborted", self.slot, child.pid, reason)
        child.kill(signal.SIGABRT)
        asyncio.get_running_loop().call_later(ABORT_GRACE_S, child.kill)

    async def leaks(self) -> dict[str, int]:
        """Counts of living objects in the worker. Raises ConnectionError when it is gone or does not answer."""
        if self._channel is None:
            raise ConnectionError(f"worker {self.slot} is not running")
        future: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        self._waiting_for_leaks.append(future)
        self._send(protocol.Leaks(), [])
        try:
            return await asyncio.wait_for(future, ANSWER_S)
        except TimeoutError:
            raise ConnectionError(f"worker {self.slot} does not answer") from None

    def _send(self, message: protocol.ToWorker, fds: Sequence[int]) -> None:
        if self._channel:
            self._channel.send(protocol.encode(message), fds)

    def _on_packet(self, data: bytes, fds: list[int]) -> None:
        try:
            message = protocol.decode_from_worker(data)
        except msgspec.DecodeError as error:
            log.error("worker %d said what cannot be understood: %s", self.slot, error)
            return
        if isinstance(message, protocol.Ack):
            self.generation = message.generation
            self._events.on_ack(self.slot, message.generation)
        elif isinstance(message, protocol.Nack):
            self._events.on_nack(self.slot, message.generation, message.message)
        elif isinstance(message, protocol.Listening):
            self.listening = message.listeners
            self._events.on_listening(self.slot, message.listeners)
        elif isinstance(message, protocol.Drained):
            self.drained = True
            if message.cut:
                log.warning("worker %d: the drain time is over, %d connections are cut", self.slot, message.cut)
            self._events.on_drained(self.slot)
        elif isinstance(message, protocol.Bug):
            log.error("worker %d: an internal error closed a connection\n%s", self.slot, message.traceback.rstrip())
        elif isinstance(message, protocol.LeakCounts) and self._waiting_for_leaks:
            waiting = self._waiting_for_leaks.pop(0)
            if not waiting.done():
                waiting.set_result(message.counts)

    def _on_exit(self, code: int) -> None:
        pid = self.pid
        self._child = None
        if self._channel:
            self._channel.close()
            self._channel = None
        for future in self._waiting_for_leaks:
            if not future.done():
                future.set_exception(ConnectionError(f"worker {self.slot} ended"))
        self._waiting_for_leaks.clear()
        self.generation = 0
        self.listening = []
        self._events.on_exit(self.slot)
        if self._draining:
            return
        lived_s = time.monotonic() - self.started_s
        self._start_later(lived_s, f"worker {self.slot} (pid {pid}) ended with {exit_text(code)}")

    def _start_later(self, lived_s: float, why: str = "") -> None:
        self.restarts += 1
        delay_s = self._backoff.delay_s(time.monotonic(), lived_s)
        if why:
            log.error("%s; started again%s", why, f" in {delay_s:g} s" if delay_s else "")
        if delay_s:
            self._restart = asyncio.get_running_loop().call_later(delay_s, self.start)
        else:
            self.start()
