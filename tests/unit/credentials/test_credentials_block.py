"""The credentials block: what is written is found again by the C code, and damage is noticed."""

from __future__ import annotations

import random

import pytest

from fastgw.credentials.block import read_block, write_block
from fastgw.credentials.content import Content
from fastgw.native._native import ffi, lib

CONTENTS = {
    "kubernetes://istio-system/web": Content(b"chain", b"key", b"", b""),
    "kubernetes://istio-system/web-cacert": Content(ca=b"ca", crl=b"crl"),
    "file-cert:/etc/a.crt~/etc/ä.key": Content(b"c", b"k"),
    "mesh": Content(b"1", b"22", b"333"),
}


def check(block: bytes) -> int:
    return int(lib.fgw_credentials_check(ffi.from_buffer(block), len(block)))


def find(block: bytes, name: str) -> Content | None:
    base = ffi.from_buffer(block)
    raw = name.encode()
    found = lib.fgw_credentials_find(base, raw, len(raw))
    if found == ffi.NULL:
        return None
    assert found.fingerprint == CONTENTS[name].fingerprint()
    return Content(*(block[span.off : span.off + span.len] for span in (found.chain, found.key, found.ca, found.crl)))


def test_every_credential_is_found_by_its_name() -> None:
    block = bytes(write_block(CONTENTS))
    assert check(block) == 1
    assert {name: find(block, name) for name in CONTENTS} == CONTENTS
    assert find(block, "kubernetes://istio-system/we") is None and find(block, "") is None and find(block, "zzz") is None
    assert read_block(block) == CONTENTS


def test_many_names_are_found_whatever_their_order() -> None:
    contents = {f"kubernetes://ns/{number:x}": Content(b"%d" % number, b"k") for number in range(2000)}
    block = bytes(write_block(dict(random.Random(1).sample(sorted(contents.items()), len(contents)))))
    assert check(block) == 1 and read_block(block) == contents
    raw = b"kubernetes://ns/7cf"
    found = lib.fgw_credentials_find(ffi.from_buffer(block), raw, len(raw))
    assert block[found.chain.off : found.chain.off + found.chain.len] == b"1999"


def test_an_empty_block_is_one() -> None:
    assert check(bytes(write_block({}))) == 1


@pytest.mark.parametrize("damage", ["short", "magic", "version", "span", "order", "count"])
def test_a_damaged_block_is_refused(damage: str) -> None:
    block = write_block(CONTENTS)
    header, record = int(ffi.sizeof("fgw_credentials_header")), int(ffi.sizeof("fgw_credential"))
    if damage == "short":
        del block[-1:]
    elif damage == "magic":
        block[0] ^= 1
    elif damage == "version":
        block[8] ^= 1
    elif damage == "span":
        block[header + 8 : header + 12] = len(block).to_bytes(4, "little")
    elif damage == "order":
        block[header : header + record], block[header + record : header + 2 * record] = (
            block[header + record : header + 2 * record],
            block[header : header + record],
        )
    else:
        block[12:16] = (1 << 20).to_bytes(4, "little")
    assert check(bytes(block)) < 0


def test_the_fingerprint_is_of_every_part() -> None:
    parts = [Content(b"ab"), Content(b"a", b"b"), Content(b"", b"ab"), Content(ca=b"ab"), Content(crl=b"ab"), Content(b"abc")]
    assert len({content.fingerprint() for content in parts}) == len(parts)
