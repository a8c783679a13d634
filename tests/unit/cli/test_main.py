"""The ``fastgw`` command itself: help, unknown commands, version, and that nothing heavy is imported on the way."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fastgw import __version__
from fastgw.cli.main import COMMANDS, group


def test_help_lists_all_commands() -> None:
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name}" in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_there_and_has_help(name: str) -> None:
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_unknown_command_offers_the_nearest() -> None:
    result = CliRunner().invoke(group, ["chek"])
    assert result.exit_code == 2
    assert 'no such command "chek", did you mean "check"?' in result.stderr


def test_version() -> None:
    result = CliRunner().invoke(group, ["version"])
    assert result.stdout.startswith(f"fastgw {__version__} (Python ")
    assert "libyaml 0." in result.stdout


def test_version_as_json() -> None:
    found = json.loads(CliRunner().invoke(group, ["version", "-o", "json"]).stdout)
    assert found["version"] == __version__
    assert "libyaml" in found["libraries"]


def test_version_is_quick_because_it_imports_little() -> None:
    code = (
        "import sys; from fastgw.cli.main import main\ntry: main(['version'])\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    for heavy in ("asyncio", "aiohttp", "rich", "fastgw.compiler", "fastgw.supervisor", "cryptography"):
        assert f"'{heavy}'" not in loaded
