"""gateway.fastgw.io EdgePolicy: what is asked of requests, and of connections, before anything else is done with them.

A policy stands in the namespace of what it is for.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fastgw.model.kinds.base import Spec

Bytes = Annotated[int, msgspec.Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]


class TargetRef(Spec):
    """``hosts``: only these of its hosts, ``routes``: only the http routes of a VirtualService with these names; () for all."""

    kind: Literal["VirtualService", "Gateway"]
    name: str
    hosts: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


class Sources(Spec):
    """Networks and addresses of clients. The longest prefix of both lists decides; with ``allow`` all else is denied."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class EdgePolicy(Spec):
    """A field that is not given leaves it to less specific policies. ``max_request_bytes`` 0: as many as come."""

    target_refs: tuple[TargetRef, ...] = ()
    sources: Sources | None = None
    max_request_bytes: Bytes | None = None
