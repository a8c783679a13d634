"""Waiting for something to become true, with a generous deadline instead of a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 60.0


def eventually(probe: Callable[[], T], what: str = "", seconds: float = DEADLINE_S) -> T:
    """The first true value of ``probe``; its last assertion or value is reported when the deadline passes."""
    deadline = time.monotonic() + seconds
    while True:
        error: AssertionError | None = None
        value = None
        try:
            value = probe()
        except AssertionError as caught:
            error = caught
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or probe}; last: {error or value!r}")
        time.sleep(0.01)


def in_time(case: Callable[[], T], late: Callable[[T], object], seconds: float = 60.0) -> T:
    """What ``case`` says, done again while it was ``late``: a busy machine may stand still for longer than the short time of the
    gateway's that a peer has to keep within, and then the case says nothing."""
    deadline = time.monotonic() + seconds
    while late(told := case()):
        assert time.monotonic() < deadline, f"late again and again for {seconds} s, the last: {told!r}"
    return told


def always(probe: Callable[[], object], seconds: float) -> None:
    """``probe`` stays true for the whole time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert probe()
        time.sleep(0.01)
