"""Findings about people's configuration: what, where, how to mend it.

One line each: ``file:line:col: error[IST0101]: VirtualService default/webapp: spec.gateways[0]: Gateway "default/nope" not found``.
Codes are listed in ``fastgw.model.codes``.
"""

from __future__ import annotations

import msgspec

from fastgw.model.origin import NOWHERE, Origin

ERROR = "error"
WARNING = "warning"
INFO = "info"
SEVERITIES = (INFO, WARNING, ERROR)


class Diagnostic(msgspec.Struct, frozen=True):
    """One finding. ``path`` is the field inside the object (``spec.http[0].match[1].uri``), "" for the whole object."""

    severity: str
    code: str
    message: str
    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    origin: Origin = NOWHERE

    def text(self) -> str:
        """The one-line form of interface.md; parts that are not known are left out."""
        place = f"{self.origin}: " if self.origin.file else ""
        if self.kind and self.name:
            what = f"{self.kind} {self.namespace}/{self.name}: " if self.namespace else f"{self.kind} {self.name}: "
        else:
            what = f"{self.kind}: " if self.kind else ""
        path = f"{self.path}: " if self.path else ""
        return f"{place}{self.severity}[{self.code}]: {what}{path}{self.message}"

    def to_json(self) -> dict[str, object]:
        """Stable keys of the JSON form."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "path": self.path,
            "file": self.origin.file,
            "line": self.origin.line,
            "column": self.origin.column,
        }
