"""The table of codes is complete and used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from fastgw.model.codes import CODES, NOT_SUPPORTED_YET, severity_of
from fastgw.model.diagnostic import SEVERITIES

ROOT = Path(__file__).resolve().parents[3]
_CODE = re.compile(r"(IST|FGW)\d{4}")


def used_codes() -> dict[str, set[str]]:
    """Code -> modules that have it as a literal (documentation strings do not count)."""
    used: dict[str, set[str]] = {}
    for path in (ROOT / "fastgw").rglob("*.py"):
        if path.name == "codes.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                used.setdefault(node.value, set()).add(path.name)
    return used


def test_every_code_in_the_source_is_in_the_table() -> None:
    assert {code: modules for code, modules in used_codes().items() if code not in CODES} == {}


def test_every_code_in_the_table_is_used() -> None:
    used = used_codes()
    assert [code for code in CODES if code not in used and code not in NOT_SUPPORTED_YET] == []


def test_the_table() -> None:
    assert all(_CODE.fullmatch(code) and entry.code == code for code, entry in CODES.items())
    assert all(entry.severity in SEVERITIES and entry.name.isidentifier() and entry.meaning for entry in CODES.values())
    assert len({entry.name for entry in CODES.values()}) == len(CODES)
    assert set(CODES) >= NOT_SUPPORTED_YET
    assert severity_of("IST0101") == "error"
