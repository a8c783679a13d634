"""The documents of one file: text to plain values with their places, item by item of a List. Knows no kinds."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from fastgw.model.codes import severity_of
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.origin import Origin
from fastgw.sources.jsondoc import JsonProblem, JsonScanner
from fastgw.sources.limits import DOCUMENT_BYTES
from fastgw.sources.places import DocumentPlaces
from fastgw.sources.yamldoc import YamlProblem, YamlReader

SYNTAX, LIMIT = "FGW0006", "FGW0007"


class Document(msgspec.Struct, gc=False):
    """One document, or one item of a List. ``value`` is whatever stood there, mostly a dict."""

    value: Any
    places: DocumentPlaces


class FileText(msgspec.Struct):
    """What was read from one file."""

    documents: list[Document]
    diagnostics: list[Diagnostic]


def read_text(file: str, data: bytes, *, json: bool) -> FileText:
    """All documents of a file's bytes; each problem is one diagnostic, the other documents count."""
    out = FileText([], [])
    not_text = _not_text(file, data)
    if not_text is not None:
        out.diagnostics.append(not_text)
        return out
    for item in _read_json(file, data) if json else _read_yaml(file, data):
        if isinstance(item, Diagnostic):
            out.diagnostics.append(item)
        else:
            out.documents.extend(_expand_list(item))
    return out


def _finding(code: str, message: str, file: str, line: int, column: int) -> Diagnostic:
    return Diagnostic(severity_of(code), code, message, origin=Origin(file, line, column))


def _not_text(file: str, data: bytes) -> Diagnostic | None:
    at = data.find(b"\0")
    message = "not text: it holds a zero byte"
    if at < 0:
        at = _not_utf8_at(data)
        if at < 0:
            return None
        message = f"not UTF-8 text: byte 0x{data[at]:02x}"
    line = data.count(b"\n", 0, at) + 1
    return _finding("FGW0005", message, file, line, at - (data.rfind(b"\n", 0, at) + 1) + 1)


def _not_utf8_at(data: bytes) -> int:
    """Where the bytes stop being UTF-8, -1 when they are. In pieces: a whole copy as text could take four times the memory."""
    if data.isascii():
        return -1
    view = memoryview(data)
    at = 0
    while at < len(data):
        piece = view[at : at + _PIECE_BYTES]
        try:
            at += codecs.utf_8_decode(piece, "strict", at + len(piece) == len(data))[1]
        except UnicodeDecodeError as error:
            return at + error.start
    return -1


_PIECE_BYTES = 1 << 20


def _problem(file: str, error: Exception) -> Diagnostic:
    message, line, column = error.args
    code = LIMIT if message.startswith(("nested", "the document", "aliases", "holds more")) else SYNTAX
    return _finding(code, message, file, line, column)


def _read_yaml(file: str, data: bytes) -> Iterator[Document | Diagnostic]:
    """After a bad document reading goes on at the next ``---`` that begins a line."""
    start, line = 0, 1
    while True:
        reader = YamlReader(file, data, start, line)
        try:
            while (found := reader.read_document()) is not None:
                if found[0] is not None:
                    yield Document(*found)
            return
        except YamlProblem as error:
            yield _problem(file, error)
            bad_line = error.args[1]
        at = start
        while line < bad_line:
            at = data.find(b"\n", at) + 1
            line += 1
        # a list that is never closed is noticed only at the next document, which is a good one
        next_one = at if line > reader.document_line and data.startswith(b"---", at) else data.find(b"\n---", at) + 1
        if next_one == 0:
            return
        start = next_one
        line += data.count(b"\n", at, start)


class _List(msgspec.Struct):
    """The part of a List that is looked at while its items are still text."""

    kind: Any = None
    items: list[msgspec.Raw] = []


def _read_json(file: str, data: bytes) -> Iterator[Document | Diagnostic]:
    """After a bad document reading goes on behind it, or at the next line where its end is not known."""
    scanner = JsonScanner(file, data)
    while scanner.skip_separators():
        offset, line = scanner.offset, scanner.line
        try:
            places = scanner.scan_value()
            text = memoryview(data)[offset : scanner.offset]
            if len(text) > _LARGE_BYTES:
                yield from _large_json(text, places)
            else:
                yield Document(msgspec.json.decode(text), places)
        except JsonProblem as error:
            yield _problem(file, error)
            scanner.skip_line()
        except msgspec.DecodeError as error:
            yield _finding(SYNTAX, f"not valid JSON: {_reason(error)}", file, *_json_place(data, offset, line, error))


_LARGE_BYTES = 64 << 10


def _large_json(text: memoryview, places: DocumentPlaces) -> Iterator[Document | Diagnostic]:
    """A large document is mostly a List: its items are decoded one by one, so that they are not all in memory twice."""
    try:
        whole = msgspec.json.decode(text, type=_List)
    except msgspec.ValidationError:
        whole = _List()
    if not _is_list(whole.kind):
        yield _sized(text, places)
        return
    for raw, item_places in zip(whole.items, places.items("items"), strict=True):
        yield _sized(raw, item_places)


def _sized(text: memoryview | msgspec.Raw, places: DocumentPlaces) -> Document | Diagnostic:
    if memoryview(text).nbytes > DOCUMENT_BYTES:
        begin = places.find("")
        return _finding(LIMIT, f"the document is longer than {DOCUMENT_BYTES >> 20} MiB", begin.file, begin.line, begin.column)
    return Document(msgspec.json.decode(text), places)


def _reason(error: msgspec.DecodeError) -> str:
    return str(error).removeprefix("JSON is malformed: ").split(" (byte ")[0]


def _json_place(data: bytes, offset: int, line: int, error: msgspec.DecodeError) -> tuple[int, int]:
    """Line and column of the byte that msgspec names, of the document's begin when it names none."""
    found = re.search(r"\(byte (\d+)\)", str(error))
    # msgspec counts the bytes that it has taken, the bad one among them
    at = min(offset + max(int(found.group(1)) - 1 if found else 0, 0), len(data))
    return line + data.count(b"\n", offset, at), at - (data.rfind(b"\n", 0, at) + 1) + 1


def _is_list(kind: object) -> bool:
    return isinstance(kind, str) and kind.endswith("List")


def _expand_list(document: Document) -> list[Document]:
    """The items of a ``List`` (or ``VirtualServiceList``...), or the document itself."""
    value = document.value
    if not isinstance(value, dict) or not _is_list(value.get("kind")) or not isinstance(value.get("items"), list):
        return [document]
    places = document.places.items("items")
    return [Document(item, place) for item, place in zip(value["items"], places, strict=True) if item is not None]
