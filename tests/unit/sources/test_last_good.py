"""What breaks in a file that is served stays as it was, what is removed from it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.sources import files
from fastgw.sources.files import FileCache, LoadResult, load_paths

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {{name: {0}}}\nspec: {{ports: [{{port: {1}}}]}}\n"
ROUTES = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {0}}}
spec: {{hosts: [{0}.test], {1}: [{{route: [{{destination: {{host: a}}}}]}}]}}
"""


def several(*documents: str) -> str:
    return "---\n".join(documents)


GOOD = several(SERVICE.format("a", 1), SERVICE.format("b", 2), ROUTES.format("c", "http"))


class Loader:
    def __init__(self, directory: Path, text: str) -> None:
        self.file = directory / "x.yaml"
        (directory / "y.yaml").write_text(SERVICE.format("other", 9))
        self.cache = FileCache(keeps_last_good=True)
        self.load(text)

    def load(self, text: str | bytes | None = None) -> LoadResult:
        if text is not None:
            self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_paths([str(self.file.parent)], "istio-system", self.cache)

    def served(self, text: str | bytes | None = None) -> str:
        """Names in order."""
        return " ".join(resource.name for resource in self.load(text).resources)


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("text", "served", "kept"),
    [
        ("", "other", ""),
        (SERVICE.format("b", 2), "b other", ""),
        (b"\xff\xfe", "a b c other", "a b c"),
        ("just text", "a b c other", "a b c"),
        ("<<<<<<< HEAD\n" + GOOD, "a b c other", "a"),
        (several(SERVICE.format("b", 3), "kind: [never closed\n"), "a b c other", "a c"),
        (several(SERVICE.format("c", 3), ROUTES.format("c", "htp")), "c c other", "c"),
        (several(ROUTES.format("c", "htp"), SERVICE.format("new", 1)), "new c other", "c"),
        (several(ROUTES.format("c", "http").replace("Virtual", "Virtul"), SERVICE.format("b", 1)), "b c other", "c"),
        (several(ROUTES.format("d", "htp"), SERVICE.format("a", 1)), "a other", ""),
    ],
    ids=["emptied", "removed", "no-text", "no-mapping", "merge", "syntax", "field", "field-and-new", "kind", "another"],
)
def test_what_stays(loader: Loader, text: str | bytes, served: str, kept: str) -> None:
    result = loader.load(text)
    assert " ".join(resource.name for resource in result.resources) == served
    told = [found.message for found in result.diagnostics if found.code == "FGW0017"]
    assert len(told) == bool(kept) and all(f"default/{name}" in told[0] for name in kept.split())
    assert loader.served() == served, "it is the same when asked again"
    assert loader.served(GOOD) == "a b c other" and not loader.load().diagnostics


def test_new_versions_count_old_ones_fill_up(loader: Loader) -> None:
    result = loader.load(several(SERVICE.format("b", 33), "kind: [never closed\n"))
    assert [resource.spec.ports[0].port for resource in result.resources if resource.kind == "Service"] == [1, 33, 9]
    (told,) = [found.text() for found in result.diagnostics if found.code == "FGW0017"]
    assert "Service default/a, VirtualService default/c stay as they were before" in told and "x.yaml" in told
    assert loader.served("also [not yaml") == "a b c other", "broken in another way"
    result = loader.load(several(ROUTES.format("c", "htp")))
    assert [resource.name for resource in result.resources] == ["c", "other"], "what is removed by now goes"


def test_a_file_that_cannot_be_read_for_a_while(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files._read_file

    def refuse(path: str) -> tuple[tuple[int, ...] | None, bytes]:
        if path.endswith("x.yaml"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(files, "_read_file", refuse)
    monkeypatch.setattr(files, "_stamp", lambda info: ())
    result = loader.load()
    assert [resource.name for resource in result.resources] == ["a", "b", "c", "other"]
    assert [found.code for found in result.diagnostics] == ["FGW0002", "FGW0017"]
    monkeypatch.undo()
    assert loader.served() == "a b c other" and not loader.load().diagnostics
    loader.file.unlink()
    assert loader.served() == "other", "a file that is gone takes its objects along"


def test_a_check_knows_no_before(tmp_path: Path) -> None:
    loader = Loader(tmp_path, GOOD)
    loader.cache = FileCache()
    loader.load()
    assert loader.served("just text") == "other"
