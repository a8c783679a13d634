"""Collects diagnostics about resources. A finding costs a look-up of its place, so passes report only what they found."""

from __future__ import annotations

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
