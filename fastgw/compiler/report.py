"""Collects diagnostics about resources. A finding costs a look-up of its place, so passes report only what they found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fastgw.model.diagnostic import ERROR, INFO, WARNING, Diagnostic
from fastgw.model.resource import Resource


class Report:
    """A list of diagnostics with one method a severity. ``path`` is the field inside the object."""

    __slots__ = ("diagnostics",)

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []

    def error(self, code: str, resource: Resource, path: str, message: str) -> None:
        """Something is left out or will be answered with an error."""
        self._add(ERROR, code, resource, path, message)

    def warning(self, code: str, resource: Resource, path: str, message: str) -> None:
        """Served, but probably not as meant."""
        self._add(WARNING, code, resource, path, message)

    def info(self, code: str, resource: Resource, path: str, message: str) -> None:
        """Good to know."""
        self._add(INFO, code, resource, path, message)

    def _add(self, severity: str, code: str, resource: Resource, path: str, message: str) -> None:
        self.diagnostics.append(
            Diagnostic(
                severity=severity,
                code=code,
                message=message,
                kind=resource.kind,
                namespace=resource.namespace,
                name=resource.name,
                path=path,
                origin=resource.at(path) if path else resource.origin,
            )
        )


def place(resource: Resource, path: str = "") -> str:
    """``file:line`` of a field, for messages that point at the other object of a conflict."""
    origin = resource.at(path) if path else resource.origin
    return f"{origin.file}:{origin.line}"


class Speaker(Protocol):
    """Something with findings of its own."""

    report: Report


def in_file_order(diagnostics: Iterable[Diagnostic], speakers: Iterable[Speaker]) -> list[Diagnostic]:
    """Each finding once: a VirtualService that is compiled for several Gateways finds the same things again."""
    found = dict.fromkeys(diagnostics)
    for speaker in speakers:
        if speaker.report.diagnostics:
            found.update(dict.fromkeys(speaker.report.diagnostics))
    return sorted(found, key=_position)


def _position(diagnostic: Diagnostic) -> tuple[str, int, int]:
    origin = diagnostic.origin
    return (origin.file, origin.line, origin.column)
