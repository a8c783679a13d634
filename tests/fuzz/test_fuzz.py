"""A short run of every libFuzzer target over its seeds.

Each target runs for 30 seconds; ``FASTGW_FUZZ_SECONDS=5`` makes that shorter (while working on something else) or longer.
Longer campaigns: ``make fuzz``.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from corpus import CORPORA, write

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BUILD = ROOT / "build" / "fuzz"
SECONDS = "30"


def run(*command: str) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
    return done.stdout


def build(target: str) -> Path:
    """Path of a built target; one process of a parallel test run builds at a time, and a target that does not build fails alone."""
    BUILD.mkdir(parents=True, exist_ok=True)
    clang, clangxx = shutil.which("clang"), shutil.which("clang++")
    assert clang and clangxx, "the fuzz targets need clang and its fuzzer runtime (Debian: clang libclang-rt-14-dev)"
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compilers = [f"-DCMAKE_C_COMPILER={clang}", f"-DCMAKE_CXX_COMPILER={clangxx}"]
        run("cmake", "-S", str(ROOT), "-B", str(BUILD), "-DFGW_FUZZERS=ON", *compilers)
        run("cmake", "--build", str(BUILD), "--target", target, "--parallel", str(os.cpu_count() or 1))
    return BUILD / target


def limits() -> list[str]:
    """How long libFuzzer may run."""
    return [f"-max_total_time={os.environ.get('FASTGW_FUZZ_SECONDS', SECONDS)}"]


def test_every_target_has_seeds() -> None:
    assert set(CORPORA) == {p.stem for p in HERE.glob("fuzz_*.c")}


@pytest.mark.parametrize("target", sorted(CORPORA))
def test_fuzz(target: str, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    assert write(target, seeds) >= 8
    dictionary = HERE / f"{target}.dict"
    longest = max(seed.stat().st_size for seed in seeds.iterdir())  # a seed that is cut is worth nothing
    options = [*limits(), "-timeout=10", f"-max_len={max(8192, longest)}", f"-artifact_prefix={tmp_path}/"]
    if dictionary.exists():
        options.append(f"-dict={dictionary}")
    output = run(str(build(target)), *options, str(seeds))
    done = re.search(r"Done (\d+) runs", output)
    assert done and int(done[1]) > len(list(seeds.iterdir())), output[-2000:]
