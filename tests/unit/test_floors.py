"""The floors of ARCHITECTURE.md: who may import, cimport or include whom.

Read from the text of the files, so that an import inside a function counts as well.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fastgw"

CONTROL = {"sources", "credentials", "compiler", "analysis", "image"}
ASKING = {"routetest", "diff"}
"""Still the control side, above all of it: they ask compiled configurations, and nothing that serves needs them."""
ALLOWED = {
    "native": {"native"},
    "model": {"model"},
    **{name: CONTROL | {"model", "native"} for name in CONTROL},
    **{name: CONTROL | {"model", "native", name} for name in ASKING},
    "dataplane": {"dataplane", "model", "native"},
    "supervisor": CONTROL | {"dataplane", "model", "native", "supervisor"},
    "admin": CONTROL | {"model", "native", "supervisor", "admin"},
    "cli": CONTROL | ASKING | {"model", "native", "supervisor", "admin", "cli"},
}
"""Package -> packages of fastgw that it may know. Control and data never know each other."""

CYTHON_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([\w\s,*]*)", re.M)
CYTHON_IMPORT = re.compile(r"^\s*c?import\s+([\w.]+(?:\s*,\s*[\w.]+)*)", re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"])', re.M)

C_HEADERS = {
    *("<stddef.h>", "<stdint.h>", "<stdbool.h>", "<limits.h>", "<string.h>", "<stdatomic.h>", "<assert.h>"),
    *("<immintrin.h>", "<nmmintrin.h>", "<smmintrin.h>", "<emmintrin.h>", "<x86intrin.h>", "<cpuid.h>", "<arm_neon.h>"),
}
"""All that ext/ may include from outside: nothing there can allocate or do I/O."""

ALLOCATION = re.compile(r"\b(malloc|calloc|realloc|free|strdup|alloca|fopen|printf|fprintf|read|write|recv|send)\s*\(")
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
WORKER_MUST_NOT_LOAD = (
    "yaml",
    "asyncio",
    "aiohttp",
    "watchfiles",
    *(f"fastgw.{name}" for name in sorted(CONTROL | ASKING)),
    "fastgw.supervisor",
)


def python_imports(source: str, module: str) -> Iterator[str]:
    """Full names of the modules (and of the things imported from them) that a Python file imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def cython_imports(source: str, module: str) -> Iterator[str]:
    """The same for .pyx and .pxd, import and cimport alike."""
    for name, things in CYTHON_FROM.findall(source):
        dots = len(name) - len(name.lstrip("."))
        base = module.split(".")[:-dots] if dots else []
        full = ".".join([*base, *filter(None, [name.lstrip(".")])])
        yield from (f"{full}.{thing.strip().split(' ')[0]}" for thing in things.split(",") if thing.strip())
    for names in CYTHON_IMPORT.findall(source):
        yield from (name.strip() for name in names.split(","))


def known_packages(path: Path) -> set[str]:
    """Which packages of fastgw a file knows."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    read = python_imports if path.suffix == ".py" else cython_imports
    parts = [name.split(".") for name in read(path.read_text(), module)]
    return {name[1] for name in parts if name[0] == "fastgw" and len(name) > 1 and (PACKAGE / name[1]).is_dir()}


def files_of(package: str) -> list[Path]:
    return [path for path in sorted((PACKAGE / package).rglob("*")) if path.suffix in {".py", ".pyx", ".pxd"}]


def test_every_package_has_a_floor() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert packages == set(ALLOWED)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_knows_only_its_own_floor_and_those_below(package: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(too_high)
        for path in files_of(package)
        if (too_high := known_packages(path) - ALLOWED[package])
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("read", "source", "expected"),
    [
        (python_imports, "def f():\n    from fastgw.compiler import hosts", "fastgw.compiler.hosts"),
        (python_imports, "from fastgw import dataplane", "fastgw.dataplane"),
        (python_imports, "from ..compiler import passes", "fastgw.compiler.passes"),
        (python_imports, "import os, fastgw.sources.files", "fastgw.sources.files"),
        (cython_imports, "from fastgw.dataplane.loop cimport Loop, Timer", "fastgw.dataplane.loop.Timer"),
        (cython_imports, "from fastgw.native.base cimport (\n    fgw_span,\n)", "fastgw.native.base.fgw_span"),
        (cython_imports, "from ..compiler cimport x", "fastgw.compiler.x"),
        (cython_imports, "    cimport fastgw.image.writer", "fastgw.image.writer"),
    ],
)
def test_the_reader_of_imports_sees(read, source: str, expected: str) -> None:  # type: ignore[no-untyped-def]
    assert expected in set(read(source, "fastgw.model.resource"))


def ext_sources() -> list[Path]:
    return sorted(path for path in (ROOT / "ext").rglob("*") if path.suffix in {".c", ".h"})


def foreign_includes(path: Path) -> list[str]:
    """What a file of ext/ includes that is neither part of ext/ nor one of the harmless headers."""
    folders = (path.parent, ROOT / "ext/include", ROOT / "ext/src")
    names = set(INCLUDE.findall(path.read_text())) - C_HEADERS
    return sorted(name for name in names if name[0] == "<" or not any((folder / name.strip('"')).is_file() for folder in folders))


def test_ext_includes_only_itself_and_headers_that_do_nothing() -> None:
    assert {path.name: foreign for path in ext_sources() if (foreign := foreign_includes(path))} == {}


def test_ext_neither_allocates_nor_does_io() -> None:
    wrong = {}
    for path in ext_sources():
        code = COMMENT_OR_STRING.sub(" ", path.read_text())
        if calls := set(ALLOCATION.findall(code)):
            wrong[path.name] = sorted(calls)
    assert wrong == {}


def test_a_worker_has_not_loaded_the_control_side() -> None:
    program = (
        "import json, sys; import fastgw.dataplane.worker; "
        "print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(WORKER_MUST_NOT_LOAD)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert json.loads(done.stdout) == []
