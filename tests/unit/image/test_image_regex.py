"""RE2 behind its C face: verdicts, messages, and literal prefixes that no match may contradict."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgw.image.layout import ffi, lib


def check(pattern: bytes, ignore_case: bool = False) -> tuple[str, bytes]:
    """(message, literal prefix); the message is "" for a good pattern."""
    message, prefix, length = ffi.new("char[]", 128), ffi.new("char[]", 128), ffi.new("size_t *")
    bad = lib.fgw_regex_check(pattern, len(pattern), ignore_case, message, 128, prefix, 128, length)
    return (ffi.string(message).decode() if bad else ""), bytes(ffi.buffer(prefix, length[0]))


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        (b"/api/v[0-9]+/.*", b"/api/v"),
        (b"/api/v1", b"/api/v1"),
        (b"^/api/.*$", b"/api/"),
        (b"/foo/?", b"/foo"),
        (b"/a\\.b.*", b"/a.b"),
        (b"(/api|/app)/.*", b"/ap"),
        (b"/x|y", b""),
        (b".*", b""),
        (b"(?i)/api/.*", b"/"),
        (b".*\\.png", b""),
        (b"/(en|de)/.*", b"/"),
        (b"/" + b"a" * 300 + b".*", None),
    ],
)
def test_literal_prefix(pattern: bytes, prefix: bytes | None) -> None:
    message, found = check(pattern)
    assert message == ""
    if prefix is None:
        assert found.startswith(b"/aaaa") and len(found) <= 128
    else:
        assert found == prefix


ATOMS = st.sampled_from(["a", "b", "ab", "/", ".", "[ab]", "[^a]", "\\.", "(?i:a)", "\\xff", "()", "^", "(a|ab)", "(?:b|)", "\xe9"])
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{0,2}", "*?"])
PIECES = st.lists(st.tuples(ATOMS, REPEATS).map("".join), max_size=4).map("".join)
PATTERNS = st.lists(PIECES, min_size=1, max_size=3).map("|".join)
TEXTS = st.text(alphabet="abAB/.\xff\xe9\x00c0", max_size=8)


@settings(max_examples=600, deadline=None)
@given(PATTERNS, st.lists(TEXTS, max_size=12), st.booleans())
def test_every_match_begins_with_the_literal_prefix(pattern: str, texts: list[str], fold: bool) -> None:
    raw = ("(?i)" if fold else "").encode() + pattern.encode("latin-1")
    message, prefix = check(raw)
    if message:
        return
    try:
        reference = re.compile(raw)
    except re.error:  # Python refuses some patterns that RE2 takes, such as "^*"
        reference = re.compile(b"(?!)")
    candidates = [text.encode("latin-1") for text in texts]
    candidates += [prefix + c for c in candidates] + [prefix[:-1] + c for c in candidates] + [prefix[:-1]]
    for text in candidates:
        if lib.fgw_regex_full_match(raw, len(raw), text, len(text)) == 1 or reference.fullmatch(text):
            assert text.startswith(prefix)


def test_bad_patterns_have_a_message() -> None:
    assert "missing" in check(b"(a")[0]
    assert check(b"(?=a)")[0] != ""
    assert check(b"[z-a]")[0] != ""


def test_a_program_that_istio_would_refuse_is_refused() -> None:
    assert check(b"[a-z]{1000}" * 40)[0].endswith("is above 32768")
    assert "too large" in check(b"[a-z]{1000}" * 400)[0]
    assert check(b"[a-z]{1000}" * 20)[0] == ""


def test_full_match_only_and_any_byte() -> None:
    def full(pattern: bytes, text: bytes) -> int:
        return int(lib.fgw_regex_full_match(pattern, len(pattern), text, len(text)))

    assert full(b"a", b"ab") == full(b"b", b"ab") == 0
    assert full(b"a.", b"a\xff") == full(b"a\xc3.", b"a\xc3\xa9") == 1
    assert full(b"(", b"") == -1
