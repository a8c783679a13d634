"""The native tests of ext/ (tests/ext/test_*.c): built by CMake with ASan and UBSan, run by ctest.

The build directory is kept under build/, so that only what has changed is compiled again.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "cmake-tests"
SOURCES = sorted(p.stem for p in (ROOT / "tests/ext").glob("test_*.c"))


def run(*command: str) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def build() -> Path:
    """The build directory with all tests built; one process of a parallel test run builds at a time."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("cmake", "-S", str(ROOT), "-B", str(BUILD))
        run("cmake", "--build", str(BUILD), "--parallel", str(os.cpu_count() or 1))
    return BUILD


def test_every_native_test_is_known_to_ctest(build: Path) -> None:
    listed = set(re.findall(r"Test +#\d+: (\w+)", run("ctest", "--test-dir", str(build), "-N")))
    assert listed == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_native(build: Path, name: str) -> None:
    run("ctest", "--test-dir", str(build), "--output-on-failure", "-R", f"^{name}$")
