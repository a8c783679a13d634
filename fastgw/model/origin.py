"""Where a value came from: file, line, column. Everything that is compiled carries one."""

from __future__ import annotations

import msgspec


class Origin(msgspec.Struct, frozen=True):
    """A place in a file. ``line`` and ``column`` count from 1; 0 means "not known"."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE = Origin()
