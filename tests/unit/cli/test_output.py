"""Diagnostics and tables as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.cli.options import Labels, Resolve, split_address
from fastgw.cli.output import SOURCE_WIDTH, SourceLines, diagnostic_text, github_annotation, print_json, table
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.origin import Origin


def finding(file: str = "a.yaml", line: int = 2, column: int = 5) -> Diagnostic:
    return Diagnostic("error", "IST0101", "not found", "VirtualService", "ns", "vs", "spec.gateways[0]", Origin(file, line, column))


def test_one_line() -> None:
    assert diagnostic_text(finding(), color=False, source=None) == (
        "a.yaml:2:5: error[IST0101]: VirtualService ns/vs: spec.gateways[0]: not found"
    )
    assert "\x1b[31m\x1b[1merror[IST0101]" in diagnostic_text(finding(), color=True, source=None)


def test_source_line_and_caret(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n\tb: \x1b[2J2\n")
    text = diagnostic_text(finding(str(file)), color=False, source=SourceLines())
    assert text.splitlines()[1:] == ["     b:  [2J2", "        ^"]


def test_a_long_line_is_shown_around_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("x" * 5_000 + "HERE" + "y" * 5_000)
    _, line, caret = diagnostic_text(finding(str(file), 1, 5_001), color=False, source=SourceLines()).splitlines()
    assert len(line) == SOURCE_WIDTH + 4
    assert line[caret.index("^") :].startswith("HERE")


def test_a_file_is_read_once(tmp_path: Path) -> None:
    one, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    one.write_text("a\nb\n")
    other.write_text("c")
    source = SourceLines()
    assert [source.line(str(one), 2), source.line(str(one), 9), source.line(str(other), 1)] == ["b", None, "c"]
    other.unlink()
    assert source.line(str(other), 1) == "c"
    assert source.line(str(one), 1) == "a"


@pytest.mark.parametrize("origin", [("/nowhere/a.yaml", 2, 5), ("", 0, 0), ("/nowhere", 0, 0)])
def test_no_source_line(origin: tuple[str, int, int]) -> None:
    assert "\n" not in diagnostic_text(finding(*origin), color=False, source=SourceLines())


def test_github_escapes() -> None:
    found = Diagnostic("info", "FGW0021", "50%\nof it", origin=Origin("a.yaml", 1, 1))
    assert github_annotation(found) == "::notice file=a.yaml,line=1,col=1,title=FGW0021::50%25%0Aof it"
    assert github_annotation(Diagnostic("error", "FGW0004", "nothing")) == "::error title=FGW0004::nothing"
    odd = Diagnostic("warning", "FGW0003", "a: b, c", origin=Origin("odd, name: 1%.yaml"))
    assert github_annotation(odd) == "::warning file=odd%2C name%3A 1%25.yaml,title=FGW0003::a: b, c"


def test_table() -> None:
    assert table(["NAME", "PORT"], [["a", 80], ["longer", 8080]]) == "NAME       PORT\na          80\nlonger     8080"
    assert table(["NAME"], []) == "NAME"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": "ü", "a": [1]})
    assert capsys.readouterr().out == '{\n  "b": "ü",\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", ("10.0.0.1", 0)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("::1", ("::1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 0)),
        ("a:b", ("a", -1)),
    ],
)
def test_split_address(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


def test_types_of_options() -> None:
    assert Labels().convert("a=b,c=d=e,", None, None) == {"a": "b", "c": "d=e"}
    assert Resolve().convert("Web=127.0.0.1:1", None, None) == ("web", "127.0.0.1", 1)
