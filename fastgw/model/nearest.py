"""The name somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name closest to ``word``, "" when none is close. Case and underscores weigh nothing."""
    names = sorted(known)
    folded = {_fold(name): name for name in reversed(names)}
    exact = folded.get(_fold(word))
    if exact is not None:
        return exact
    close = get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean "hosts"?`` or nothing."""
    name = nearest(word, known)
    return f', did you mean "{name}"?' if name else ""


def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
