"""``fastgw certs``: what cannot be a name is told with the option that it came by. What is made: test_development.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fastgw.cli.certs import command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "bad host"], "--host bad host: "),
        (["--host", "a.test", "--credential", "../up"], "--credential ../up: "),
        (["--client", "no/body"], "--client no/body: "),
        ([], "nothing to make: "),
    ],
)
def test_a_bad_name_is_told_with_its_option(tmp_path: Path, words: list[str], told: str) -> None:
    done = CliRunner().invoke(command, ["dev", str(tmp_path / "certs"), *words])
    assert done.exit_code == 2 and f"Error: {told}" in done.output
    assert not (tmp_path / "certs").exists()
