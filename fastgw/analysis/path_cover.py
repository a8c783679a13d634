"""Conditions on the path in a normal form, and which other conditions hold wherever one does. Pure functions.

Every path begins with "/", so the prefixes "" and "/" stand for any path (E3); ``OPTIONS *`` is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fastgw.analysis.regex_engine import full_match, literal_prefix
from fastgw.model.plan import PathMatch

ANY, EXACT, PREFIX, SEGMENT, REGEX = "any", "exact", "prefix", "segment", "regex"

# Text without any operator, and the endings that make a prefix or a path-segment prefix of it.
_LITERAL = re.compile(r"(?:[^\\.+*?()|\[\]{}^$]|\\[^0-9A-Za-z])*")
_ENDINGS = {"": EXACT, ".*": PREFIX, "(.*)": PREFIX} | dict.fromkeys(
    ("(/.*)?", "(?:/.*)?", "(|/.*)", "(/.*|)", "($|/.*)", "(/.*|$)"), SEGMENT
)


class Shape(NamedTuple):
    """``value``: the text in bytes, lower case when ``fold``. A segment's has no "/" at its end (the matcher's rule, too)."""

    kind: str
    value: bytes = b""
    fold: bool = False


ANYTHING = Shape(ANY)


def shape_of(path: PathMatch | None) -> Shape:
    """The normal form; regexes that say no more than a literal text or prefix become one."""
    if path is None:
        return ANYTHING
    if path.kind == REGEX:
        return _regex_shape(path.value)
    return _literal_shape(path.kind, path.value.encode(), path.ignore_case)


def _literal_shape(kind: str, value: bytes, fold: bool) -> Shape:
    if kind == SEGMENT:
        value = value.removesuffix(b"/")
    if (kind == PREFIX and value in (b"", b"/")) or (kind == SEGMENT and not value):
        return ANYTHING
    return Shape(kind, value.lower() if fold else value, fold)


@lru_cache(maxsize=16_384)
def _regex_shape(pattern: str) -> Shape:
    fold = pattern.startswith("(?i)")
    text = pattern[4:] if fold else pattern
    text = text.removeprefix("^")
    head = _LITERAL.match(text)
    assert head is not None
    tail = text[head.end() :]
    kind = _ENDINGS.get(tail, _ENDINGS.get(tail.removesuffix("$")))
    if kind is None or not text.isascii():
        return Shape(REGEX, pattern.encode())
    literal = re.sub(r"\\(.)", r"\1", head.group())
    return _literal_shape(kind, literal.encode(), fold)


def beginning(shape: Shape) -> bytes:
    """What every path of ``shape`` begins with."""
    return literal_prefix(shape.value.decode()) if shape.kind == REGEX else shape.value


def path_covers(wide: Shape, narrow: Shape) -> bool:
    """Whether ``wide`` is proved to hold for every path that ``narrow`` holds for."""
    if wide.kind == ANY or wide == narrow:
        return True
    if narrow.kind == ANY:
        return False
    if wide.kind == REGEX:
        return narrow.kind == EXACT and not narrow.fold and full_match(wide.value.decode(), narrow.value)
    if narrow.fold and not wide.fold:
        return False
    text = beginning(narrow)
    text = text.lower() if wide.fold else text
    if narrow.kind == EXACT and wide.kind == EXACT:
        return text == wide.value
    if not text.startswith(wide.value) or wide.kind == EXACT:
        return False
    return wide.kind == PREFIX or _within_segment(text, len(wide.value), narrow.kind)


def _within_segment(text: bytes, length: int, kind: str) -> bool:
    """``text`` begins with a segment of that length: does the segment end there for every path of ``kind``?"""
    if len(text) == length:
        return kind in (EXACT, SEGMENT)
    return text[length : length + 1] == b"/"


def wider_keys(narrow: Shape, lengths: dict[tuple[str, bool], set[int]]) -> Iterator[Shape]:
    """Shapes that may cover ``narrow``, widest first; ``lengths``: how long the values of each (kind, fold) are."""
    yield ANYTHING
    if narrow.kind == ANY:
        return
    text = beginning(narrow)
    for (kind, fold), known in lengths.items():
        if kind not in (PREFIX, SEGMENT) or (narrow.fold and not fold):
            continue
        value = text.lower() if fold else text
        for length in sorted(known):
            if length > len(value):
                break
            yield Shape(kind, value[:length], fold)
    if narrow.kind in (EXACT, REGEX):
        yield narrow
    if narrow.kind == EXACT and not narrow.fold:
        yield Shape(EXACT, narrow.value.lower(), True)
