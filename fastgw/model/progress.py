"""One line on a terminal for work that takes long: what is done, how much of how much. Nothing is printed anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")
PATIENCE_S = 1.5
"""Work that is over sooner shows nothing."""
PAUSE_S = 0.2
_LOOK_EVERY = 64


def with_progress(what: str, items: Iterable[T], total: int, stream: TextIO | None = None) -> Iterator[T]:
    """The items; meanwhile the line tells how many have been taken. ``stream``: standard error, unless given."""
    stream = stream if stream is not None else sys.stderr
    if total < _LOOK_EVERY or stream is None or not stream.isatty():
        yield from items
        return
    shown, next_s = False, time.monotonic() + PATIENCE_S
    try:
        for done, item in enumerate(items):
            yield item
            if done % _LOOK_EVERY == 0 and time.monotonic() >= next_s:
                shown, next_s = True, time.monotonic() + PAUSE_S
                stream.write(f"\r\033[K{what}: {done:,} of {total:,} ({done * 100 // total} %)")
                stream.flush()
    finally:
        if shown:
            stream.write("\r\033[K")
            stream.flush()
