"""The history of generations: kept once by content, bounded, whole after a crash, one gateway a directory."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fastgw.supervisor import history
from fastgw.supervisor.history import Entry, History, NotKept
from fastgw.supervisor.settings import SettingsError


def entry(generation: int) -> Entry:
    return Entry(generation, 1000.0 + generation, "sources")


@pytest.fixture(params=["memory", "disk"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> History:
    return History(str(tmp_path) if request.param == "disk" else "")


def test_plans_are_found_again_and_equal_ones_are_one(kept: History) -> None:
    for generation, plan in ((1, b"a"), (2, b"b"), (3, b"a")):
        kept.add(entry(generation), plan)
    assert [kept.plan(kept.find(generation)) for generation in (1, 2, 3)] == [b"a", b"b", b"a"]
    assert kept.find(1).plan == kept.find(3).plan and kept.last_generation == 3
    with pytest.raises(NotKept, match="these are: 1, 2, 3"):
        kept.find(4)


def test_the_oldest_go(kept: History) -> None:
    for generation in range(1, 30):
        kept.add(entry(generation), str(generation).encode())
    assert [each.generation for each in kept.entries] == list(range(10, 30))
    assert kept.plan(kept.find(10)) == b"10"


def test_what_is_served_again_and_again_displaces_nothing_else(kept: History) -> None:
    for generation, plan in enumerate([b"good", b"bad", *[b"now"] * 50], 1):
        kept.add(entry(generation), plan)
    assert len(kept.entries) == history.KEPT
    assert [each.generation for each in kept.entries][:3] == [1, 2, 35]
    assert (kept.plan(kept.find(1)), kept.plan(kept.find(52))) == (b"good", b"now")


def test_a_plan_that_could_not_be_had_is_no_snapshot(kept: History) -> None:
    assert kept.last_good() is None
    kept.add(entry(1), b"good")
    kept.add(entry(2), None)
    last = kept.last_good()
    assert last is not None and last.generation == 1
    with pytest.raises(NotKept, match="plan of generation 2"):
        kept.plan(kept.find(2))


def test_it_outlives_the_process(tmp_path: Path) -> None:
    first = History(str(tmp_path))
    first.add(entry(1), b"a")
    with pytest.raises(SettingsError, match="another gateway"):
        History(str(tmp_path))
    first.close()
    second = History(str(tmp_path))
    assert second.plan(second.find(1)) == b"a" and second.last_generation == 1
    second.close()


def test_damage_is_noticed(tmp_path: Path) -> None:
    first = History(str(tmp_path))
    first.add(entry(1), b"a")
    (path,) = (tmp_path / "history").glob("*.gz")
    for content in (gzip.compress(b"other"), b"no gzip", path.read_bytes()[:-3]):
        path.write_bytes(content)
        with pytest.raises(NotKept):
            first.plan(first.find(1))
    path.unlink()
    with pytest.raises(NotKept):
        first.plan(first.find(1))
    first.close()
    (tmp_path / "history/index.json").write_text("{")
    again = History(str(tmp_path))
    assert again.entries == []
    again.close()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="--state-dir"):
        History(str(tmp_path / "file"))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(history, "MEMORY_BYTES", 25_000)
    kept = History()
    for generation in range(1, 6):
        kept.add(entry(generation), os.urandom(10_000))
    assert [bool(each.plan) for each in kept.entries] == [False, False, False, True, True]
