"""OpenSSL and libnghttp2 without memory: that connection is lost, everything else goes on, whatever allocation it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STEP = int(os.environ.get("FASTGW_MEMORY_STEP", "73"))
"""Each so many-th of some thousand allocations fails; 1: each of them, in a few minutes."""


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("memory") / "no_library_memory.so"
    source = Path(__file__).with_name("no_library_memory.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", str(source), "-lcrypto", "-o", str(library)], check=True)
    return library


@pytest.mark.parametrize("scenario", ["clients", "mutual", "upstreams"])
def test_an_allocation_that_fails_costs_its_connection_alone(hook: Path, scenario: str) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1]), str(here.parents[2])])
    run = subprocess.run(
        [sys.executable, str(here / "library_memory.py"), str(hook), scenario, "1", str(STEP)],
        capture_output=True, text=True, timeout=300 if STEP > 1 else 3600, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    *problems, failed = run.stdout.splitlines() or ["nothing was said"]
    assert (run.returncode, problems) == (0, []), (problems[:5], failed, run.stderr[-2000:])
    assert int(failed) > 2000 // STEP, "allocations are made, and they fail"
