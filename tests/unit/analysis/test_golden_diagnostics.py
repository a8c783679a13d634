"""tests/golden/diagnostics: one directory a case, ``in.yaml`` and the lines that ``fastgw check`` prints about it.

Info lines of the compiler about where destinations were found are left out; set FASTGW_GOLDEN=write to write what is
printed now, and read the difference before keeping it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastgw.analysis.examine import examine_paths

HERE = Path(__file__).resolve().parents[2] / "golden" / "diagnostics"
CASES = sorted(path.name for path in HERE.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", CASES)
def test_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / name)
    lines = [found.text() for found in examine_paths(["in.yaml"]).diagnostics if found.code != "FGW0021"]
    expected = HERE / name / "expected.txt"
    if os.environ.get("FASTGW_GOLDEN") == "write":
        expected.write_text("".join(f"{line}\n" for line in lines))
    assert lines == expected.read_text().splitlines()
