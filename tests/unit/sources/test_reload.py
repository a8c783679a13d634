"""Reading only the files that are named gives what reading all of them gives, and the watcher names them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from random import Random

import pytest

from fastgw.sources import files, watch
from fastgw.sources.files import FileCache, LoadResult, load_paths
from fastgw.sources.watch import Watcher

WAIT_S = 20


def service(name: str, port: int = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"


def load(folder: Path, cache: FileCache | None = None, changed: set[Path] | None = None) -> LoadResult:
    named = None if changed is None else {os.path.realpath(path) for path in changed}
    return load_paths([str(folder)], "istio-system", cache, named)


def essence(result: LoadResult) -> object:
    resources = [(one.kind, one.name, one.order, one.origin, one.spec) for one in result.resources]
    return resources, [found.text() for found in result.diagnostics], result.files


def some_text(random: Random, number: int) -> str:
    kind = random.choice(["same", "same", "same", "other port", "two", "none", "broken", "twice"])
    own = f"service-{number}"
    return {
        "same": service(own),
        "other port": f"# moved\n{service(own, random.randint(1, 9))}",
        "two": service(own) + "---\n" + service(own + "-b"),
        "none": "",
        "broken": "a: [b\n",
        "twice": service("service-0"),
    }[kind]


@pytest.mark.parametrize("seed", range(8))
def test_random_edits_load_as_afresh(tmp_path: Path, seed: int) -> None:
    random, cache = Random(seed), FileCache()
    places = [tmp_path / f"{number}.yaml" for number in range(6)]
    for number, place in enumerate(places):
        place.write_text(service(f"service-{number}"))
    load(tmp_path, cache)
    for _ in range(25):
        changed = set(random.sample(places, random.randint(1, 2)))
        for place in changed:
            if random.random() < 0.1:
                place.unlink(missing_ok=True)
            else:
                place.write_text(some_text(random, places.index(place)))
        assert essence(load(tmp_path, cache, changed)) == essence(load(tmp_path))


def test_files_that_are_not_named_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yaml").write_text(service(name))
    cache = FileCache()
    before = load(tmp_path, cache)
    read: list[str] = []
    original = files._read_file
    monkeypatch.setattr(files, "_read_file", lambda path: read.append(path) or original(path))
    monkeypatch.setattr(files, "index_files", lambda paths: pytest.fail("all files were looked at"))
    (tmp_path / "b.yaml").write_text(service("b", 81))
    after = load(tmp_path, cache, {tmp_path / "b.yaml"})
    assert read == [str(tmp_path / "b.yaml")]
    assert [one is other for one, other in zip(before.resources, after.resources, strict=True)] == [True, False, True]
    assert before.resources[1].spec.ports[0].port == 80


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    monkeypatch.setattr(watch, "RESCAN_S", 3600.0)
    (tmp_path / "a.yaml").write_text("a: 1")
    event = threading.Event()
    watcher = Watcher([str(tmp_path)], event.set)
    watcher.start()

    def next_change() -> frozenset[str] | None:
        assert event.wait(WAIT_S)
        event.clear()
        return watcher.take_changed()

    yield next_change
    watcher.close()


def test_the_watcher_names_a_file_that_is_written(tmp_path: Path, told) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.yaml").write_text("a: 2")
    assert told() == {os.path.realpath(tmp_path / "a.yaml")}


def test_the_watcher_names_a_file_that_is_exchanged(tmp_path: Path, told) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "draft").write_text("a: 3")
    (tmp_path / "draft").rename(tmp_path / "a.yaml")
    assert told() == {os.path.realpath(tmp_path / "a.yaml")}


def test_the_watcher_does_not_vouch_for_a_new_directory(tmp_path: Path, told) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "more").mkdir()
    assert told() is None
