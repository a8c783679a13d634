"""test: exit codes, JSON, JUnit, and that nothing of a RouteTest is served or complained about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import Result

from fastgw.compiler.compile import compile_plan
from fastgw.sources.files import load_paths

Json = Callable[..., tuple[Any, int]]
Run = Callable[..., Result]

TESTS = """\
apiVersion: gateway.fastgw.io/v1
kind: RouteTest
metadata: {name: shop}
spec:
  tests:
  - name: cart
    request: {url: http://shop.example.com/cart}
    expect: {virtualService: shop, destination: {host: cart}}
"""
FAILING = (
    TESTS
    + """\
  - name: nothing there
    request: {url: http://shop.example.com/nothing}
    expect: {status: 200}
"""
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        path = tmp_path / "tests.yaml"
        path.write_text(text)
        return str(path)

    return written


def test_all_pass(config: str, write: Callable[[str], str], run: Run) -> None:
    result = run("test", config, write(TESTS))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 passed"
    assert "coverage: 1 of 4 rules (25 %)" in result.stdout


def test_a_failure(config: str, write: Callable[[str], str], run: Run) -> None:
    result = run("test", config, write(FAILING))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 passed, 1 failed"
    assert "  - status: 200\n  + status: 404\n" in result.stdout


def test_json(config: str, write: Callable[[str], str], run_json: Json) -> None:
    path = write(FAILING)
    found, code = run_json("test", config, path)
    assert code == 1
    assert found["summary"] == {"passed": 1, "failed": 1, "broken": 0}
    right, wrong = found["tests"]
    assert (right["document"], right["name"], right["passed"], right["differences"]) == ("default/shop", "cart", True, [])
    assert (right["matched"]["virtualService"], right["action"], right["file"], right["line"]) == ("default/shop", "route", path, 6)
    assert wrong["differences"] == [{"field": "status", "expected": "200", "actual": "404"}]
    coverage = found["coverage"]
    assert (coverage["rules"], coverage["touched"], coverage["percent"]) == (4, 1, 25.0)
    assert [(rule["route"], rule["match"], rule["line"]) for rule in coverage["untouched"]] == [(0, 0, 19), (1, 1, 26), (2, 0, 33)]


def test_junit(config: str, write: Callable[[str], str], tmp_path: Path, run: Run) -> None:
    target = tmp_path / "out.xml"
    assert run("test", config, write(FAILING), "--junit", str(target)).exit_code == 1
    root = ElementTree.parse(target).getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")


def test_a_document_that_cannot_be_read_is_no_success(config: str, write: Callable[[str], str], run: Run, run_json: Json) -> None:
    path = write(TESTS + "---\n" + TESTS.replace("name: shop", "name: other").replace("expect: {", "expect: {statuss: 1, "))
    result = run("test", config, path)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 passed, 1 not read"
    assert 'unknown field "statuss", did you mean "status"?' in result.stderr
    assert run_json("test", config, path)[0]["broken"][0]["path"] == "spec.tests[0].expect.statuss"
    assert run("test", config, write("kind: [")).exit_code == 2


@pytest.mark.parametrize("text", ["", "a: 1\n", TESTS.partition("spec:")[0] + "spec: {tests: []}\n"])
def test_nothing_to_run(config: str, write: Callable[[str], str], run: Run, text: str) -> None:
    result = run("test", config, write(text))
    assert result.exit_code == 2
    assert "no tests in" in result.stderr


def test_usage(config: str, write: Callable[[str], str], run: Run, tmp_path: Path) -> None:
    assert run("test").exit_code == 2
    assert run("test", str(tmp_path / "nope")).exit_code == 2
    assert run("test", config, write(TESTS), "--junit", str(tmp_path / "no" / "file.xml")).exit_code == 2


def test_options_of_the_gateway_count(config: str, write: Callable[[str], str], run_json: Json) -> None:
    text = TESTS.replace("destination: {host: cart}", "status: 200")
    assert run_json("test", config, write(text))[1] == 0
    assert run_json("test", config, write(text), "--labels", "istio=other")[1] == 1


def test_route_tests_beside_the_configuration_are_ignored(config: str, write: Callable[[str], str]) -> None:
    with_tests, without = (load_paths(paths, "istio-system") for paths in ([config, write(TESTS)], [config]))
    assert with_tests.diagnostics == without.diagnostics
    plans = [compile_plan(loaded.resources) for loaded in (with_tests, without)]
    assert plans[0].plan == plans[1].plan
    assert plans[0].diagnostics == plans[1].diagnostics


def test_the_example_covers_every_rule(run_json: Json) -> None:
    examples = Path(__file__).parents[3] / "config" / "examples"
    found, code = run_json("test", str(examples / "canary.yaml"), str(examples / "tests" / "canary.yaml"))
    assert (code, found["summary"]["failed"], found["coverage"]["percent"]) == (0, 0, 100.0)


def test_output_is_json_all_through(config: str, write: Callable[[str], str], run: Run) -> None:
    assert json.loads(run("test", config, write(TESTS), "-o", "json").stdout)["broken"] == []


def test_color_only_when_asked_for(config: str, write: Callable[[str], str], run: Run) -> None:
    path = write(FAILING)
    assert "\x1b[" not in run("test", config, path).stdout
    assert "\x1b[31mFAIL" in run("test", config, path, "--color", "always").stdout
