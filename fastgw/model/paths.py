"""Field paths as diagnostics print them: ``spec.http[0].match[1].uri``, ``metadata.labels["app.kubernetes.io/name"]``."""

from __future__ import annotations

import re
from functools import lru_cache

_STEP = re.compile(r'\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|\.?([^.\[\]]+)')
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@lru_cache(maxsize=1024)
def split_path(path: str) -> tuple[str | int, ...]:
    """``spec.http[0]`` -> ("spec", "http", 0); "" -> (). Text that is no path ends it. The same few are asked for all the time."""
    steps: list[str | int] = []
    for match in _STEP.finditer(path):
        index, quoted, plain = match.groups()
        if index is not None:
            steps.append(int(index))
        elif quoted is not None:
            steps.append(re.sub(r"\\(.)", r"\1", quoted))
        else:
            steps.append(plain)
    return tuple(steps)


def join_key(path: str, key: str) -> str:
    """The path of a mapping's entry: quoted when the key is not a plain word."""
    if _PLAIN.fullmatch(key):
        return f"{path}.{key}" if path else key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{escaped}"]'


def join_index(path: str, index: int) -> str:
    """The path of a list's item."""
    return f"{path}[{index}]"
