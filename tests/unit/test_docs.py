"""The documents say what the code does: generated parts are current, and names that are mentioned exist."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from fastgw.cli.main import COMMANDS, group

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(ROOT.glob("*.md"))
SOURCES = [path for path in (ROOT / "fastgw").rglob("*") if path.suffix in {".py", ".pyx", ".pxd"}]

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
PLACE = re.compile(r"`((?:fastgw|ext|tests|benchmarks|config|tools)/[\w./-]+\.\w+):([\w.]+)`")
FILE = re.compile(r"`((?:fastgw|ext|tests|benchmarks|config|tools)/[\w./-]+)`")
METRIC = re.compile(r"\b(?:fastgw|istio)_[a-z_]+\b")


def readme() -> str:
    return (ROOT / "README.md").read_text()


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / "tools/readme_blocks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def options_of(command: click.Command) -> set[str]:
    own = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts] if name.startswith("--")}
    if isinstance(command, click.Group):
        own |= set().union(*(options_of(sub) for sub in command.commands.values()))
    return own


@pytest.mark.parametrize("block", ["codes", "fields", "bench", "bench-tls", "bench-l4", "bench-h2"])
def test_a_generated_block_is_current(block: str) -> None:
    blocks = tool()
    assert blocks.current(block) == blocks.BLOCKS[block](), "run: python tools/readme_blocks.py"


def test_readme_lists_exactly_the_commands_there_are() -> None:
    listed = set(re.findall(r"^\| `fastgw ([a-z-]+)", readme(), re.M))
    assert listed == set(COMMANDS)


def test_readme_knows_every_option_of_run() -> None:
    run = options_of(command("run"))
    missing = {name for name in run if name not in readme() and name.replace("--no-", "--") not in readme()}
    assert missing == set()


def test_every_option_in_the_documents_exists() -> None:
    known = {"--cacert", "--cert", "--key"}.union(*(options_of(command(name)) for name in COMMANDS))  # the first are curl's
    for document in [ROOT / "README.md", ROOT / "THREAT_MODEL.md", ROOT / "DECISIONS.md"]:
        assert set(OPTION.findall(document.read_text())) - known == set(), document.name


def places() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        yield from PLACE.findall(document.read_text())


def defines(path: Path, name: str) -> bool:
    """Is there a function, class, method, or C name ``name`` (or ``Class.name``) in the file?"""
    text = path.read_text()
    return all(re.search(rf"\b{re.escape(part)}\b", text) for part in name.split("."))


def test_every_place_in_the_documents_exists() -> None:
    found = list(places())
    assert len(found) > 40
    assert [f"{path}:{name}" for path, name in found if not (ROOT / path).is_file() or not defines(ROOT / path, name)] == []


def test_every_file_in_the_documents_exists() -> None:
    named = {name for document in DOCUMENTS for name in FILE.findall(document.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_metric_in_readme_is_exported() -> None:
    code = "\n".join(path.read_text() for path in SOURCES)
    stems = {name: re.sub(r"_total$", "", name).removeprefix("fastgw_") for name in METRIC.findall(readme())}
    assert len(stems) > 30
    assert {name for name, stem in stems.items() if not re.search(rf"\b(fastgw_)?{stem}(_total)?\b", code)} == set()


def test_documents_name_no_folder_of_one_machine() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"/(home|work|root|Users)/\w", document.read_text()), document.name
