"""tests/golden/routetest: one directory a case, ``config.yaml``, ``tests.yaml``, and what ``fastgw test`` prints about them.

FASTGW_GOLDEN=write writes what is printed now; read the difference before keeping it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastgw.cli.main import group

HERE = Path(__file__).resolve().parents[2] / "golden" / "routetest"
EXIT_CODES = {"edits": 1, "expectations": 0, "failures": 1, "unreadable": 1}


def test_every_case_has_its_exit_code() -> None:
    assert {path.name for path in HERE.iterdir()} == set(EXIT_CODES)


@pytest.mark.parametrize("name", sorted(EXIT_CODES))
def test_printed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / name)
    result = CliRunner().invoke(group, ["test", "config.yaml", "tests.yaml", "--resolve", "fixed=10.9.9.9"])
    expected = HERE / name / "expected.txt"
    if os.environ.get("FASTGW_GOLDEN") == "write":
        expected.write_text(result.stdout + result.stderr)
    assert result.stdout + result.stderr == expected.read_text()
    assert result.exit_code == EXIT_CODES[name]
