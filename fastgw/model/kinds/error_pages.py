"""gateway.fastgw.io ErrorPages: bodies of the answers that the gateway itself makes. In the namespace of what it is for."""

from __future__ import annotations

import msgspec

from fastgw.model.kinds.base import Spec
from fastgw.model.kinds.edge_policy import TargetRef


class Page(Spec):
    """One of ``body`` and ``file``, whose path begins where the file of the object stands."""

    content_type: str
    body: str | None = None
    file: str = ""


class ErrorPages(Spec):
    """``pages``: by "503", "4xx", "5xx"; of those of a status the first is for clients that do not say what they accept."""

    target_refs: tuple[TargetRef, ...] = ()
    pages: dict[str, tuple[Page, ...]] = msgspec.field(default_factory=dict)
