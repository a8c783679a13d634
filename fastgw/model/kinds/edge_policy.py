"""gateway.fastgw.io EdgePolicy: what is asked of requests, and of connections, before anything else is done with them.

A policy stands in the namespace of what it is for.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fastgw.model.duration import Duration
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


class SourceAddress(Spec):
    """Clients of one network of so many bits share a bucket."""

    ipv4_prefix: Annotated[int, msgspec.Meta(ge=0, le=32)] = 32
    ipv6_prefix: Annotated[int, msgspec.Meta(ge=0, le=128)] = 64


class RateKey(Spec):
    """One of the two: what the trusted address of the client is, or a header field."""

    source_address: SourceAddress | None = None
    header: str = ""


class RateLimit(Spec):
    """``requests`` in the time ``per``, ``burst`` of them at once (as many as ``requests`` without). ``by``: what tells buckets
    apart; without it there is one for all that the target is."""

    name: str
    requests: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
    per: Duration
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] | None = None
    by: tuple[RateKey, ...] = ()


class EdgePolicy(Spec):
    """A field that is not given leaves it to less specific policies. ``max_request_bytes`` 0: as many as come."""

    target_refs: tuple[TargetRef, ...] = ()
    sources: Sources | None = None
    max_request_bytes: Bytes | None = None
    rate_limits: tuple[RateLimit, ...] | None = None
