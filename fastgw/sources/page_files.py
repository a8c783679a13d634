"""Bodies of error pages that stand in files of their own: read with the object that names them.

A path begins in the directory of the object's file, and what its links lead to has to be below that directory (or below the one
that the object's file is really in), so that no configuration shows a file of the machine to clients.
"""

from __future__ import annotations

import os
import stat
import time

import msgspec

from fastgw.model.codes import severity_of
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.error_pages import MAX_PAGE_BYTES
from fastgw.model.kinds.error_pages import ErrorPages
from fastgw.model.paths import join_index, join_key
from fastgw.model.resource import Resource

CODE = "FGW0018"
RACY_NS = 50_000_000
"""A file changed this shortly before it was read may change again without its times telling."""

Stamps = dict[str, tuple[int, ...]]
"""Paths and what tells that a file has changed; () for a file that is missing."""
UNSETTLED = (0,)
"""Of a file that was read too soon after a change: as no file's is."""


class _Unusable(Exception):
    """Why, in words."""


class PageFiles(msgspec.Struct):
    """What came of the files of one object: ``texts`` by their paths as it names them."""

    texts: dict[str, str] = {}
    stamps: Stamps = {}
    diagnostics: list[Diagnostic] = []


def read_page_files(resource: Resource, object_file: str) -> PageFiles:
    """Those of an ErrorPages that stands in ``object_file``. Never raises for what is in them."""
    found = PageFiles()
    spec: ErrorPages = resource.spec
    for status, pages in spec.pages.items():
        for index, page in enumerate(pages):
            if not page.file:
                continue
            path = os.path.join(os.path.dirname(object_file), page.file)
            found.stamps[path] = ()
            try:
                found.texts[page.file], found.stamps[path] = _read(path, object_file)
            except _Unusable as problem:
                field = f"{join_index(join_key('spec.pages', status), index)}.file"
                message = f'"{page.file}" {problem}: this page is left out'
                found.diagnostics.append(_about(resource, field, message))
    return found


def stamp_of(path: str) -> tuple[int, ...]:
    """() for none."""
    try:
        return _stamp(os.stat(path))
    except (OSError, ValueError):
        return ()


def are_unchanged(stamps: Stamps) -> bool:
    """What was missing is still missing, and so on."""
    return all(stamp == stamp_of(path) for path, stamp in stamps.items())


def _read(path: str, object_file: str) -> tuple[str, tuple[int, ...]]:
    real = os.path.realpath(path)
    roots = {os.path.realpath(os.path.dirname(object_file) or "."), os.path.dirname(os.path.realpath(object_file))}
    if not any(real.startswith(root if root.endswith("/") else f"{root}/") for root in roots):
        raise _Unusable(f"leads to {real}, which is not below the directory of this file")
    try:
        info, data = _read_regular(real)
    except FileNotFoundError:
        raise _Unusable(f"is not there ({path})") from None
    except OSError as error:
        raise _Unusable(f"cannot be read ({path}): {error.strerror or error}") from None
    if len(data) > MAX_PAGE_BYTES:
        raise _Unusable(f"has {max(info.st_size, len(data))} bytes, more than {MAX_PAGE_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _Unusable(f"is no text in UTF-8 (byte {error.start})") from None
    settled = time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns) > RACY_NS and len(data) == info.st_size
    return text, (_stamp(info) if settled else UNSETTLED)


def _read_regular(real: str) -> tuple[os.stat_result, bytes]:
    """``real``: without links. One byte more than a page may have tells that it is too large."""
    descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise _Unusable("is a directory" if stat.S_ISDIR(info.st_mode) else "is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return info, file.read(MAX_PAGE_BYTES + 1)
    finally:
        os.close(descriptor)


def _stamp(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_mtime_ns, info.st_size, info.st_ino, info.st_ctime_ns, info.st_dev)


def _about(resource: Resource, path: str, message: str) -> Diagnostic:
    at = resource
    return Diagnostic(severity_of(CODE), CODE, message, at.kind, at.namespace, at.name, path, at.at(path))
