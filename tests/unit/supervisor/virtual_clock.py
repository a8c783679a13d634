"""An event loop whose time passes only when nothing else is left to be done, and then at once: hours of timers in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Never waits: a pause is added to the clock instead."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen any more"
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def run_virtual(main: Coroutine[Any, Any, None]) -> None:
    """``asyncio.run`` on such a loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)
