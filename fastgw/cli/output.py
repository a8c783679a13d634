"""How commands print: diagnostics as text, JSON or GitHub annotations; tables; JSON with stable keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click
import msgspec

from fastgw.model.diagnostic import ERROR, INFO, WARNING, Diagnostic
from fastgw.model.origin import NOWHERE

_COLORS = {ERROR: "red", WARNING: "yellow", INFO: "cyan"}
SOURCE_WIDTH = 160
"""Characters of a source line that are shown."""
_GITHUB = {ERROR: "error", WARNING: "warning", INFO: "notice"}


def print_json(value: object) -> None:
    """JSON on standard output, indented, keys in the order they were given."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def diagnostics_as_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    return [found.to_json() for found in diagnostics]


class SourceLines:
    """Lines of files, each file read once as long as it is asked for in a row (diagnostics are sorted by file)."""

    def __init__(self) -> None:
        self._file = ""
        self._lines: list[str] = []

    def line(self, file: str, number: int) -> str | None:
        """Line ``number`` from 1, without its end; None when it is not there."""
        if file != self._file:
            self._file, self._lines = file, _read_lines(file)
        return self._lines[number - 1] if 0 < number <= len(self._lines) else None


def _read_lines(file: str) -> list[str]:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read().split("\n")
    except OSError:
        return []


def diagnostic_text(found: Diagnostic, *, color: bool, source: SourceLines | None) -> str:
    """The one-line form; with ``source`` the line of the file and a caret below."""
    text = found.text()
    if color:
        word = f"{found.severity}[{found.code}]"
        text = text.replace(word, click.style(word, fg=_COLORS[found.severity], bold=True), 1)
    line = source.line(found.origin.file, found.origin.line) if source is not None and found.origin.file else None
    if line is None:
        return text
    line, column = _window(_printable(line), found.origin.column - 1)
    caret = " " * column + "^"
    return f"{text}\n    {line}\n    {click.style(caret, fg='green', bold=True) if color else caret}"


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a long line that holds ``column``, and where that is in it."""
    if len(line) <= SOURCE_WIDTH:
        return line, column
    start = max(0, min(column - SOURCE_WIDTH // 2, len(line) - SOURCE_WIDTH))
    return line[start : start + SOURCE_WIDTH], column - start


def _printable(text: str) -> str:
    """A file's text must not steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def github_annotation(found: Diagnostic) -> str:
    """A workflow command that GitHub shows beside the line of a pull request."""
    properties = {"file": found.origin.file, "line": found.origin.line, "col": found.origin.column, "title": found.code}
    given = ",".join(f"{name}={_github_property(value)}" for name, value in properties.items() if value)
    what = msgspec.structs.replace(found, origin=NOWHERE).text().partition(": ")[2]
    return f"::{_GITHUB[found.severity]} {given}::{_github(what)}"


def _github(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_property(value: object) -> str:
    """Inside a property a colon and a comma have a meaning, too."""
    return _github(str(value)).replace(":", "%3A").replace(",", "%2C")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns padded with blanks, as istioctl prints them; no trailing blanks."""
    lines = [list(map(str, header)), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("     ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
