"""When to restart a worker that died. Pure: time goes in as a parameter."""

from __future__ import annotations

from collections import deque

FREE_CRASHES = 5
WINDOW_S = 60.0
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0


class Backoff:
    """At once, until there were five crashes within a minute; then after 1 s, doubling up to 30 s, until a minute went well."""

    def __init__(self) -> None:
        self._crashes: deque[float] = deque(maxlen=FREE_CRASHES)
        self._delay_s = 0.0

    def delay_s(self, now_s: float, lived_s: float) -> float:
        """Seconds to wait after a crash at ``now_s`` of a worker that had lived for ``lived_s``."""
        if lived_s >= WINDOW_S:
            self._crashes.clear()
            self._delay_s = 0.0
        often = len(self._crashes) == FREE_CRASHES and now_s - self._crashes[0] <= WINDOW_S
        self._crashes.append(now_s)
        if often or self._delay_s:
            self._delay_s = min(MAX_DELAY_S, self._delay_s * 2 or FIRST_DELAY_S)
        return self._delay_s
