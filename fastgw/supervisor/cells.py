"""Cells of the state segment for addresses that DNS answered: stable for a (cluster, address, port) while it is in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

Key = tuple[str, bytes, int]


class CellsExhausted(RuntimeError):
    """Every cell is in use or still has requests in flight."""


class CellPool:
    """Hands out the cells ``first`` .. ``end - 1``. A released one is taken again only by its old key or when no fresh one is left.

    ``is_idle(cell)`` says that no request is in flight on it; ``clear(cell)`` wipes it for another endpoint.
    """

    def __init__(self, first: int, end: int, is_idle: Callable[[int], bool], clear: Callable[[int], None]) -> None:
        self._next = first
        self._end = end
        self._is_idle = is_idle
        self._clear = clear
        self._used: dict[Key, int] = {}
        self._released: OrderedDict[Key, int] = OrderedDict()

    def take(self, key: Key) -> int:
        """Raises CellsExhausted."""
        if key not in self._used:
            old = self._released.pop(key, None)
            self._used[key] = self._fresh() if old is None else old
        return self._used[key]

    def has(self, key: Key, cell: int) -> bool:
        """Is this its cell, in use or not?"""
        return self._used.get(key, self._released.get(key)) == cell

    def release(self, key: Key) -> None:
        cell = self._used.pop(key, None)
        if cell is not None:
            self._released[key] = cell

    def to_json(self) -> bytes:
        """Who has which cell, for a successor."""
        table = [(*key, cell) for cells in (self._used, self._released) for key, cell in cells.items()]
        return msgspec.json.encode((self._next, table))

    def restore(self, data: bytes) -> None:
        """What a predecessor wrote; all of it counts as released. Raises ValueError, and nothing is restored."""
        following, table = msgspec.json.decode(data, type=tuple[int, list[tuple[str, bytes, int, int]]])
        if any(not self._next <= cell < following <= self._end for *_, cell in table):
            raise ValueError("cells that are not this pool's")
        self._next = max(self._next, following)
        self._released.update({(cluster, address, port): cell for cluster, address, port, cell in table})

    def _fresh(self) -> int:
        if self._next < self._end:
            self._next += 1
            return self._next - 1
        for key, cell in self._released.items():
            if self._is_idle(cell):
                del self._released[key]
                self._clear(cell)
                return cell
        raise CellsExhausted("no free endpoint cell")
