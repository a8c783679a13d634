"""The committed schemas are those of the types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastgw.model.json_schema import files, main
from fastgw.model.kinds import KINDS

DIRECTORY = Path(__file__).resolve().parents[3] / "config" / "json-schema"


def test_committed_schemas_are_current() -> None:
    found = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
    assert found == files(), "run: python -m fastgw.model.json_schema config/json-schema"


def test_written_to_a_new_directory(tmp_path: Path) -> None:
    main(str(tmp_path / "a" / "b"))
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == set(files())


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


@pytest.mark.parametrize("info", [info for info in KINDS.values() if info.spec is not None], ids=lambda info: info.kind)
def test_schema(info: Any) -> None:
    schema = json.loads(files()[f"{info.kind.lower()}.json"])
    assert schema["properties"]["kind"] == {"const": info.kind}
    assert len(schema["properties"]["apiVersion"]["enum"]) == len(info.versions)
    assert ("spec" in schema["properties"]) == (not info.spec_at_root)
    assert {reference.removeprefix("#/$defs/") for reference in references(schema)} <= set(schema["$defs"])
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
