"""Golden cases of the compiler: NAME.in.yaml -> NAME.plan.json, named after the statement that they show.

A first line ``# options: {...}`` in the input gives the gateway's labels, namespace and fixed names. After a wanted change of
behaviour ``FASTGW_UPDATE_GOLDEN=1 pytest tests/golden/compiler`` writes the results anew; read the difference before committing it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from plan_projection import project

from fastgw.compiler.compile import CompileOptions, compile_plan
from fastgw.sources.files import load_paths

HERE = Path(__file__).parent
CASES = sorted(path.name.removesuffix(".in.yaml") for path in HERE.glob("*.in.yaml"))


def _options(text: str) -> CompileOptions:
    first = text.partition("\n")[0]
    given = json.loads(first.removeprefix("# options:")) if first.startswith("# options:") else {}
    resolve = {name: (address, port) for name, (address, port) in given.pop("resolve", {}).items()}
    return CompileOptions(resolve=resolve, **given)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    # the compiler has to bear what the checks of the sources would have left out
    monkeypatch.setattr("fastgw.sources.assemble.validate", lambda resource: [])
    source, expected = HERE / f"{name}.in.yaml", HERE / f"{name}.plan.json"
    options = _options(source.read_text())
    loaded = load_paths([source.name], options.namespace)
    errors = [found for found in loaded.diagnostics if found.severity == "error" and found.kind != "EdgePolicy"]
    assert not errors, "the input itself has to be readable, but for policies, whose mistakes are the compiler's as well"
    text = json.dumps(project(compile_plan(loaded.resources, options)), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("FASTGW_UPDATE_GOLDEN") == "1":
        expected.write_text(text)
    assert text == expected.read_text()


def test_every_result_has_its_input() -> None:
    assert CASES
    results = {path.name.removesuffix(".plan.json") for path in HERE.glob("*.plan.json")}
    assert results == set(CASES)
