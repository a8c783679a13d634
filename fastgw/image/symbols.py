"""What the pieces of an image share: strings, regexes and clusters, each once, by name."""

from __future__ import annotations

from weakref import WeakValueDictionary

from fastgw.image.layout import ffi, lib
from fastgw.image.link import Symbol
from fastgw.model.cidr import cidr_set, parse_network


def to_bytes(text: str) -> bytes:
    """The bytes that stand for configured text on the wire. A lone surrogate, which JSON can express, must not stop a compile."""
    return text.encode("utf-8", "surrogatepass")


class Symbols:
    """Everything that pieces share, each once, for as long as a piece names it."""

    def __init__(self) -> None:
        self._strings: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
        self._regexes: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
        self._clusters: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
        self._networks: WeakValueDictionary[tuple[str, str], Symbol] = WeakValueDictionary()
        self._broken: set[str] = set()
        self._message = ffi.new("char[]", 256)
        self._prefix = ffi.new("char[]", 128)
        self._prefix_len = ffi.new("size_t *")

    def string(self, text: str) -> Symbol:
        found = self._strings.get(text)
        if found is None:
            found = self._strings[text] = Symbol("string", to_bytes(text))
        return found

    def networks(self, allow: str, deny: str) -> Symbol:
        """The set of both lists, see fgw_img_source_list."""
        key = (allow, deny)
        found = self._networks.get(key)
        if found is None:
            given = [(each, lib.FGW_SOURCE_ALLOWED) for each in allow.split(", ") if each]
            given += [(each, lib.FGW_SOURCE_DENIED) for each in deny.split(", ") if each]
            raw = cidr_set((parse_network(text), value) for text, value in given)
            found = self._networks[key] = Symbol("string", raw)
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
