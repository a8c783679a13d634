"""Rules of ErrorPages: statuses, content types, one source of each body. What is in the files is looked at when they are read."""

from __future__ import annotations

from pathlib import PurePosixPath

from fastgw.analysis.findings import Findings
from fastgw.analysis.validate_served_targets import check_served_targets
from fastgw.model.error_pages import MAX_PAGE_BYTES, content_type_of, is_too_large, statuses_of
from fastgw.model.kinds.error_pages import ErrorPages, Page
from fastgw.model.paths import join_index, join_key


def validate_error_pages(findings: Findings) -> None:
    spec: ErrorPages = findings.spec
    check_served_targets(findings, spec.target_refs)
    if not spec.pages:
        findings.warn("spec.pages", "no page: it has no effect")
    for status, pages in spec.pages.items():
        path = join_key("spec.pages", status)
        try:
            statuses_of(status)
        except ValueError as problem:
            findings.error(path, str(problem))
        if not pages:
            findings.error(path, f"no page for {status}: list at least one, with contentType and body or file")
        seen: set[str] = set()
        for index, page in enumerate(pages):
            _check_page(findings, join_index(path, index), page)
            if page.content_type.lower() in seen:
                findings.warn(f"{join_index(path, index)}.contentType", f'another page for {status} has "{page.content_type}"')
            seen.add(page.content_type.lower())


def _check_page(findings: Findings, path: str, page: Page) -> None:
    try:
        content_type_of(page.content_type)
    except ValueError as problem:
        findings.error(f"{path}.contentType", str(problem))
    if (page.body is None) == (not page.file):
        findings.error(path, "it is one of body and file")
    if page.body is not None and is_too_large(page.body):
        findings.error(f"{path}.body", f"more than {MAX_PAGE_BYTES} bytes")
    if page.file:
        findings.problem(f"{path}.file", _file_problem(page.file))


def _file_problem(file: str) -> str:
    parts = PurePosixPath(file).parts
    if file.startswith("/") or ".." in parts or "\0" in file:
        return f'"{file}" is no path below the directory of this file: neither "/" at its begin nor ".." is allowed'
    return ""
