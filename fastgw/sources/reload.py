"""What is left to do when it is known which files have changed: those are read again, and nothing else is looked at.

Only where the changed files hold the same objects in the same order as before, so that everything around them stays; any other
change is for ``files.load_paths`` to find out by looking at all files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from fastgw.model.resource import Resource


class Span(msgspec.Struct, frozen=True):
    """The resources of one file: ``resources[start:end]`` of all."""

    start: int
    end: int


class Layout(msgspec.Struct):
    """Where everything stood at the last load: listed file by its path without links, the resources of each listed file."""

    listed: dict[str, str]
    spans: dict[str, Span]
    resources: list[Resource]


Read = Callable[[str], list[Resource] | None]
"""The resources of a listed file as it is now; None when there is something to be said about it."""


def reload_changed(layout: Layout, changed: Iterable[str], read: Read) -> list[Resource] | None:
    """All resources with those of the changed files exchanged; None when that is not all that has changed."""
    resources = layout.resources.copy()
    for path in changed:
        file = layout.listed.get(path)
        span = layout.spans.get(file) if file is not None else None
        if file is None or span is None:
            return None
        fresh = read(file)
        if fresh is None or list(map(_identity, fresh)) != list(map(_identity, resources[span.start : span.end])):
            return None
        for order, resource in zip(range(span.start, span.end), fresh, strict=True):
            resource.order = order
        resources[span.start : span.end] = fresh
    return resources


def _identity(resource: Resource) -> tuple[str, str, str, str]:
    return (resource.api_version, resource.kind, resource.namespace, resource.name)
