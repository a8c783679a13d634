"""Path normalisation and host:port against straightforward second implementations."""

from __future__ import annotations

import ipaddress
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire.native import decode_chunked, ffi, lib, normalize, split_authority

UNRESERVED = re.compile(rb"[A-Za-z0-9\-._~]")
PARTS = [
    b"/",
    b"/",
    b"//",
    b".",
    b"..",
    b"%2e",
    b"%2E.",
    b"%2F",
    b"%2f",
    b"%5c",
    b"%41",
    b"%7e",
    b"%00",
    b"%",
    b"%zz",
    b"%25",
    b"\\",
    b"a",
    b"b.c",
    b";",
    b"\xe9",
]
paths = st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: b"/" + b"".join(parts))


def reference(path: bytes, mode: int) -> bytes | str:
    """BASE, MERGE_SLASHES and DECODE_AND_MERGE, one whole pass after the other."""
    if re.search(rb"%(?![0-9A-Fa-f]{2})|%00", path):
        return "bad_escape"

    def decoded(m: re.Match[bytes]) -> bytes:
        byte = bytes([int(m[1], 16)])
        slash = mode == lib.FGW_PATH_DECODE_AND_MERGE and byte in (b"/", b"\\")
        return byte if slash or UNRESERVED.fullmatch(byte) else m[0]

    path = re.sub(rb"%([0-9A-Fa-f]{2})", decoded, path).replace(b"\\", b"/")
    if mode >= lib.FGW_PATH_MERGE_SLASHES:
        path = re.sub(rb"//+", b"/", path)
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                return "path_above_root"
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    normal = b"/" + b"/".join(kept)
    return re.sub(rb"//+", b"/", normal) if mode >= lib.FGW_PATH_MERGE_SLASHES else normal


@settings(max_examples=1500)
@given(paths, st.sampled_from([lib.FGW_PATH_BASE, lib.FGW_PATH_MERGE_SLASHES, lib.FGW_PATH_DECODE_AND_MERGE]))
@example(b"/a//../b", lib.FGW_PATH_BASE)
@example(b"/a/..;/b", lib.FGW_PATH_BASE)
def test_normalisation_is_the_reference(path: bytes, mode: int) -> None:
    got, wanted = normalize(path, mode), reference(path, mode)
    if isinstance(wanted, str):  # a path with two faults is refused for the one that comes first
        assert got in ("bad_escape", "path_above_root")
    else:
        assert got == wanted


@settings(max_examples=500)
@given(paths)
def test_is_normal_tells_whether_base_changes_something(path: bytes) -> None:
    assert bool(lib.fgw_path_is_normal(ffi.from_buffer(path), len(path))) == (normalize(path, lib.FGW_PATH_BASE) == path)


ipv6_like = st.lists(st.sampled_from([b":", b"::", b"1", b"ab", b"FFFF", b"12345", b".", b"1.2.3.4", b"g", b"0"]), max_size=10).map(
    b"".join
)


@settings(max_examples=1500)
@given(st.one_of(ipv6_like, st.ip_addresses(v=6).map(lambda a: str(a).encode())))
def test_ipv6_literals_are_those_of_the_standard_library(text: bytes) -> None:
    try:
        ipaddress.IPv6Address(text.decode())
        valid = True
    except ValueError:
        valid = False
    host = b"[" + text + b"]"
    assert split_authority(host) == ((host, 0) if valid else None)
    assert split_authority(host + b":8443") == ((host, 8443) if valid else None)


@given(st.text("abz09.-_:@/[]% ", max_size=20).map(str.encode))
def test_names_and_ports(text: bytes) -> None:
    m = re.fullmatch(rb"([a-z0-9.\-_]+)(?::(\d{1,5}))?", text)
    valid = m is not None and int(m[2] or 0) <= 65535
    assert split_authority(text) == ((m[1], int(m[2] or 0)) if m and valid else None)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 9))
def test_what_chunk_heads_write_the_decoder_reads(chunks: list[bytes], piece: int) -> None:
    head = ffi.new("char[18]")
    data = b"".join(ffi.buffer(head, lib.fgw_chunk_head(head, len(c)))[:] + c + b"\r\n" for c in chunks) + b"0\r\n\r\n"
    assert decode_chunked(data + b"GET", piece) == ("ok", b"".join(chunks), len(data))
