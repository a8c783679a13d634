"""Durations as people write them in Istio's resources: "10s", "1.5h", "100ms", "1h30m"."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

_PATTERN = r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$"

Duration = Annotated[str, msgspec.Meta(pattern=_PATTERN, description='a duration such as "10s", "1.5h" or "100ms"')]
"""A field of a resource that holds a duration: text, syntax checked while decoding, see ``parse_ms``."""

_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|ms|s|m|h)")
_UNIT_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}


def parse_ns(text: str) -> int:
    """Nanoseconds of a duration. Raises ValueError for anything else, negative ones come out negative."""
    if not re.match(_PATTERN, text):
        raise ValueError(f'"{text}" is not a duration such as "10s" or "100ms"')
    total_ns = sum(_part_ns(number, unit) for number, unit in _PART.findall(text))
    return -total_ns if text.startswith("-") else total_ns


def parse_ms(text: str) -> int:
    """Whole milliseconds of a duration, the rest cut off (Istio wants whole ones: fields.md calls it the ms rule)."""
    return int(parse_ns(text) / 1_000_000)


def _part_ns(number: str, unit: str) -> int:
    whole, _, fraction = number.partition(".")
    unit_ns = _UNIT_NS[unit]
    fraction_ns = int(fraction) * unit_ns // 10 ** len(fraction) if fraction else 0
    return (int(whole) if whole else 0) * unit_ns + fraction_ns
