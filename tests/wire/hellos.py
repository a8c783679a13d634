"""Beginnings of TLS connections, and who must get them: the cases of tests/wire/hellos.jsonl.

``segments`` are what the client sends at once, in hexadecimal digits; "00*500" stands for a byte 500 times. ``bytewise``: every
byte on its own. Servers: A has a.test, B has b.test, D everything else. ``expect`` are the allowed outcomes: one of them, which
must get every byte unchanged, or "close": nobody gets a byte. With ``stall`` the close may come as late as the time limit for a
hello.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hello:
    name: str
    segments: list[bytes]
    expect: list[str]
    stall: bool

    @property
    def data(self) -> bytes:
        return b"".join(self.segments)


def load() -> list[Hello]:
    lines = (Path(__file__).with_name("hellos.jsonl")).read_text().splitlines()
    return [_hello(json.loads(line)) for line in lines]


def named(name: str) -> Hello:
    return next(hello for hello in load() if hello.name == name)


def _hello(line: dict[str, object]) -> Hello:
    segments = [_bytes(text) for text in line["segments"]]  # type: ignore[attr-defined]
    if line.get("bytewise"):
        segments = [bytes([byte]) for segment in segments for byte in segment]
    return Hello(str(line["name"]), segments, list(line["expect"]), bool(line.get("stall")))  # type: ignore[call-overload]


def _bytes(text: str) -> bytes:
    found = b""
    for part in text.split():
        digits, _, times = part.partition("*")
        found += bytes.fromhex(digits) * int(times or "1")
    return found
