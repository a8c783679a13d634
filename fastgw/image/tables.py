"""The growing tables of an image that is being written: records, strings, hash tables. Knows nothing of routing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from fastgw.image.layout import HEADER, MAGIC, NONE, TABLES, ImageError, Record, lib

ALIGNMENT = 64
_INLINE: int = lib.FGW_SLOT_INLINE
_HASHES: dict[str, Callable[[bytes, int], int]] = {"forward": lib.fgw_hash_forward, "backward": lib.fgw_hash_backward}


def to_bytes(text: str) -> bytes:
    """The bytes that stand for configured text on the wire. A lone surrogate, which JSON can express, must not stop a compile."""
    return text.encode("utf-8", "surrogatepass")


class Table:
    """Records of one type, one after another."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.data = bytearray()

    @property
    def count(self) -> int:
        return len(self.data) // self.record.size

    def add(self, *values: int | bytes) -> int:
        """Append a record; its index."""
        index = len(self.data) // self.record.size
        self.data += self.record.pack(*values)
        return index

    def reserve(self, count: int) -> int:
        """Append ``count`` zeroed records; the index of the first."""
        index = len(self.data) // self.record.size
        self.data += bytes(count * self.record.size)
        return index

    def copy(self, source: int, target: int) -> None:
        """Make record ``target`` equal to record ``source``."""
        size = self.record.size
        self.data[target * size : (target + 1) * size] = self.data[source * size : (source + 1) * size]

    def put(self, index: int, *values: int | bytes) -> None:
        self.record.pack_into(self.data, index * self.record.size, *values)


class Strings:
    """Every distinct string once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._spans: dict[str | bytes, tuple[int, int]] = {b"": (0, 0), "": (0, 0)}

    def span(self, text: str | bytes) -> tuple[int, int]:
        """(offset, length) of the text in the string table."""
        span = self._spans.get(text)
        if span is None:
            span = self._spans[text] = self.span(to_bytes(text)) if isinstance(text, str) else self._append(text)
        return span

    def _append(self, raw: bytes) -> tuple[int, int]:
        at = len(self.data)
        self.data += raw
        return at, len(raw)


class Tables:
    """All tables of one image."""

    def __init__(self) -> None:
        self.strings = Strings()
        self._tables = {name: Table(record) for name, record in TABLES.items()}
        self.candidates: list[int] = []

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def add_slots(self, items: list[tuple[bytes, int, int]], hash_name: str) -> tuple[int, int]:
        """A hash table of (key, value, hint) with distinct keys. (first slot, number of slots); (0, 0) for no items."""
        if not items:
            return 0, 0
        count = len(items) * 3 // 2 + 1
        places: list[tuple[int, bytes, int, int] | None] = [None] * count
        hash_of = _HASHES[hash_name]
        for key, value, hint in items:
            code = hash_of(key, len(key))
            at = code * count >> 32
            while places[at] is not None:
                at = at + 1 if at + 1 < count else 0
            places[at] = (code, key, value, hint)
        slots = self._tables["slots"]
        first = slots.count
        for place in places:
            self._add_slot(slots, place)
        return first, count

    def _add_slot(self, slots: Table, place: tuple[int, bytes, int, int] | None) -> None:
        if place is None:
            slots.add(0, NONE, NONE, 0, 0, b"")
            return
        code, key, value, hint = place
        offset = self.strings.span(key)[0] if len(key) > _INLINE else 0
        slots.add(code, value, hint, len(key), offset, key[:_INLINE])

    def _blocks(self) -> Iterable[tuple[bytes | bytearray, int]]:
        for name in TABLES:
            table = self._tables[name]
            yield table.data, table.count
        yield struct.pack(f"<{len(self.candidates)}I", *self.candidates), len(self.candidates)
        yield self.strings.data, len(self.strings.data)

    def to_bytes(self, generation: int) -> bytes:
        """The image. Raises ImageError above 4 GiB, which offsets cannot express."""
        body: list[bytes | bytearray] = []
        places: list[int] = []
        at = HEADER.size
        for data, count in self._blocks():
            padding = -at % ALIGNMENT
            body += [bytes(padding), data]
            at += padding
            places += [at, count]
            at += len(data)
        total = at + -at % ALIGNMENT
        if total > 0xFFFFFFFF:
            raise ImageError(f"the image has {total} bytes, more than 4 GiB")
        header = HEADER.pack(MAGIC, lib.FGW_IMAGE_VERSION, HEADER.size, total, generation, *places)
        return b"".join([header, *body, bytes(total - at)])
