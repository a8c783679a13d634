"""The watcher notices every way configuration changes on disk. No test depends on how soon: each waits until it is told."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastgw.sources import watch
from fastgw.sources.files import list_files
from fastgw.sources.inotify import Inotify
from fastgw.sources.watch import Watcher, changes, stamps_of

WAIT_S = 20


class Told:
    """Counts the calls of on_change."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        self.event.set()

    def wait(self) -> None:
        assert self.event.wait(WAIT_S), "the change was not noticed"
        self.event.clear()


Watch = Callable[..., Told]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Starts watchers whose look at all files never comes, so that only inotify can have told."""
    monkeypatch.setattr(watch, "RESCAN_S", 3600.0)
    watchers: list[Watcher] = []

    def start(*paths: Path, every_name: bool = False) -> Told:
        told = Told()
        watcher = Watcher([str(path) for path in paths], told, every_name=every_name)
        watchers.append(watcher)
        watcher.start()
        assert watcher.degraded == ""
        return told

    yield start
    for watcher in watchers:
        watcher.close()


def test_new_file(tmp_path: Path, watched: Watch) -> None:
    told = watched(tmp_path)
    (tmp_path / "a.yaml").write_text("a: 1")
    told.wait()


def test_written_in_place_without_closing(tmp_path: Path, watched: Watch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    told = watched(tmp_path)
    with file.open("r+") as handle:
        handle.write("b")
        handle.flush()
        told.wait()


def test_renamed_over(tmp_path: Path, watched: Watch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    told = watched(file)
    (tmp_path / "new").write_text("a: 2")
    os.replace(tmp_path / "new", file)
    told.wait()


def test_removed(tmp_path: Path, watched: Watch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    told = watched(tmp_path)
    file.unlink()
    told.wait()


def test_directory_made_later(tmp_path: Path, watched: Watch) -> None:
    told = watched(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    told.wait()
    (tmp_path / "deep" / "er" / "a.yaml").write_text("a: 1")
    told.wait()


def test_path_that_does_not_exist_yet(tmp_path: Path, watched: Watch) -> None:
    target = tmp_path / "conf" / "live"
    told = watched(target)
    target.mkdir(parents=True)
    told.wait()
    (target / "a.yaml").write_text("a: 1")
    told.wait()


def test_kubernetes_exchanges_the_data_link(tmp_path: Path, watched: Watch) -> None:
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    told = watched(tmp_path)
    (tmp_path / "..data_tmp").symlink_to("..2")
    os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
    told.wait()


def test_target_of_a_link_outside(tmp_path: Path, watched: Watch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.yaml").write_text("a: 1")
    (tmp_path / "conf" / "a.yaml").symlink_to(tmp_path / "real" / "x.yaml")
    told = watched(tmp_path / "conf")
    (tmp_path / "real" / "x.yaml").write_text("a: 2")
    told.wait()


def test_release_link_in_the_middle_of_the_path(tmp_path: Path, watched: Watch) -> None:
    for release in ("r1", "r2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.yaml").write_text(release)
    (tmp_path / "current").symlink_to("r1")
    told = watched(tmp_path / "current")
    (tmp_path / "next").symlink_to("r2")
    os.replace(tmp_path / "next", tmp_path / "current")
    told.wait()
    (tmp_path / "r2" / "a.yaml").write_text("again")
    told.wait()


def test_other_files_are_not_configuration(tmp_path: Path, watched: Watch) -> None:
    told = watched(tmp_path)
    for name in ("access.log", ".a.yaml.swp", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "a.yaml").write_text("a: 1")
    told.wait()
    assert told.calls == 1


def test_every_name_for_certificates(tmp_path: Path, watched: Watch) -> None:
    told = watched(tmp_path, every_name=True)
    (tmp_path / "tls.crt").write_text("x")
    told.wait()


def test_directories_beside_the_paths_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory above may be as busy as /tmp."""
    monkeypatch.setattr(watch, "RESCAN_S", 3600.0)
    config = tmp_path / "config"
    config.mkdir()
    told = Told()
    watcher = Watcher([str(config)], told)
    watcher.start()
    try:
        (tmp_path / "beside").mkdir()
        (tmp_path / "beside").rmdir()
        (config / "a.yaml").write_text("")
        told.wait()
        assert watcher.take_changed() == {str(config / "a.yaml")}, "not: any file may have changed"
    finally:
        watcher.close()


def test_loop_of_links_ends(tmp_path: Path, watched: Watch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    told = watched(tmp_path)
    (tmp_path / "a" / "a.yaml").write_text("a: 1")
    told.wait()


def test_burst_is_few_changes(tmp_path: Path, watched: Watch) -> None:
    told = watched(tmp_path)
    for number in range(500):
        (tmp_path / f"{number}.yaml").write_text("a: 1")
    told.wait()
    assert told.calls < 100


def test_error_while_reading_does_not_end_the_watch(tmp_path: Path, watched: Watch, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()

    def fail() -> None:
        told()
        raise RuntimeError("broken")

    watcher = Watcher([str(tmp_path)], fail)
    watcher.start()
    try:
        (tmp_path / "a.yaml").write_text("a: 1")
        told.wait()
        (tmp_path / "b.yaml").write_text("a: 1")
        told.wait()
    finally:
        watcher.close()
    assert "broken" in caplog.text


def test_works_without_inotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Inotify) -> None:
        raise OSError(errno.EMFILE, "too many instances", "inotify_init1")

    monkeypatch.setattr(Inotify, "__init__", refuse)
    told = Told()
    watcher = Watcher([str(tmp_path)], told)
    watcher.start()
    try:
        assert "too many instances" in watcher.degraded
        (tmp_path / "a.yaml").write_text("a: 1")
        told.wait()
    finally:
        watcher.close()


def test_look_at_all_files_catches_what_inotify_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RESCAN_S", 0.05)
    monkeypatch.setattr(Inotify, "read", lambda self: os.read(self.descriptor, 65536) and [])
    told = Told()
    watcher = Watcher([str(tmp_path)], told)
    watcher.start()
    try:
        (tmp_path / "a.yaml").write_text("a: 1")
        told.wait()
    finally:
        watcher.close()


def test_an_event_does_not_wait_for_the_look_at_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two looks the first is given up for the event that comes in the midst of it, for others it is not."""
    for number in range(6):
        (tmp_path / f"{number}.yaml").write_text("a: 1")
    monkeypatch.setattr(watch, "LOOK_AT_ONCE", 2)
    looked_at: list[list[str]] = []

    def stamps(files: list[str]) -> dict[str, tuple[int, ...]]:
        looked_at.append([os.path.basename(file) for file in files])
        if len(looked_at) == 2:
            (tmp_path / "5.yaml").write_text("a: 2")
        if len(looked_at) == 4:
            (tmp_path / "notes.txt").write_text("of no concern")
        return stamps_of(files)

    watcher = Watcher([str(tmp_path)], lambda: None)
    watcher._inotify = Inotify()
    watcher._watch_directories()
    monkeypatch.setattr(watch, "stamps_of", stamps)
    assert not watcher._rescan()
    assert watcher.take_changed() == {str(tmp_path / "5.yaml")}
    assert watcher._rescan()
    assert looked_at[:2] == [["0.yaml", "1.yaml"], ["2.yaml", "3.yaml"]]
    assert looked_at[2:] == [["0.yaml", "1.yaml"], ["2.yaml", "3.yaml"], ["4.yaml", "5.yaml"]]
    watcher._inotify.close()
    for descriptor in (watcher._wake_read, watcher._wake_write):
        os.close(descriptor)


def test_snapshot_tells_a_change_of_any_kind(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    before = stamps_of(list_files([str(tmp_path)])[0])
    assert before == stamps_of(list_files([str(tmp_path)])[0])
    file.write_text("a: 22")
    assert before != stamps_of(list_files([str(tmp_path)])[0])


def test_close_twice(tmp_path: Path) -> None:
    watcher = Watcher([str(tmp_path)], lambda: None)
    watcher.start()
    watcher.close()
    watcher.close()


def test_changes_for_asyncio(tmp_path: Path) -> None:
    async def one_change() -> int:
        seen = 0
        stream = changes([str(tmp_path)])
        waiting = asyncio.ensure_future(anext(stream))
        while not waiting.done():
            (tmp_path / "a.yaml").write_text(f"a: {seen}")
            seen += 1
            await asyncio.sleep(0.05)
        await stream.aclose()
        return seen

    assert asyncio.run(asyncio.wait_for(one_change(), WAIT_S)) > 0
