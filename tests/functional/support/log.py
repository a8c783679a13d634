"""What a gateway has logged so far."""

from __future__ import annotations

from pathlib import Path


def whole_lines(log: Path) -> list[str]:
    """The lines of an access log; none before it is there, and without the one that is just being written."""
    return log.read_text().split("\n")[:-1] if log.exists() else []
