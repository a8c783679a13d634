"""The growing tables of one piece of an image: records, strings, hash tables, and what is shared with other pieces.

References count from the piece's own first records; ``fastgw.image.link`` moves them. Knows nothing of routing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from weakref import WeakValueDictionary

from fastgw.image.layout import NONE, TABLES, Record, ffi, lib
from fastgw.image.link import Piece, Symbol
from fastgw.image.references import FORMAT, NUMBERS

_EMPTY: bytes | bytearray = b""
_INLINE: int = lib.FGW_SLOT_INLINE
_HASHES: dict[str, Callable[[bytes, int], int]] = {"forward": lib.fgw_hash_forward, "backward": lib.fgw_hash_backward}


def to_bytes(text: str) -> bytes:
    """The bytes that stand for configured text on the wire. A lone surrogate, which JSON can express, must not stop a compile."""
    return text.encode("utf-8", "surrogatepass")


class Table:
    """Records of one type, one after another."""

    __slots__ = ("_pack", "record", "rows")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.rows: list[bytes] = []
        self._pack = record.pack

    @property
    def count(self) -> int:
        return len(self.rows)

    def add(self, *values: int | bytes) -> int:
        """Append a record; its index."""
        self.rows.append(self._pack(*values))
        return len(self.rows) - 1

    def reserve(self, count: int) -> int:
        """Append ``count`` zeroed records; the index of the first."""
        index = len(self.rows)
        self.rows += [bytes(self.record.size)] * count
        return index

    def put(self, index: int, *values: int | bytes) -> None:
        self.rows[index] = self._pack(*values)


class Strings:
    """Every distinct string of the piece once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._spans: dict[str | bytes, tuple[int, int]] = {b"": (0, 0), "": (0, 0)}

    def span(self, text: str | bytes) -> tuple[int, int]:
        """(offset, length) of the text in the piece's strings."""
        span = self._spans.get(text)
        if span is None:
            span = self._spans[text] = self._append(to_bytes(text) if isinstance(text, str) else text)
        return span

    def _append(self, raw: bytes) -> tuple[int, int]:
        at = len(self.data)
        self.data += raw
        return at, len(raw)


class Symbols:
    """Everything that pieces share, each once, for as long as a piece names it."""

    def __init__(self) -> None:
        self._strings: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
        self._regexes: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
        self._clusters: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
        self._broken: set[str] = set()
        self._message = ffi.new("char[]", 256)
        self._prefix = ffi.new("char[]", 128)
        self._prefix_len = ffi.new("size_t *")

    def string(self, text: str) -> Symbol:
        found = self._strings.get(text)
        if found is None:
            found = self._strings[text] = Symbol("string", to_bytes(text))
        return found

    def cluster(self, name: str) -> Symbol:
        """FGW_NONE in an image where no piece defines it."""
        found = self._clusters.get(name)
        if found is None:
            found = self._clusters[name] = Symbol("cluster", b"")
        return found

    def regex(self, pattern: str) -> Symbol:
        """With the literal prefix that RE2 finds. A pattern that does not compile is kept: it never matches."""
        found = self._regexes.get(pattern)
        if found is None:
            raw = to_bytes(pattern)
            if lib.fgw_regex_check(raw, len(raw), 0, self._message, 256, self._prefix, 128, self._prefix_len) != 0:
                self._broken.add(pattern)
            prefix = bytes(ffi.buffer(self._prefix, self._prefix_len[0]))
            found = self._regexes[pattern] = Symbol("regex", raw, prefix)
        return found

    def is_usable(self, pattern: str) -> bool:
        """Does a pattern that has a symbol compile?"""
        return pattern not in self._broken


class Tables:
    """All tables of one piece. ``symbols`` outlives it."""

    def __init__(self, symbols: Symbols) -> None:
        self.strings = Strings()
        self.candidates: list[int] = []
        self._symbols = symbols
        self._tables: dict[str, Table] = {}
        self._named: dict[Symbol, int] = {}
        self._shared_spans: dict[str, tuple[int, int]] = {}

    def __getitem__(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = Table(TABLES[name])
        return table

    def _number(self, symbol: Symbol) -> int:
        return self._named.setdefault(symbol, len(self._named))

    def shared_span(self, text: str) -> tuple[int, int]:
        """For a field that is declared as shared: (number of the string's symbol, length)."""
        span = self._shared_spans.get(text)
        if span is None:
            symbol = self._symbols.string(text)
            span = self._shared_spans[text] = (self._number(symbol), len(symbol.text))
        return span

    def cluster(self, name: str) -> int:
        """The number of the cluster's symbol."""
        return self._number(self._symbols.cluster(name))

    def regex(self, pattern: str) -> tuple[int, bytes]:
        """(number of the regex's symbol, literal prefix)."""
        symbol = self._symbols.regex(pattern)
        return self._number(symbol), symbol.more

    def is_usable_regex(self, pattern: str) -> bool:
        """Does a pattern that was added compile?"""
        return self._symbols.is_usable(pattern)

    def take(self, *, rooted: bool = False, goes_with: Piece | None = None, defines: str = "") -> Piece:
        """The piece, with nothing left in the tables that changes it. ``defines``: the cluster that its first cluster record is."""
        blocks: dict[str, bytes | bytearray] = {
            **{name: b"".join(table.rows) for name, table in self._tables.items()},
            "candidates": struct.pack(f"<{len(self.candidates)}I", *self.candidates),
            "strings": self.strings.data,
        }
        symbol = self._symbols.cluster(defines) if defines else None
        tables = [blocks.get(name, _EMPTY) for name in NUMBERS]
        return Piece(FORMAT, tables, tuple(self._named), rooted, goes_with, symbol, NUMBERS["clusters"])

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
        slots = self["slots"]
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
