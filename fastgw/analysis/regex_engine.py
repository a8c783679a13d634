"""Questions to RE2, the engine that serves traffic, about valid patterns; each pair is asked once."""

from __future__ import annotations

from functools import lru_cache

_PREFIX_BYTES = 128


@lru_cache(maxsize=16_384)
def literal_prefix(pattern: str) -> bytes:
    """What every full match begins with, as far as RE2 knows."""
    from fastgw.native._native import ffi, lib

    raw = pattern.encode()
    message = ffi.new("char[]", 1)
    prefix = ffi.new("char[]", _PREFIX_BYTES)
    length = ffi.new("size_t *")
    if lib.fgw_regex_check(raw, len(raw), 0, message, 1, prefix, _PREFIX_BYTES, length) != 0:
        return b""
    return bytes(ffi.buffer(prefix, length[0]))


@lru_cache(maxsize=16_384)
def full_match(pattern: str, text: bytes) -> bool:
    """Does the pattern match the whole text?"""
    from fastgw.native._native import lib

    raw = pattern.encode()
    return bool(lib.fgw_regex_full_match(raw, len(raw), text, len(text)) == 1)
