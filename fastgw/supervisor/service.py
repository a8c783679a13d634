"""The gateway as a service of systemd: one status line, the watchdog, and what its store of descriptors holds for the next start.

In the store are the listening sockets (whoever connects during a restart waits in their queues), the state segment with its
numbers and cells (counters and health go on), and the ticket keys (sessions resume). Names carry a version: what another version
left behind is not understood, and not used.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from fastgw.native._native import lib
from fastgw.supervisor import memfd
from fastgw.supervisor.handed import OWN, listener_name
from fastgw.supervisor.listeners import OpenListener
from fastgw.supervisor.notify import Notifier

if TYPE_CHECKING:
    from fastgw.supervisor.supervisor import Supervisor

LAYOUT = f"{lib.FGW_STATE_VERSION}.1"
"""Of the state segment, then of what is kept beside it; raise the second when the meaning of a blob changes."""
STATE, NUMBERS, CELLS, TICKETS, CREDENTIALS, PIN = (
    f"{OWN}{name}.{LAYOUT}" for name in ("state", "numbers", "cells", "tickets", "credentials", "pin")
)
STATUS_S = 1.0
WATCHDOGS_A_PERIOD = 3


class Service:
    """Tells the notifier what happens in a supervisor."""

    def __init__(self, supervisor: Supervisor, notifier: Notifier) -> None:
        self._supervisor = supervisor
        self._notifier = notifier
        supervisor.listeners.on_opened = self._store_listener
        supervisor.listeners.on_closed = self._forget_listener
        supervisor.compiler.on_numbers = lambda fd: self._store(NUMBERS, fd)

    @property
    def on(self) -> bool:
        return self._notifier.on

    async def run(self) -> None:
        """Until cancelled: the status line when it changes, the watchdog as long as all workers turn their loops."""
        self._store(STATE, self._supervisor.state.fd)
        self.store_tickets()
        pause_s = min(STATUS_S, self._notifier.watchdog_s / WATCHDOGS_A_PERIOD or STATUS_S)
        while self.on:
            await asyncio.sleep(pause_s)
            if self._supervisor.ready_once:
                self._notifier.status(self.status_text())
            if self._notifier.watchdog_s and self._supervisor.fleet.is_fresh():
                self._notifier.watchdog()

    def ready(self) -> None:
        if not self._supervisor.draining:
            self._notifier.ready(self.status_text())

    def struggling(self, text: str) -> None:
        """Not as it should be, but it serves: the service manager is not to wait for more, or end it."""
        self._notifier.ready(text)

    def reloading(self) -> None:
        self._notifier.reloading()

    def stopping(self) -> None:
        self._notifier.stopping(self.status_text())

    def extend(self, seconds: float) -> None:
        self._notifier.extend(seconds)

    def store_tickets(self) -> None:
        """After every change of the keys. They stay in memory: the store holds a descriptor."""
        if self.on and self._supervisor.tickets.made_here:
            fd = memfd.make_sealed("fastgw-tickets", b"".join(self._supervisor.tickets.keys))
            self._store(TICKETS, fd)
            os.close(fd)

    def leave(self) -> None:
        """The end: what is only worth telling then."""
        if self.on:
            fd = memfd.make_sealed("fastgw-cells", self._supervisor.resolver.cells_json())
            self._store(CELLS, fd)
            os.close(fd)
        self._notifier.close()

    def forget(self, names: list[str]) -> None:
        """Remnants that nobody has a use for."""
        for name in names:
            self._notifier.unstore(name)

    def status_text(self) -> str:
        """``serving 3 listeners, 41 hosts, generation 7``, and what is wrong."""
        supervisor = self._supervisor
        if supervisor.draining:
            return supervisor.drain_text()
        if reason := supervisor.not_ready_reason():
            return f"not ready: {reason}"
        outcome, hosts = supervisor.generations.outcome, supervisor.generations.counts.hosts
        text = f"serving {many(len(supervisor.listeners.open), 'listener')}, {many(hosts, 'host')}, generation {outcome.serving}"
        if supervisor.listeners.failures:
            text += f"; {many(len(supervisor.listeners.failures), 'listener')} cannot be opened"
        if elders := len(supervisor.elders.running):
            text += f"; {many(elders, 'worker')} of the version before"
        return f"{text}; the last change is not served: {outcome.error}" if outcome.error else text

    def _store_listener(self, listener: OpenListener) -> None:
        name = listener_name(listener.wanted.name)
        self._notifier.unstore(name)
        if listener.own:
            self._notifier.store(name, [sock.fileno() for sock in listener.own])

    def _forget_listener(self, listener: OpenListener) -> None:
        self._notifier.unstore(listener_name(listener.wanted.name))

    def _store(self, name: str, fd: int) -> None:
        """In place of what has this name."""
        self._notifier.unstore(name)
        self._notifier.store(name, [fd])


def many(count: int, noun: str) -> str:
    """ "1 host", "2 hosts"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
