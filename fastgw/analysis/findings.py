"""Collects what is found in one object, with paths; places are looked up only for what was found."""

from __future__ import annotations

from typing import Any

from fastgw.model.diagnostic import ERROR, INFO, WARNING, Diagnostic
from fastgw.model.resource import Resource

INVALID, DOUBTFUL = "IST0106", "IST0133"


class Findings:
    """``error`` means that the object is left out, ``warn`` that it is hardly what was meant."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.spec: Any = resource.spec
        self.diagnostics: list[Diagnostic] = []

    def error(self, path: str, message: str, code: str = INVALID) -> None:
        self._add(ERROR, code, path, message)

    def warn(self, path: str, message: str, code: str = DOUBTFUL) -> None:
        self._add(WARNING, code, path, message)

    def note(self, path: str, message: str, code: str) -> None:
        self._add(INFO, code, path, message)

    def problem(self, path: str, message: str) -> None:
        """An error unless ``message`` is empty: for rules that answer in words."""
        if message:
            self._add(ERROR, INVALID, path, message)

    def given(self, path: str) -> bool:
        """Whether the document has the field at all (a default value may have been written out)."""
        places = self.resource.places
        return bool(places is not None and places.has(path))

    def _add(self, severity: str, code: str, path: str, message: str) -> None:
        at = self.resource
        self.diagnostics.append(Diagnostic(severity, code, message, at.kind, at.namespace, at.name, path, at.at(path)))
