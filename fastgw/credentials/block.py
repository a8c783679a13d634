"""Credentials <-> the credentials block (``ext/include/fgw/credentials.h``)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from fastgw.credentials.content import Content
from fastgw.native._native import ffi, lib

MAGIC = int.from_bytes(b"FGWCREDS", "little")
_HEADER = struct.Struct("<QIIQ")
_RECORD = struct.Struct("<10IQ")
assert ffi.sizeof("fgw_credentials_header") == _HEADER.size and ffi.sizeof("fgw_credential") == _RECORD.size


class BlockError(ValueError):
    """The credentials do not fit into a block, or the bytes are not one."""


def write_block(credentials: Mapping[str, Content]) -> bytearray:
    """One block with all of them."""
    named = sorted((name.encode(), content) for name, content in credentials.items())
    texts = bytearray()
    start = _HEADER.size + len(named) * _RECORD.size
    records = bytearray()
    for name, content in named:
        spans: list[int] = []
        for part in (name, content.chain, content.key, content.ca, content.crl):
            spans += start + len(texts), len(part)
            texts += part
        if start + len(texts) > 0xFFFF_FFFF:
            raise BlockError("the credentials are larger than 4 GiB")
        records += _RECORD.pack(*spans, content.fingerprint())
    total_bytes = start + len(texts)
    return bytearray(_HEADER.pack(MAGIC, lib.FGW_CREDENTIALS_VERSION, len(named), total_bytes)) + records + texts


def read_block(block: bytes) -> dict[str, Content]:
    """What is in a block that was checked."""
    magic, version, count, _ = _HEADER.unpack_from(block)
    if magic != MAGIC or version != lib.FGW_CREDENTIALS_VERSION:
        raise BlockError("not a credentials block of this version")
    found = {}
    for index in range(count):
        words = _RECORD.unpack_from(block, _HEADER.size + index * _RECORD.size)
        name, *parts = (block[words[at] : words[at] + words[at + 1]] for at in range(0, 10, 2))
        found[name.decode()] = Content(*parts)
    return found
