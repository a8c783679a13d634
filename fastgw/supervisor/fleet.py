"""All worker slots together: broadcasts, waiting for answers, the watch over heartbeats."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from fastgw.supervisor.state import StateSegment
from fastgw.supervisor.worker import Briefing, WorkerSlot

log = logging.getLogger("fastgw.worker")
HEARTBEAT_S = 10.0
PATIENCE_S = 1.0
"""So long a kept-alive connection of a draining worker may bring one more request before it is closed."""
FRESH_S = 3.0
"""A worker beats once a second; one that is silent for longer keeps the service manager's watchdog from being fed."""
LAST_S = 1.0
"""Of a drain's time: nothing more is accepted, and what has been is answered. What waits in the queues is not lost where somebody
keeps the sockets."""
START_S = 30.0
"""A worker that has not beaten once may still be importing its modules on a busy machine."""
LATE_TICK_S = 2.0
LATE_S = 5.0
"""So long after the time of a drain a worker that should have ended is killed. One on a busy machine may be late by a second or
two; killed, it would leave out the last lines of its log and how many connections it had to cut."""


class ImageNacked(Exception):
    """A worker could not take an image that was checked."""


class Fleet:
    """``changed`` is pulsed whenever a worker answers or ends; waits look again then."""

    def __init__(self, count: int, state: StateSegment, briefing: Briefing, command: Sequence[str] | None = None) -> None:
        self._state = state
        self._changed = asyncio.Event()
        self._nacks: dict[int, str] = {}
        self._last_tick_s = time.monotonic()
        self._trust_from_s = 0.0
        self.slots = [WorkerSlot(slot, state.stripes[slot], briefing, self, command) for slot in range(count)]

    @property
    def restarts(self) -> int:
        return sum(slot.restarts for slot in self.slots)

    def start(self) -> None:
        for slot in self.slots:
            slot.start()

    def tell_listen(self) -> None:
        for slot in self.slots:
            slot.tell_listen()

    def tell_image(self) -> None:
        for slot in self.slots:
            slot.tell_image()

    def tell_ticket_keys(self) -> None:
        for slot in self.slots:
            slot.tell_ticket_keys()

    async def wait_image(self, generation: int, seconds: float, slots: Sequence[WorkerSlot] | None = None) -> bool:
        """Every slot (of these) that is not backing off serves this generation; False when the time is over. Raises ImageNacked."""

        def done() -> bool:
            if generation in self._nacks:
                raise ImageNacked(self._nacks.pop(generation))
            return all(slot.generation >= generation for slot in slots or self.slots if not slot.backing_off)

        return await self._wait(done, seconds)

    async def wait_listening(self, names: set[str], seconds: float) -> bool:
        """Every slot that is not backing off accepts on exactly these listeners."""
        return await self._wait(lambda: all(set(slot.listening) == names for slot in self.slots if not slot.backing_off), seconds)

    def replace_laggards(self, generation: int, waited_s: float) -> None:
        """End workers that do not take the image over: better a few requests lost than an old configuration served for ever."""
        for slot in self.slots:
            if slot.running and slot.generation < generation:
                slot.abort(f"has not taken over generation {generation} within {waited_s:g} s")

    async def drain(self, seconds: float, kept: bool = False) -> None:
        """Returns when no worker is left: by itself, or killed LATE_S after the time. Each accepts until all have nothing left:
        the queue of one that ended earlier would be nobody's. ``kept``: somebody keeps the queues (protocol.Drain)."""
        end_s, last_s = time.monotonic() + seconds, min(LAST_S, seconds / 4)
        for slot in self.slots:
            slot.drain(seconds, PATIENCE_S, kept)
        await self._wait(lambda: all(slot.drained for slot in self.slots if slot.running), seconds - last_s)
        seconds = max(0.0, end_s - time.monotonic())
        for slot in self.slots:
            slot.finish(seconds, PATIENCE_S)
        if not await self._wait(lambda: not any(slot.running for slot in self.slots), seconds + LATE_S):
            log.warning("the drain time is over, the remaining workers are ended")
            await self.kill()

    async def kill(self) -> None:
        for slot in self.slots:
            slot.kill()
        await self._wait(lambda: not any(slot.running for slot in self.slots), 5.0)

    def check_heartbeats(self) -> None:
        """Call about once a second. A worker whose loop stands still for HEARTBEAT_S is aborted, and so started again."""
        now_s = time.monotonic()
        if now_s - self._last_tick_s > LATE_TICK_S:
            # we stood still ourselves (stopped, frozen, starved): give everybody the time to beat again
            self._trust_from_s = now_s + HEARTBEAT_S
        self._last_tick_s = now_s
        if now_s < self._trust_from_s:
            return
        for slot in self.slots:
            if slot.running and self._silent(slot, now_s, HEARTBEAT_S):
                slot.abort(f"has not turned its loop for {HEARTBEAT_S:g} s")

    def is_fresh(self) -> bool:
        """Does every worker turn its loop, and is there one? A slot that waits to be started again does not count."""
        now_s = time.monotonic()
        running = [slot for slot in self.slots if slot.running]
        return bool(running) and not any(self._silent(slot, now_s, FRESH_S) for slot in running)

    def _silent(self, slot: WorkerSlot, now_s: float, limit_s: float) -> bool:
        view = self._state.worker(slot.stripe)
        if view.pid != slot.pid:
            return now_s - slot.started_s > START_S
        return now_s - max(view.heartbeat_ns / 1e9, slot.started_s) > limit_s

    # --- Events of the slots ---

    def on_ack(self, slot: int, generation: int) -> None:
        self._changed.set()

    def on_nack(self, slot: int, generation: int, message: str) -> None:
        self._nacks[generation] = f"worker {slot}: {message}"
        self._changed.set()

    def on_listening(self, slot: int, names: list[str]) -> None:
        self._changed.set()

    def on_drained(self, slot: int) -> None:
        self._changed.set()

    def on_exit(self, slot: int) -> None:
        self._state.forget_worker(self.slots[slot].stripe)
        self._changed.set()

    async def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while not done():
            left_s = end_s - loop.time()
            if left_s <= 0:
                return False
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except TimeoutError:
                return done()
        return True
