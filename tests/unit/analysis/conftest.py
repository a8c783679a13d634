"""Resources from YAML text, for tests of single checks."""

from __future__ import annotations

import pytest

from fastgw.model.resource import Resource
from fastgw.sources.assemble import assemble
from fastgw.sources.documents import read_text


def resources_of(text: str) -> list[Resource]:
    """Every document of ``text`` as a usable Resource."""
    found = [assemble(document, "istio-system") for document in read_text("t.yaml", text.encode(), json=False).documents]
    assert all(one.resource is not None for one in found), [one.diagnostics for one in found]
    return [one.resource for one in found if one.resource is not None]


@pytest.fixture
def parse() -> object:
    return resources_of
