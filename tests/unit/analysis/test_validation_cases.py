"""Every case of tests/golden/validation through the whole pipeline: load, decode, validate, whole picture, compile."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fastgw.analysis.examine import examine_paths
from fastgw.model.codes import NOT_SUPPORTED_YET
from fastgw.model.diagnostic import ERROR, WARNING

HERE = Path(__file__).resolve().parents[2] / "golden" / "validation"
CASES: list[dict[str, Any]] = [json.loads(line) for line in (HERE / "cases.jsonl").read_text().splitlines()]


def write_case(case: dict[str, Any], directory: Path) -> None:
    """The documents of a case as one file, with the files that they name beside it."""
    text = re.sub(r"<<(.) (\d+)>>", lambda found: found.group(1) * int(found.group(2)), case["yaml"])
    for path in case.get("needs_files", ()):
        local = directory / "files" / Path(path).name
        local.parent.mkdir(exist_ok=True)
        shutil.copy(HERE / "files" / local.name, local)
        text = re.sub(rf"(?<![\w/]){re.escape(path)}(?![\w/])", str(local), text)
    (directory / "case.yaml").write_text(text)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['id']}-{case['verdict']}" for case in CASES])
def test_verdict(case: dict[str, Any], tmp_path: Path) -> None:
    write_case(case, tmp_path)
    examined = examine_paths([str(tmp_path)])
    identity = (case["kind"], case["namespace"], case["name"])
    about = [found for found in examined.diagnostics if (found.kind, found.namespace, found.name) == identity]
    severities = {found.severity for found in about if found.code not in NOT_SUPPORTED_YET}
    loaded = any((one.kind, one.namespace, one.name) == identity for one in examined.resources)
    shown = "\n".join(found.text() for found in examined.diagnostics)
    if case["verdict"] == "invalid":
        assert ERROR in severities, f"{case['reason']}\n{shown}"
        return
    errors = [found for found in examined.diagnostics if found.severity == ERROR and found.code not in NOT_SUPPORTED_YET]
    assert not errors, f"{case['reason']}\n{shown}"
    assert (WARNING in severities) == (case["verdict"] == "warning"), f"{case['reason']}\n{shown}"
    assert loaded


def test_the_cases_are_all_there() -> None:
    assert len(CASES) == 351
    assert len({case["id"] for case in CASES}) == 351
