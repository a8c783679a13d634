"""HTTP/1 messages as data: bytes and the verdict that every part of the gateway must agree on.

``*.tsv`` hold one case a line, tab-separated; ``#`` starts a comment line. Columns:

requests, responses, h2_requests: id, what is owed (``accept``, ``reject``, ``reject-body``, ``either``), verdict, bytes.

A verdict is ``more`` (the head is not whole), a reason (``bad_host``), or ``ok``, followed for a message with a body by ``/``
and ``ok``, ``more`` or the reason of the body. Bytes are ASCII with the escapes ``\\r \\n \\t \\\\ \\xHH``, and
``\\{70000*a}`` for 70000 times ``a``. h2_requests holds field blocks instead: see the head of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ESCAPE = re.compile(rb"\\(?:([rnt\\])|x([0-9a-f]{2})|\{(\d+)\*(.)\})", re.S)
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True)
class Case:
    id: str
    owed: str
    verdict: str
    data: bytes


def decode(text: str) -> bytes:
    """The bytes that an escaped column stands for."""

    def one(m: re.Match[bytes]) -> bytes:
        if m[1]:
            return PLAIN[m[1]]
        return bytes([int(m[2], 16)]) if m[2] else m[4] * int(m[3])

    return ESCAPE.sub(one, text.encode("ascii"))


@cache
def load(name: str) -> list[Case]:
    """The cases of one file, in order."""
    rows = [line.split("\t") for line in (HERE / f"{name}.tsv").read_text().splitlines() if line and not line.startswith("#")]
    return [Case(row[0], row[1], row[2], decode(row[3])) for row in rows]
