"""Files of error pages: read with the object that names them, only from below its directory, and again when they change."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fastgw.model.error_pages import MAX_PAGE_BYTES
from fastgw.sources.files import FileCache, LoadResult, load_paths
from fastgw.sources.page_files import RACY_NS, are_unchanged

OBJECT = """apiVersion: gateway.fastgw.io/v1
kind: ErrorPages
metadata: {{name: pages}}
spec:
  targetRefs: [{{kind: Gateway, name: gw}}]
  pages:
    503:
    - contentType: text/html
      file: {file}
    - contentType: text/plain
      body: words
"""


def load(root: Path, cache: FileCache | None = None) -> LoadResult:
    return load_paths([str(root)], "istio-system", cache)


def write(root: Path, file: str = "503.html") -> Path:
    path = root / "pages.yaml"
    path.write_text(OBJECT.format(file=file))
    return path


def settle() -> None:
    """So long after a change the times of a file are believed."""
    time.sleep(2 * RACY_NS / 1_000_000_000)


def test_the_text_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, "errors/busy.html")
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors/busy.html").write_text("<p>Büsy")
    result = load(tmp_path)
    assert [resource.texts for resource in result.resources] == [{"errors/busy.html": "<p>Büsy"}]
    assert list(result.pages) == [f"{tmp_path}/errors/busy.html"]
    assert result.diagnostics == []


@pytest.mark.parametrize(("size", "usable"), [(0, True), (MAX_PAGE_BYTES, True), (MAX_PAGE_BYTES + 1, False)])
def test_the_largest_file(tmp_path: Path, size: int, usable: bool) -> None:
    write(tmp_path)
    (tmp_path / "503.html").write_bytes(b"x" * size)
    result = load(tmp_path)
    assert result.resources[0].texts == ({"503.html": "x" * size} if usable else {})
    assert [found.code for found in result.diagnostics] == ([] if usable else ["FGW0018"])


def unusable(root: Path, kind: str) -> None:
    page = root / "config/503.html"
    secret = root / "secret"
    secret.write_text("nobody is to see this")
    if kind == "directory":
        page.mkdir()
    elif kind == "pipe":
        os.mkfifo(page)
    elif kind == "link out":
        page.symlink_to(secret)
    elif kind == "directory that is a link out":
        (root / "elsewhere").mkdir()
        secret.rename(root / "elsewhere/secret")
        (root / "config/errors").symlink_to(root / "elsewhere")
    elif kind == "loop":
        page.symlink_to("503.html")
    elif kind == "bytes":
        page.write_bytes(b"abc\xff")


@pytest.mark.parametrize(
    ("kind", "file", "words"),
    [
        ("missing", "503.html", "is not there"),
        ("directory", "503.html", "is a directory"),
        ("pipe", "503.html", "is no regular file"),
        ("link out", "503.html", "which is not below the directory of this file"),
        ("directory that is a link out", "errors/secret", "which is not below the directory of this file"),
        ("loop", "503.html", "cannot be read"),
        ("bytes", "503.html", "is no text in UTF-8 (byte 3)"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, kind: str, file: str, words: str) -> None:
    """One line with its place; the object and its other pages stay."""
    config = tmp_path / "config"
    config.mkdir()
    write(config, file)
    unusable(tmp_path, kind)
    result = load(config)
    [found] = result.diagnostics
    assert (found.code, found.severity, found.origin.line) == ("FGW0018", "error", 9)
    assert f'"{file}"' in found.message and words in found.message, found.message
    assert [resource.texts for resource in result.resources] == [{}]


@pytest.mark.parametrize("file", ["/etc/passwd", "../secret", "errors/../../secret"])
def test_a_path_that_leads_out(tmp_path: Path, file: str) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (tmp_path / "secret").write_text("x")
    write(config, file)
    result = load(config)
    assert not result.resources
    assert [(found.code, found.origin.line) for found in result.diagnostics] == [("IST0106", 9)]


def test_files_as_a_config_map_mounts_them(tmp_path: Path) -> None:
    """The names in the directory are links to ``..data``, and that is one to the directory of today."""
    config = tmp_path / "config"
    for day in ("..2026_1", "..2026_2"):
        (config / day).mkdir(parents=True)
        write(config / day)
        (config / day / "503.html").write_text(day)
    (config / "..data").symlink_to("..2026_1")
    for name in ("pages.yaml", "503.html"):
        (config / name).symlink_to(f"..data/{name}")
    cache = FileCache()
    assert load(config, cache).resources[0].texts == {"503.html": "..2026_1"}
    (config / "..data").unlink()
    (config / "..data").symlink_to("..2026_2")
    result = load(config, cache)
    assert (result.resources[0].texts, result.diagnostics) == ({"503.html": "..2026_2"}, [])


def test_links_into_one_directory(tmp_path: Path) -> None:
    """As tools put configuration in place: what counts is where the object's file is really."""
    store, config = tmp_path / "store", tmp_path / "config"
    store.mkdir()
    config.mkdir()
    write(store)
    (store / "503.html").write_text("stored")
    for name in ("pages.yaml", "503.html"):
        (config / name).symlink_to(store / name)
    assert load(config).resources[0].texts == {"503.html": "stored"}


def test_a_changed_file_is_read_again_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path)
    page = tmp_path / "503.html"
    other = tmp_path / "other.yaml"
    other.write_text(OBJECT.format(file="other.html").replace("name: pages", "name: other"))
    page.write_text("one")
    (tmp_path / "other.html").write_text("other")
    settle()
    cache = FileCache()
    first = load(tmp_path, cache)
    parsed = cache.files_parsed
    assert are_unchanged(first.pages)
    assert load(tmp_path, cache).resources[1] is first.resources[1]
    assert cache.files_parsed == parsed
    page.write_text("two")
    assert not are_unchanged(first.pages)
    again = load(tmp_path, cache)
    assert [resource.texts for resource in again.resources] == [{"other.html": "other"}, {"503.html": "two"}]
    assert again.resources[0] is first.resources[0]
    assert cache.files_parsed == parsed + 1


def test_a_file_that_comes_and_goes(tmp_path: Path) -> None:
    write(tmp_path)
    page = tmp_path / "503.html"
    settle()
    cache = FileCache()
    assert [found.code for found in load(tmp_path, cache).diagnostics] == ["FGW0018"]
    page.write_text("here")
    result = load(tmp_path, cache)
    assert (result.resources[0].texts, result.diagnostics) == ({"503.html": "here"}, [])
    page.unlink()
    assert [found.code for found in load(tmp_path, cache).diagnostics] == ["FGW0018"]


def test_a_change_that_is_told(tmp_path: Path) -> None:
    """With the names of the changed files, as the watcher tells them."""
    main, page = write(tmp_path), tmp_path / "503.html"
    page.write_text("one")
    settle()
    cache = FileCache()
    load(tmp_path, cache)
    page.write_text("two")
    for changed in ({str(page)}, {str(main)}, {str(main), str(page)}):
        result = load_paths([str(tmp_path)], "istio-system", cache, changed)
        assert result.resources[0].texts == {"503.html": "two"}
        assert list(result.pages) == [str(page)]


def test_a_page_in_json_is_no_configuration(tmp_path: Path) -> None:
    write(tmp_path, "./503.json")
    (tmp_path / "503.json").write_text('{"error": 503}')
    (tmp_path / "values.json").write_text('{"error": 503}')
    result = load(tmp_path)
    assert result.resources[0].texts == {"./503.json": '{"error": 503}'}
    assert [(found.code, Path(found.origin.file).name) for found in result.diagnostics] == [("FGW0009", "values.json")]


def test_an_object_that_breaks_keeps_its_page(tmp_path: Path) -> None:
    """As long as its file is broken; afterwards the page is the one of that time."""
    main, page = write(tmp_path), tmp_path / "503.html"
    page.write_text("one")
    cache = FileCache(keeps_last_good=True)
    load(tmp_path, cache)
    text = main.read_text()
    main.write_text(text.replace("targetRefs", "targetRef"))
    page.write_text("two")
    broken = load(tmp_path, cache)
    assert ([resource.texts for resource in broken.resources], list(broken.pages)) == ([{"503.html": "one"}], [str(page)])
    main.write_text(text)
    assert load(tmp_path, cache).resources[0].texts == {"503.html": "two"}
