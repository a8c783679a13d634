"""A typed resource with its metadata and the places of its fields."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from fastgw.model.origin import Origin


class Places(Protocol):
    """Looks up where a field of one document stands."""

    def find(self, path: str) -> Origin:
        """Origin of ``spec.http[0].match[1].uri``; of its nearest ancestor when the field itself is not there."""
        ...


class Resource(msgspec.Struct, kw_only=True):
    """One object of a source. ``spec`` is the msgspec Struct of its kind (``fastgw.model.kinds``).

    ``namespace`` is filled in ("default" where the document names none; Secrets: the gateway's namespace).
    ``broken`` names the parts that are wrong while the rest is used: of a VirtualService "spec.http[1].match[0]" (never matches)
    and "spec.http[1]" (answered 503), of a Gateway "spec.servers[1]" (left out), of a DestinationRule
    blocks and subsets, of a ServiceEntry endpoints (left out), of an EdgePolicy "spec" (its targets are known).
    ``texts``: of the files that it names, by their paths.
    ``order`` is the position among all documents (file order), the last tie-break after creationTimestamp, name, namespace.
    """

    kind: str
    api_version: str
    namespace: str
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    order: int = 0
    broken: frozenset[str] = frozenset()
    spec: Any = None
    texts: dict[str, str] | None = None
    origin: Origin
    places: Any = None

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return f"{self.namespace}/{self.name}"

    def at(self, path: str) -> Origin:
        """Where a field stands, see Places.find."""
        return self.places.find(path) if self.places is not None else self.origin
