"""Resources from files and directories: every kind of bad input is one line that says what and where, and costs nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fastgw.sources import files
from fastgw.sources.files import FileCache, LoadResult, list_files, load_paths

SERVICE = """apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80}}]}}
"""


def service(name: str) -> str:
    return SERVICE.format(name=name)


def load(*paths: Path | str, cache: FileCache | None = None) -> LoadResult:
    return load_paths([str(path) for path in paths], "istio-system", cache)


def lines(result: LoadResult) -> list[str]:
    return [found.text() for found in result.diagnostics]


def names(result: LoadResult) -> list[str]:
    return [resource.name for resource in result.resources]


def test_directory_recursively_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.yml").write_text(service("three"))
    (tmp_path / "a.yaml").write_text(service("one") + "---\n" + service("two"))
    (tmp_path / "c.json").write_text('{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "four"}}')
    (tmp_path / "notes.txt").write_text("not: [config")
    (tmp_path / ".hidden.yaml").write_text("not: [config")
    result = load(tmp_path)
    assert names(result) == ["one", "two", "three", "four"]
    assert [resource.order for resource in result.resources] == [0, 1, 2, 3]
    assert result.diagnostics == []
    assert result.files == [str(tmp_path / "a.yaml"), str(tmp_path / "b" / "x.yml"), str(tmp_path / "c.json")]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("one"))
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    result = load(tmp_path, tmp_path / "a.yaml", f"{tmp_path}/./a.yaml")
    assert names(result) == ["one"]
    assert result.diagnostics == []


def test_a_file_that_is_named_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(service("one"))
    assert names(load(tmp_path / "config")) == ["one"]


def test_missing_path(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("one"))
    result = load(tmp_path / "nope", tmp_path)
    assert lines(result) == [f"{tmp_path}/nope: error[FGW0001]: no such file or directory"]
    assert names(result) == ["one"]


def test_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere.yaml")
    assert lines(load(tmp_path)) == [f"{tmp_path}/a.yaml: error[FGW0001]: no such file or directory"]


def test_unreadable_file_and_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(service("one"))
    (tmp_path / "b.yaml").write_text(service("two"))
    (tmp_path / "closed").mkdir()
    real_open, real_scandir = os.open, os.scandir

    def guarded_open(path: str, flags: int, *rest: int) -> int:
        if path.endswith("a.yaml"):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, flags, *rest)

    def guarded_scandir(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(files.os, "open", guarded_open)
    monkeypatch.setattr(files.os, "scandir", guarded_scandir)
    result = load(tmp_path)
    assert lines(result) == [
        f"{tmp_path}/closed: error[FGW0002]: cannot be read: permission denied",
        f"{tmp_path}/a.yaml: error[FGW0002]: cannot be read: permission denied",
    ]
    assert names(result) == ["two"]


def test_directory_without_configuration(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert lines(load(tmp_path)) == [
        f"{tmp_path}: warning[FGW0003]: no *.yaml, *.yml, *.json file in this directory",
        f"error[FGW0004]: no resource was found in {tmp_path}",
    ]


def test_only_empty_documents(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("---\n---\n# nothing\n")
    assert lines(load(tmp_path)) == [f"error[FGW0004]: no resource was found in {tmp_path}"]


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.yaml"))
        result = load(tmp_path)
    assert [found.code for found in result.diagnostics] == ["FGW0002", "FGW0002"]
    assert "not a regular file" in lines(result)[0]


def test_file_too_large(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate((256 << 20) + 1)
    (tmp_path / "b.yaml").write_text(service("one"))
    result = load(tmp_path)
    assert lines(result) == [f"{tmp_path}/a.yaml: error[FGW0007]: the file is larger than 256 MiB"]
    assert names(result) == ["one"]


def test_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "me.yaml").symlink_to("me.yaml")
    (tmp_path / "z.yaml").write_text(service("one"))
    result = load(tmp_path)
    assert lines(result) == [
        f"{tmp_path}/deep/up: warning[FGW0008]: a symbolic link leads back to a directory above it, not followed",
        f"{tmp_path}/me.yaml: error[FGW0002]: cannot be read: a symbolic link that leads to itself",
    ]
    assert names(result) == ["one"]


def test_mounted_config_map(tmp_path: Path) -> None:
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024" / "a.yaml").write_text(service("one"))
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    result = load(tmp_path)
    assert names(result) == ["one"]
    assert result.diagnostics == []


def test_duplicate_resource_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("one"))
    (tmp_path / "b.yaml").write_text("# first\n" + service("one"))
    result = load(tmp_path)
    assert lines(result) == [
        f"{tmp_path}/b.yaml:4:18: error[FGW0010]: Service default/one: is here a second time and left out, "
        f"the first one is at {tmp_path}/a.yaml:1:1"
    ]
    assert [resource.origin.file for resource in result.resources] == [f"{tmp_path}/a.yaml"]


def test_same_name_in_another_namespace_or_kind_is_no_duplicate(tmp_path: Path) -> None:
    other = service("one").replace("{name: one}", "{name: one, namespace: other}")
    entry = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: one}\n"
    (tmp_path / "a.yaml").write_text("---\n".join((service("one"), other, entry)))
    result = load(tmp_path)
    assert [(resource.kind, resource.key) for resource in result.resources] == [
        ("Service", "default/one"),
        ("Service", "other/one"),
        ("Endpoints", "default/one"),
    ]
    assert result.diagnostics == []


def test_secrets_belong_to_the_gateway(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: c}\n"
    (tmp_path / "a.yaml").write_text(secret + "---\n" + secret.replace("name: c", "name: c, namespace: own"))
    assert [resource.key for resource in load(tmp_path).resources] == ["istio-system/c", "own/c"]


class TestCache:
    def test_unchanged_files_keep_their_objects(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(service("one"))
        (tmp_path / "b.yaml").write_text(service("two"))
        cache = FileCache()
        first = load(tmp_path, cache=cache)
        assert cache.files_parsed == 2
        (tmp_path / "b.yaml").write_text(service("three"))
        second = load(tmp_path, cache=cache)
        assert cache.files_parsed == 3
        assert names(second) == ["one", "three"]
        assert second.resources[0] is first.resources[0]

    def test_stamp_decides_once_a_file_has_settled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "RACY_NS", -(10**18))
        file = tmp_path / "a.yaml"
        file.write_text(service("one"))
        cache = FileCache()
        first = load(file, cache=cache)
        monkeypatch.setattr(files, "_read_file", lambda path: pytest.fail("read again"))
        assert load(file, cache=cache).resources[0] is first.resources[0]

    def test_change_right_after_reading_with_the_same_size_and_time(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(service("one"))
        cache = FileCache()
        load(file, cache=cache)
        before = file.stat()
        with file.open("r+") as handle:
            handle.write(service("two"))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert names(load(file, cache=cache)) == ["two"]

    def test_touched_file_keeps_its_objects(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(service("one"))
        cache = FileCache()
        first = load(file, cache=cache)
        os.utime(file, ns=(1, 1))
        assert load(file, cache=cache).resources[0] is first.resources[0]
        assert cache.files_parsed == 1

    def test_removed_files_are_forgotten(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(service("one"))
        cache = FileCache()
        load(tmp_path, cache=cache)
        file.rename(tmp_path / "away")
        assert names(load(tmp_path, cache=cache)) == []
        (tmp_path / "away").rename(file)
        load(tmp_path, cache=cache)
        assert cache.files_parsed == 2

    def test_diagnostics_stay(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("a: 1: 2\n---\n" + service("one"))
        cache = FileCache()
        assert lines(load(tmp_path, cache=cache)) == lines(load(tmp_path, cache=cache)) != []

    def test_order_follows_the_files_that_are_there(self, tmp_path: Path) -> None:
        (tmp_path / "b.yaml").write_text(service("two"))
        cache = FileCache()
        load(tmp_path, cache=cache)
        (tmp_path / "a.yaml").write_text(service("one"))
        assert [(one.name, one.order) for one in load(tmp_path, cache=cache).resources] == [("one", 0), ("two", 1)]


def test_every_name_for_certificates(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("x")
    assert list_files([str(tmp_path)], every_name=True)[0] == [str(tmp_path / "tls.crt")]
    assert list_files([str(tmp_path)])[0] == []


@pytest.mark.parametrize("name", ["a/b", "a b", '"a\\nb"', "-a", "x" * 254, '"../a"'])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(service(name))
    result = load(tmp_path)
    assert [(found.code, found.path) for found in result.diagnostics] == [("IST0106", "metadata.name")]
    assert names(result) == []


def test_namespace_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a, namespace: b/c"))
    assert [found.path for found in load(tmp_path).diagnostics] == ["metadata.namespace"]
