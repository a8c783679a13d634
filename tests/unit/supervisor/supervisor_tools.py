"""Shared by the tests of the supervisor: fake children, and waiting without guessing times."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE_S = 20.0
"""For things that take milliseconds on a machine that has time."""


def fake_worker(mode: str, journal: Path) -> list[str]:
    return [sys.executable, str(HERE / "fake_worker.py"), mode, str(journal)]


def fake_compiler(script: Path) -> list[str]:
    return [sys.executable, str(HERE / "fake_compiler.py"), str(script)]


async def until(condition: Callable[[], object], what: str = "") -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"waited in vain: {what}"
        await asyncio.sleep(0.005)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
