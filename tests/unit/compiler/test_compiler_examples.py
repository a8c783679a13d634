"""The examples that ship with the project compile without anything to complain about, and lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.compiler.compile import CompileOptions, compile_plan
from fastgw.model.diagnostic import INFO
from fastgw.sources.files import load_paths

EXAMPLES = sorted((Path(__file__).parents[3] / "config/examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    loaded = load_paths([str(path)], "istio-system")
    result = compile_plan(loaded.resources, CompileOptions())
    assert [found.text() for found in (*loaded.diagnostics, *result.diagnostics) if found.severity != INFO] == []
    tables = result.plan.route_tables.values()
    actions = [rule.action for table in tables for host in table.virtual_hosts for rule in host.rules]
    actions += [chain.action for listener in result.plan.listeners for chain in listener.chains if chain.action is not None]
    assert actions
    for action in actions:
        for destination in action.destinations:
            cluster = result.plan.clusters[destination.cluster]
            assert cluster.endpoints


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
