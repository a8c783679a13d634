"""Resources from files and directories: which files, read again only when changed, assembled in a fixed order.

Load order is the order of the paths given, then of names within a directory; the first of two equal resources counts.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import NamedTuple

import msgspec

from fastgw.model.codes import severity_of
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kind_notes import SUMMED_UP
from fastgw.model.origin import Origin
from fastgw.model.progress import with_progress
from fastgw.model.resource import Resource
from fastgw.sources.assemble import assemble
from fastgw.sources.documents import read_text
from fastgw.sources.last_good import keep_last_good
from fastgw.sources.limits import FILE_BYTES
from fastgw.sources.page_files import Stamps, are_unchanged, read_page_files
from fastgw.sources.reload import Layout, Span, reload_changed

SUFFIXES = (".yaml", ".yml", ".json")
NO_OBJECT = ("FGW0005", "FGW0006", "FGW0007", "FGW0009")
"""What is said of a file that holds something else than objects."""
RACY_NS = 50_000_000
"""A file changed this shortly before it was read may change again without its times telling."""


class LoadResult(msgspec.Struct):
    """``resources`` in load order, ``order`` numbers them. ``files``: what was read, in load order. ``doubtful``: files and
    directories that may hold objects which could not be read. ``pages``: files beside them that objects have named."""

    resources: list[Resource]
    diagnostics: list[Diagnostic]
    files: list[str] = []
    doubtful: frozenset[str] = frozenset()
    pages: Stamps = {}


class FileContent(msgspec.Struct):
    """What one version of one file holds. ``pages``: the files that it was made from besides."""

    resources: list[Resource]
    diagnostics: list[Diagnostic]
    pages: Stamps = {}


class _Entry(msgspec.Struct):
    """``stamp`` None: read too soon after a change to be trusted, ``digest`` decides."""

    stamp: tuple[int, ...] | None
    digest: bytes
    content: FileContent


class FileCache:
    """Contents by path. While a file's stamp (times, size, inode) stays, its Resource objects stay the very same.

    ``keeps_last_good``: objects of a file that breaks stay as they were before, see ``last_good``.
    """

    def __init__(self, *, keeps_last_good: bool = False) -> None:
        self._keeps_last_good = keeps_last_good
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._last: _Last | None = None
        self.files_parsed = 0
        """Files whose text was decoded since the start: what a reload really cost."""

    def content(self, path: str, gateway_namespace: str) -> FileContent:
        """Raises OSError when the file cannot be read."""
        key = (path, gateway_namespace)
        entry = self._entries.get(key)
        same_pages = entry is not None and are_unchanged(entry.content.pages)
        if entry is not None and same_pages and entry.stamp is not None and entry.stamp == _stamp(os.stat(path)):
            return entry.content
        stamp, data = _read_file(path)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if entry is None or not same_pages or entry.digest != digest:
            self.files_parsed += 1
            content = _parse(path, data, gateway_namespace)
            if entry is not None and self._keeps_last_good:
                content = _with_last_good(path, entry.content, content)
            entry = _Entry(stamp, digest, content)
        else:
            entry = _Entry(stamp, digest, entry.content)
        self._entries[key] = entry
        return entry.content

    def content_of_before(self, path: str, gateway_namespace: str, error: OSError) -> FileContent:
        """Of a file that is there and cannot be read now: ``error``."""
        content = FileContent([], [_unreadable(path, error)])
        entry = self._entries.get((path, gateway_namespace))
        if entry is None or not self._keeps_last_good or isinstance(error, FileNotFoundError):
            return content
        return _with_last_good(path, entry.content, content)

    def reload(self, paths: list[str], gateway_namespace: str, changed: Iterable[str]) -> LoadResult | None:
        """The last load with only the ``changed`` files read again; None when all have to be looked at."""
        last = self._last
        if last is None or (last.paths, last.gateway_namespace) != (paths, gateway_namespace):
            return None

        def read(file: str) -> list[Resource] | None:
            entry = self._entries.get((file, gateway_namespace))
            try:
                content = self.content(file, gateway_namespace)
            except OSError:
                return None
            told = [content] if entry is None else [content, entry.content]
            return None if any(each.diagnostics or each.pages for each in told) else content.resources

        with without_collector():
            resources = reload_changed(last.layout, changed, read)
        if resources is None:
            self._last = None
            return None
        last.layout.resources = resources
        return LoadResult(resources, list(last.diagnostics), last.files, last.doubtful, last.pages)

    def remember(self, last: _Last | None) -> None:
        """What ``reload`` starts from."""
        self._last = last

    def keep_only(self, paths: Iterable[str]) -> None:
        """Forgets files that are not there any more."""
        kept = set(paths)
        for key in [key for key in self._entries if key[0] not in kept]:
            del self._entries[key]


class _Last(msgspec.Struct):
    """The last load of a cache."""

    paths: list[str]
    gateway_namespace: str
    layout: Layout
    diagnostics: list[Diagnostic]
    files: list[str]
    doubtful: frozenset[str]
    pages: Stamps


def load_paths(
    paths: list[str], gateway_namespace: str, cache: FileCache | None = None, changed: Iterable[str] | None = None
) -> LoadResult:
    """Everything in ``paths``. Never raises for what is in them: what cannot be used is a diagnostic, the rest is there.

    ``changed``: the only files that may have changed since the last load with this cache, as paths without links; None: any may.
    """
    cache = cache if cache is not None else FileCache()
    known = cache.reload(paths, gateway_namespace, changed) if changed is not None else None
    return known or _load_all(paths, gateway_namespace, cache)


def _load_all(paths: list[str], gateway_namespace: str, cache: FileCache) -> LoadResult:
    listed, diagnostics = index_files(paths)
    files = list(listed.values())
    resources: list[Resource] = []
    spans: dict[str, Span] = {}
    pages: Stamps = {}
    with without_collector():
        for file in with_progress("reading files", files, len(files)):
            try:
                content = cache.content(file, gateway_namespace)
            except OSError as error:
                before = cache.content_of_before(file, gateway_namespace, error)
                resources += before.resources
                diagnostics += before.diagnostics
                continue
            spans[file] = Span(len(resources), len(resources) + len(content.resources))
            resources += content.resources
            diagnostics += content.diagnostics
            pages |= content.pages
        resources, twice = _first_of_each(resources)
    cache.keep_only(files)
    diagnostics = _without_pages(diagnostics, pages, listed)
    doubtful = frozenset(found.origin.file for found in diagnostics if _hides(found))
    diagnostics = _sum_up([*diagnostics, *twice])
    if not resources and not any(found.severity == "error" for found in diagnostics):
        diagnostics.append(_finding("FGW0004", f"no resource was found in {', '.join(paths) or 'nothing'}", ""))
    # where an object stands twice, a change of one file can matter to another one's
    layout = Layout(listed, spans, resources)
    cache.remember(None if twice else _Last(paths, gateway_namespace, layout, diagnostics, files, doubtful, pages))
    return LoadResult(resources, list(diagnostics), files, doubtful, pages)


def list_files(paths: list[str], *, every_name: bool = False) -> tuple[list[str], list[Diagnostic]]:
    """The files that ``paths`` stand for, each once, and what is wrong with the paths.

    ``every_name``: whatever their names end with (for directories of certificates).
    """
    listed, diagnostics = index_files(paths, every_name=every_name)
    return list(listed.values()), diagnostics


def index_files(paths: list[str], *, every_name: bool = False) -> tuple[dict[str, str], list[Diagnostic]]:
    """Like list_files; the files by their paths without links."""
    suffixes = ("",) if every_name else SUFFIXES
    files: dict[str, str] = {}
    diagnostics: list[Diagnostic] = []
    for path in paths:
        for found in _walk(path, suffixes):
            if isinstance(found, Diagnostic):
                diagnostics.append(found)
            else:
                files.setdefault(found.identity, found.path)
    return files, diagnostics


class _Found(NamedTuple):
    """A file, and its path without links."""

    path: str
    identity: str


def _walk(path: str, suffixes: tuple[str, ...]) -> Iterator[_Found | Diagnostic]:
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            yield _Found(path, os.path.realpath(path))
            return
    except OSError as error:
        yield _unreadable(path, error)
        return
    empty = True
    for found in _walk_directory(path, (), suffixes):
        empty = empty and isinstance(found, Diagnostic)
        yield found
    if empty:
        yield _finding("FGW0003", f"no {', '.join('*' + suffix for suffix in SUFFIXES)} file in this directory", path)


def _walk_directory(path: str, above: tuple[tuple[int, int], ...], suffixes: tuple[str, ...]) -> Iterator[_Found | Diagnostic]:
    """Sorted by name; hidden names (editors' and Kubernetes' ``..data``) are left out. ``above``: the directories on the way."""
    try:
        info = os.stat(path)
        here = (info.st_dev, info.st_ino)
        if here in above:
            yield _finding("FGW0008", "a symbolic link leads back to a directory above it, not followed", path)
            return
        with os.scandir(path) as entries:
            listed = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        yield _unreadable(path, error)
        return
    real = os.path.realpath(path)
    for entry in listed:
        if _is_directory(entry):
            yield from _walk_directory(entry.path, (*above, here), suffixes)
        elif entry.name.endswith(suffixes):
            # the directory has told what is a link: of hundreds of thousands of files none is asked again
            yield _Found(entry.path, os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stamp(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_mtime_ns, info.st_size, info.st_ino, info.st_ctime_ns, info.st_dev)


def _read_file(path: str) -> tuple[tuple[int, ...] | None, bytes]:
    """(stamp, bytes). Raises OSError, also for what is no regular file or too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if info.st_size > FILE_BYTES:
            raise OSError(errno.EFBIG, f"the file is larger than {FILE_BYTES >> 20} MiB")
        data = file.read(FILE_BYTES + 1)
    changed_ns = max(info.st_mtime_ns, info.st_ctime_ns)
    settled = time.time_ns() - changed_ns > RACY_NS and len(data) == info.st_size
    return (_stamp(info) if settled else None), data


def _parse(path: str, data: bytes, gateway_namespace: str) -> FileContent:
    text = read_text(path, data, json=PurePath(path).suffix == ".json")
    content = FileContent([], text.diagnostics)
    text.documents.reverse()
    while text.documents:
        # popped, so that the plain values of a document are gone before the next one is typed
        assembled = assemble(text.documents.pop(), gateway_namespace)
        content.diagnostics += assembled.diagnostics
        if assembled.resource is not None:
            content.resources.append(assembled.resource)
            if assembled.resource.kind == "ErrorPages":
                _take_pages(content, assembled.resource, path)
    return content


def _with_last_good(path: str, before: FileContent, now: FileContent) -> FileContent:
    resources, told = keep_last_good(path, before.resources, now.resources, now.diagnostics)
    pages = {**before.pages, **now.pages} if told else now.pages
    return FileContent(resources, [*now.diagnostics, *told], pages)


def _take_pages(content: FileContent, resource: Resource, path: str) -> None:
    found = read_page_files(resource, path)
    resource.texts = found.texts
    content.pages |= found.stamps
    content.diagnostics += found.diagnostics


def _without_pages(diagnostics: list[Diagnostic], pages: Stamps, listed: dict[str, str]) -> list[Diagnostic]:
    """A page in JSON beside the configuration is no configuration: nobody wants to hear that it has no kind."""
    if not pages:
        return diagnostics
    named = {listed.get(os.path.realpath(path)) for path in pages}
    return [each for each in diagnostics if each.code not in NO_OBJECT or each.origin.file not in named]


def _first_of_each(resources: list[Resource]) -> tuple[list[Resource], list[Diagnostic]]:
    """Numbers the resources and leaves out later ones of the same kind, namespace and name."""
    seen: dict[tuple[str, str, str, str], Resource] = {}
    kept, diagnostics = [], []
    for order, resource in enumerate(resources):
        if resource.order != order:
            resource.order = order
        group = resource.api_version.rpartition("/")[0]
        first = seen.setdefault((group, resource.kind, resource.namespace, resource.name), resource)
        if first is resource:
            kept.append(resource)
        else:
            message = f"is here a second time and left out, the first one is at {first.origin}"
            diagnostics.append(_about(resource, "FGW0010", message))
    return kept, diagnostics


def _about(resource: Resource, code: str, message: str) -> Diagnostic:
    return Diagnostic(
        severity_of(code), code, message, resource.kind, resource.namespace, resource.name, origin=resource.at("metadata.name")
    )


def _hides(found: Diagnostic) -> bool:
    """Does something stand there that nobody knows the kind or the name of?"""
    return found.severity == "error" and (not found.name or found.code == "FGW0011")


def _sum_up(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Findings about a kind rather than an object become one line a kind, at the first place."""
    counts: dict[tuple[str, str], int] = {}
    for found in diagnostics:
        if found.code in SUMMED_UP:
            key = (found.code, found.message)
            counts[key] = counts.get(key, 0) + 1
    out = []
    for found in diagnostics:
        if found.code not in SUMMED_UP:
            out.append(found)
        elif (count := counts.pop((found.code, found.message), 0)) > 0:
            more = f" ({count} objects, the first one here)" if count > 1 else ""
            out.append(msgspec.structs.replace(found, message=found.message + more, namespace="", name="", path=""))
    return out


def _unreadable(path: str, error: OSError) -> Diagnostic:
    if isinstance(error, FileNotFoundError):
        return _finding("FGW0001", "no such file or directory", path)
    if error.errno == errno.ELOOP:
        return _finding("FGW0002", "cannot be read: a symbolic link that leads to itself", path)
    if error.errno == errno.EFBIG:
        return _finding("FGW0007", str(error.strerror), path)
    reason = "permission denied" if isinstance(error, PermissionError) else error.strerror or str(error)
    return _finding("FGW0002", f"cannot be read: {reason}", path)


def _finding(code: str, message: str, path: str) -> Diagnostic:
    return Diagnostic(severity_of(code), code, message, origin=Origin(path))


@contextmanager
def without_collector() -> Iterator[None]:
    """The cyclic garbage collector is off meanwhile: millions of new objects without cycles would make it run for seconds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
