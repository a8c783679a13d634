"""JSON schemas of the kinds, for editors: ``python -m fastgw.model.json_schema DIRECTORY`` writes one file a kind.

They know less than ``fastgw check`` (types and names of fields, no rules between fields), but know it while typing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from fastgw.model.kinds import KINDS, KindInfo
from fastgw.model.metadata import Metadata

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(info: KindInfo) -> dict[str, Any]:
    """The schema of a whole document of a kind that has a type."""
    assert info.spec is not None
    (metadata, spec), parts = msgspec.json.schema_components([Metadata, info.spec], ref_template="#/$defs/{name}")
    properties: dict[str, Any] = {
        "apiVersion": {"enum": [f"{info.group}/{version}" if info.group else version for version in info.versions]},
        "kind": {"const": info.kind},
        "metadata": metadata,
    }
    if info.spec_at_root:
        own = parts.pop(spec["$ref"].rpartition("/")[2])
        properties |= own["properties"]
    else:
        properties |= {"spec": spec, "status": {}}
    return {
        "$schema": DRAFT,
        "title": f"{info.kind} ({info.group or 'core'})",
        "type": "object",
        "properties": properties,
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": False,
        "$defs": {name: _nullable(part) for name, part in sorted(parts.items())},
    }


def _nullable(part: dict[str, Any]) -> dict[str, Any]:
    """A field that is null counts as absent (fastgw.model.decode), which msgspec's schema does not know; defaults are noise."""
    properties = {name: _field(field) for name, field in part.get("properties", {}).items()}
    return {**part, "properties": properties} if properties else part


def _field(field: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in field.items() if key != "default"}
    if not plain or "anyOf" in plain:
        return plain
    return {"anyOf": [plain, {"type": "null"}]}


def files() -> dict[str, str]:
    """File name -> content, for every typed kind."""
    return {
        f"{info.kind.lower()}.json": json.dumps(schema_of(info), indent=1, sort_keys=True) + "\n"
        for info in KINDS.values()
        if info.spec is not None
    }


def main(directory: str) -> None:
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (target / name).write_text(content)


if __name__ == "__main__":
    main(sys.argv[1])
