"""Processors that control groups leave, read from trees as the two versions have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastgw.supervisor.control_groups import folders, usable_cores
from fastgw.supervisor.settings import Settings


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def cores(folder: Path, membership: str, files: dict[str, str]) -> int:
    (folder / "membership").write_text(membership)
    for name, text in files.items():
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return usable_cores(str(folder / "membership"), str(folder / "tree"))


@pytest.mark.parametrize(
    ("quota", "wanted"),
    [("max 100000", 8), ("50000 100000", 1), ("150000 100000", 2), ("400000 100000", 4), ("900000 100000", 8), ("?", 8)],
)
def test_version_2(tmp_path: Path, quota: str, wanted: int) -> None:
    assert cores(tmp_path, "0::/a/b\n", {"a/b/cpu.max": quota, "a/cpu.max": "max 100000"}) == wanted


def test_a_quota_above_bounds_what_is_below(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}) == 3


@pytest.mark.parametrize(("quota", "wanted"), [("-1", 8), ("250000", 3), ("1000", 1)])
def test_version_1(tmp_path: Path, quota: str, wanted: int) -> None:
    files = {"cpu/docker/cpu.cfs_quota_us": quota, "cpu/docker/cpu.cfs_period_us": "100000"}
    assert cores(tmp_path, "3:cpuset:/\n1:cpu,cpuacct:/docker\n0::/\n", files) == wanted


def test_without_groups_it_is_what_we_may_run_on(tmp_path: Path) -> None:
    assert usable_cores(str(tmp_path / "none"), str(tmp_path)) == 8 and list(folders("cpu", str(tmp_path / "none"))) == []
    assert Settings(workers=3).worker_count() == 3
