"""What an ErrorPages has to look like; one line a mistake, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.model.error_pages import MAX_PAGE_BYTES
from fastgw.sources.files import load_paths

HEAD = "apiVersion: gateway.fastgw.io/v1\nkind: ErrorPages\nmetadata: {name: p}\nspec:\n"
TARGET = "  targetRefs: [{kind: Gateway, name: gw}]\n"
GOOD = "{contentType: text/html, body: x}"


@pytest.mark.parametrize(
    ("spec", "line", "words"),
    [
        (f"  pages: {{503: [{GOOD}]}}\n", 5, "no target"),
        (f"{TARGET}  pages: {{200: [{GOOD}]}}\n", 6, '"200" is neither a status from 400 to 599 nor 4xx or 5xx'),
        (f"{TARGET}  pages: {{6xx: [{GOOD}]}}\n", 6, '"6xx" is neither'),
        (f"{TARGET}  pages: {{503: []}}\n", 6, "no page for 503"),
        (f"{TARGET}  pages: {{503: [{{body: x}}]}}\n", 6, "contentType"),
        (f"{TARGET}  pages: {{503: [{{contentType: html, body: x}}]}}\n", 6, '"html" is no content type'),
        (f"{TARGET}  pages: {{503: [{{contentType: text/html}}]}}\n", 6, "one of body and file"),
        (f"{TARGET}  pages: {{503: [{{contentType: text/html, body: x, file: z}}]}}\n", 6, "one of body and file"),
        (f"{TARGET}  pages:\n    503:\n    - {{contentType: text/html, file: /etc/passwd}}\n", 8, 'neither "/" at its begin'),
        (
            f"{TARGET}  pages:\n    503:\n    - {{contentType: text/html, body: {'x' * (MAX_PAGE_BYTES + 1)}}}\n",
            8,
            "more than 65536",
        ),
        (f"  targetRefs: [{{kind: Gateway, name: gw, routes: [a]}}]\n  pages: {{503: [{GOOD}]}}\n", 5, "a Gateway has no routes"),
    ],
)
def test_what_is_left_out(tmp_path: Path, spec: str, line: int, words: str) -> None:
    (tmp_path / "a.yaml").write_text(HEAD + spec)
    result = load_paths([str(tmp_path)], "istio-system")
    assert not result.resources
    [found] = [found for found in result.diagnostics if found.code == "IST0106"]
    assert (found.origin.line, found.severity) == (line, "error"), found.text()
    assert words in found.message, found.message


@pytest.mark.parametrize(
    ("pages", "words"),
    [("{}", "no page: it has no effect"), (f"{{503: [{GOOD}, {GOOD}]}}", 'another page for 503 has "text/html"')],
)
def test_what_is_hardly_meant(tmp_path: Path, pages: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(f"{HEAD}{TARGET}  pages: {pages}\n")
    result = load_paths([str(tmp_path)], "istio-system")
    assert len(result.resources) == 1
    assert [(found.code, words in found.message) for found in result.diagnostics] == [("IST0133", True)]
