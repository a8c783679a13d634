"""The progress line: on terminals only, and only for what takes long."""

from __future__ import annotations

import io

import pytest

from fastgw.model import progress
from fastgw.model.progress import with_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_is_told_and_the_line_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    monkeypatch.setattr(progress, "PAUSE_S", -1.0)
    out = Terminal()
    assert list(with_progress("reading files", range(1000), 1000, out)) == list(range(1000))
    assert "reading files: 512 of 1,000 (51 %)" in out.getvalue()
    assert out.getvalue().endswith("\r\033[K")


def test_short_work_says_nothing() -> None:
    out = Terminal()
    assert sum(with_progress("reading files", range(1000), 1000, out)) == 499_500
    assert out.getvalue() == ""


def test_what_is_no_terminal_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    out = io.StringIO()
    assert len(list(with_progress("reading files", range(1000), 1000, out))) == 1000
    assert out.getvalue() == ""


def test_the_line_goes_away_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    out = Terminal()
    for number in (taken := with_progress("reading files", range(1000), 1000, out)):
        if number == 100:
            taken.close()  # type: ignore[attr-defined]
            break
    assert out.getvalue().endswith("\r\033[K")
