"""Regular expressions of matches are RE2: checked here by the very engine that serves traffic, each pattern once."""

from __future__ import annotations

from functools import lru_cache

MAX_REGEX_BYTES = 1024
_MESSAGE_BYTES = 256


@lru_cache(maxsize=16_384)
def regex_problem(pattern: str) -> str:
    """Why a pattern cannot be used, "" when it can. Istio's limits: not empty, at most 1024 bytes, valid RE2."""
    from fastgw.native._native import ffi, lib

    raw = pattern.encode()
    if not raw:
        return "an empty regular expression"
    if len(raw) > MAX_REGEX_BYTES:
        return f"a regular expression of more than {MAX_REGEX_BYTES} bytes"
    message = ffi.new("char[]", _MESSAGE_BYTES)
    prefix = ffi.new("char[]", _MESSAGE_BYTES)
    prefix_len = ffi.new("size_t *")
    if lib.fgw_regex_check(raw, len(raw), 0, message, _MESSAGE_BYTES, prefix, _MESSAGE_BYTES, prefix_len) == 0:
        return ""
    return f'"{pattern}" is no regular expression of RE2: {ffi.string(message).decode(errors="replace")}'


@lru_cache(maxsize=1024)
def replacement_problem(pattern: str, by: str) -> str:
    """Why ``by`` cannot take the place of a valid pattern's matches, "" when it can: it may name only groups that there are."""
    from fastgw.native._native import ffi, lib

    raw, replacement = pattern.encode(), by.encode("utf-8", "surrogatepass")
    message = ffi.new("char[]", _MESSAGE_BYTES)
    if lib.fgw_regex_check_replacement(raw, len(raw), replacement, len(replacement), message, _MESSAGE_BYTES) == 0:
        return ""
    return f'"{by}" cannot replace matches of "{pattern}": {ffi.string(message).decode(errors="replace")}'


@lru_cache(maxsize=1024)
def matches_empty(pattern: str) -> bool:
    """Does a valid pattern match the empty text as a whole?"""
    from fastgw.native._native import lib

    raw = pattern.encode()
    return bool(lib.fgw_regex_full_match(raw, len(raw), b"", 0) == 1)
