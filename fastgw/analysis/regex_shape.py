"""What can be read off a regular expression: that it never matches, that it is slow in engines that backtrack.

Patterns are RE2's. Python's parser is asked, so what the two read differently is given up on: every answer "yes" is safe.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

# RE2 takes these for literals or does not know them, Python's parser for something else.
_READ_DIFFERENTLY = ("[[", "&&", "||", "--", "~~", "{,", "(?m", "(?x", "(?a", "(?L", "(?u", "(?#", "(?(")
_ASCII = 128
_OTHER = 1 << _ASCII
_ALL = (1 << (_ASCII + 1)) - 1
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_BEGIN = (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING)
_END = (sre.AT_END, sre.AT_END_STRING)

Node = tuple[Any, Any]


def _mask_of(text: str) -> int:
    mask = 0
    for char in text:
        mask |= 1 << ord(char)
    return mask


_DIGITS = _mask_of("0123456789")
_SPACES = _mask_of(" \t\n\r\f\v")
_WORD = _mask_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") | _DIGITS
_CATEGORIES = {sre.CATEGORY_DIGIT: _DIGITS, sre.CATEGORY_SPACE: _SPACES, sre.CATEGORY_WORD: _WORD}
_NEGATED = {sre.CATEGORY_NOT_DIGIT: _DIGITS, sre.CATEGORY_NOT_SPACE: _SPACES, sre.CATEGORY_NOT_WORD: _WORD}
_PATH_BEGINS = _mask_of("/")
_ASTERISK = r"\*"
_NOT_IN_PATH = _mask_of("?#")


class Verdict(NamedTuple):
    """``never``: why no path (without ``of_paths``: no text) matches, or "". ``slow``: repetitions within repetitions."""

    never: str = ""
    slow: bool = False


@lru_cache(maxsize=16_384)
def judge(pattern: str, of_paths: bool) -> Verdict:
    """Of a valid RE2 pattern that has to match a whole text."""
    if any(text in pattern for text in _READ_DIFFERENTLY):
        return Verdict()
    try:
        tree = parser.parse(pattern)
        nodes = list(tree)
        if _is_dead(nodes, 0, 0):
            return Verdict("^ stands behind or $ before text that has to be there")
        never = _never_a_path(nodes) if of_paths and pattern != _ASTERISK else ""
        return Verdict(never, any(_is_slow(node) for node in _all_nodes(nodes)))
    except (re.error, RecursionError, OverflowError):
        return Verdict()


def _never_a_path(nodes: Sequence[Node]) -> str:
    if not _first(nodes) & _PATH_BEGINS:
        return 'a path begins with "/", and the whole path has to match'
    if any(mask and not mask & ~_NOT_IN_PATH for mask in _required(nodes)):
        return "a path is compared without its query"
    return ""


def _least(nodes: Sequence[Node]) -> int:
    """The least number of characters that the sequence takes."""
    return int(parser.SubPattern(parser.State(), list(nodes)).getwidth()[0])


def _children(node: Node) -> list[Sequence[Node]]:
    kind, value = node
    if kind in _REPEATS:
        return [list(value[2])]
    if kind is sre.SUBPATTERN:
        return [list(value[3])]
    if kind is sre.BRANCH:
        return [list(branch) for branch in value[1]]
    return []


def _all_nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        for child in _children(node):
            yield from _all_nodes(child)


def _mask(node: Node) -> int:
    """The characters that a node of one character may stand for; all when in doubt. Case is folded to be safe."""
    kind, value = node
    if kind is sre.LITERAL:
        return _fold(1 << int(value) if value < _ASCII else _OTHER)
    if kind is sre.NOT_LITERAL and value < _ASCII:
        return _ALL & ~(1 << int(value))
    return _set_mask(value) if kind is sre.IN else _ALL


def _set_mask(items: Sequence[Node]) -> int:
    mask = 0
    negate = False
    for kind, value in items:
        if kind is sre.NEGATE:
            negate = True
        elif kind is sre.LITERAL:
            mask |= 1 << value if value < _ASCII else _OTHER
        elif kind is sre.RANGE:
            low, high = value
            mask |= sum(1 << code for code in range(low, min(high, _ASCII - 1) + 1)) | (_OTHER if high >= _ASCII else 0)
        elif kind is sre.CATEGORY and value in _CATEGORIES:
            mask |= _CATEGORIES[value]
        elif kind is sre.CATEGORY and value in _NEGATED:
            mask |= _ALL & ~_NEGATED[value]
        else:
            return _ALL
    return (_ALL & ~mask) | _OTHER if negate else _fold(mask)


def _fold(mask: int) -> int:
    """With the other case of its letters, since (?i) may hold."""
    upper, lower = ((1 << 26) - 1) << ord("A"), ((1 << 26) - 1) << ord("a")
    return mask | ((mask & upper) << 32) | ((mask & lower) >> 32)


def _first(nodes: Sequence[Node]) -> int:
    """What a text that the sequence matches may begin with."""
    mask = 0
    for node in nodes:
        mask |= _first_of(node)
        if _least([node]):
            break
    return mask


def _first_of(node: Node) -> int:
    kind = node[0]
    if kind is sre.AT:
        return 0
    children = _children(node)
    if children or kind is sre.BRANCH:
        mask = 0
        for child in children:
            mask |= _first(child)
        return mask
    return _mask(node)


def _required(nodes: Sequence[Node]) -> Iterator[int]:
    """The masks of characters that every match has somewhere."""
    for node in nodes:
        kind, value = node
        if kind is sre.SUBPATTERN or (kind in _REPEATS and value[0] > 0):
            yield from _required(_children(node)[0])
        elif kind in (sre.LITERAL, sre.IN):
            yield _mask(node)


def _is_dead(nodes: Sequence[Node], before: int, after: int) -> bool:
    """Whether an anchor stands where it cannot hold. ``before``, ``after``: characters that are there at least, outside."""
    for index, node in enumerate(nodes):
        kind, value = node
        left, right = before + _least(nodes[:index]), after + _least(nodes[index + 1 :])
        if kind is sre.AT:
            if (value in _BEGIN and left) or (value in _END and right):
                return True
        elif (kind is sre.SUBPATTERN or kind is sre.BRANCH or (kind in _REPEATS and value[0] > 0)) and all(
            _is_dead(child, left, right) for child in _children(node)
        ):
            return True
    return False


def _is_endless(node: Node) -> bool:
    return node[0] in _REPEATS and node[1][1] is sre.MAXREPEAT


def _is_slow(node: Node) -> bool:
    """A repetition whose last part is one, too, and the next round may begin with what that part goes on with: ``(a+)+``."""
    if not _is_endless(node):
        return False
    body = _children(node)[0]
    again = _first(body)
    return any(mask & again for mask in _endless_tails(body))


def _endless_tails(nodes: Sequence[Node]) -> Iterator[int]:
    """What the endless repetitions at the end of a sequence go on with."""
    for node in reversed(nodes):
        if _is_endless(node):
            yield _first(_children(node)[0])
        for child in _children(node):
            yield from _endless_tails(child)
        if _least([node]):
            return
