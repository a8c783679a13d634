"""The manual page: every command and option is in it, and man can read it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from fastgw.cli.main import COMMANDS, group

ROOT = Path(__file__).resolve().parents[3]


def made() -> str:
    spec = importlib.util.spec_from_file_location("man_page", ROOT / "tools/man_page.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text: str = tool.page()
    return text


def all_commands() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", found) for sub, found in command.commands.items())


def test_every_command_and_option_is_there() -> None:
    plain = made().replace("\\-", "-")
    for name, command in all_commands():
        section = re.search(rf"^\.SS fastgw {name} (.*?)(?=^\.S[SH] |\Z)", plain, re.S | re.M)
        assert section is not None, name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[0] in section[1], (name, parameter.opts)


def test_lines_cannot_be_taken_for_requests() -> None:
    known = (".TH ", ".SH ", ".SS ", ".PP", ".TP", ".B ", ".I ")
    assert [line for line in made().splitlines() if line.startswith((".", "'")) and not line.startswith(known)] == []


def test_groff_has_nothing_to_say() -> None:
    groff = shutil.which("groff")
    if groff is not None:
        words = [groff, "-man", "-Tutf8", "-ww"]
        done = subprocess.run(words, input=made(), capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == "" and "The configurations that were served." in done.stdout


def test_the_guide_names_what_there_is() -> None:
    """Options, metrics, diagnostic codes and response flags in docs/OPERATING.md."""
    from fastgw.model.codes import CODES
    from fastgw.supervisor.metric_series import FLAGS
    from fastgw.supervisor.settings import Settings

    text = (ROOT / "docs/OPERATING.md").read_text()
    options = {word for _, command in all_commands() for parameter in command.params for word in parameter.opts}
    foreign = {"--kill-who", "--create", "--now"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) - options - foreign == set()
    assert {code for code in re.findall(r"\bFGW\d{4}\b", text)} <= set(CODES)
    rows = re.findall(r"^\| [^|]+ \| ((?:`[A-Z]+`(?:, )?)+) \|", text, re.M)
    flags = {flag for row in rows for flag in re.findall(r"[A-Z]+", row)}
    assert flags and flags <= {name for _, name in FLAGS}
    settings = {name.replace("_", "-") for name in Settings.__struct_fields__}
    tuned = re.findall(r"^\| `([a-z-]+)`(?:, `[a-z-]+`)* \|", text.partition("## Tune")[2], re.M)
    assert len(tuned) > 4 and set(tuned) <= settings
    source = "".join(path.read_text() for path in (ROOT / "fastgw/admin").glob("*.py")) + (ROOT / "README.md").read_text()
    for metric in re.findall(r"\b(?:fastgw|istio)_[a-z_]+\b", text):
        assert metric.removeprefix("fastgw_").removesuffix("_total") in source, metric
