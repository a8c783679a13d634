"""The end of a gateway in two steps, and how far it is: first not ready but serving as before (lame duck), then draining."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec

from fastgw.native._native import lib
from fastgw.supervisor.elders import Elders
from fastgw.supervisor.fleet import Fleet
from fastgw.supervisor.state import StateSegment

_CONNECTIONS, _TUNNELS, _EXCHANGES = (
    int(n) for n in (lib.FGW_G_CLIENT_ACTIVE, lib.FGW_G_TUNNELS_ACTIVE, lib.FGW_G_EXCHANGES_ACTIVE)
)


class Progress(msgspec.Struct, rename="camel"):
    """phase: serving, lame-duck, draining. ``requests``: under way; ``tunnels``: connections relayed as bytes. Counts are of all
    workers that still run."""

    phase: str
    seconds_left: float = 0.0
    workers: int = 0
    connections: int = 0
    requests: int = 0
    tunnels: int = 0
    elders: int = 0
    """Of the workers: those of the version before an upgrade, which finish what they have."""

    def text(self) -> str:
        """One line: for people and for the service manager."""
        what = f"{self.connections} connections, {self.requests} requests under way, {self.tunnels} tunnels, {self.workers} workers"
        if self.elders:
            what += f", {self.elders} {'worker' if self.elders == 1 else 'workers'} of the version before among them"
        if self.phase == "serving":
            return f"serving: {what}"
        verb = "not ready any more, draining in" if self.phase == "lame-duck" else "draining, at the most"
        return f"{verb} {self.seconds_left:.0f} s: {what}"


class Drain:
    """``phase`` and times are right from the construction on; ``run`` takes the two steps."""

    def __init__(self, fleet: Fleet, elders: Elders, state: StateSegment, lame_duck_s: float, drain_s: float) -> None:
        self._fleet = fleet
        self._elders = elders
        self._state = state
        self._lame_duck_s = lame_duck_s
        self._drain_s = drain_s
        self._phase = "serving"
        self._until_s = 0.0
        self._cut = asyncio.Event()

    async def run(self, serving: bool, kept: bool = False) -> None:
        """Returns when no worker is left. ``serving``: there were clients to warn; ``kept``: the listening sockets live on."""
        if serving and self._lame_duck_s:
            self._enter("lame-duck", self._lame_duck_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cut.wait(), self._lame_duck_s)
        self._enter("draining", self._drain_s)
        self._elders.drain(self._drain_s)
        await asyncio.gather(self._fleet.drain(self._drain_s, kept), self._elders.wait_gone(self._drain_s))

    def cut_lame_duck(self) -> None:
        """Nobody is to be warned any more."""
        self._cut.set()

    def progress(self) -> Progress:
        running = [slot.stripe for slot in self._fleet.slots if slot.running] + [elder.stripe for elder in self._elders.running]
        counters = [self._state.counters(stripe) for stripe in running]
        connections, requests, tunnels = (sum(each[index] for each in counters) for index in (_CONNECTIONS, _EXCHANGES, _TUNNELS))
        left_s = max(0.0, self._until_s - time.monotonic()) if self._until_s else 0.0
        return Progress(self._phase, round(left_s, 1), len(running), connections, requests, tunnels, len(self._elders.running))

    def _enter(self, phase: str, seconds: float) -> None:
        self._phase, self._until_s = phase, time.monotonic() + seconds
