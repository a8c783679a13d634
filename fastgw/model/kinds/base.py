"""What the kinds share: the base of every struct, number types, string matches, selectors, and the entry of the kinds table."""

from __future__ import annotations

from typing import Annotated

import msgspec

UInt32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Int32 = Annotated[int, msgspec.Meta(ge=-0x8000_0000, le=0x7FFF_FFFF)]


class Spec(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all fields of resources: JSON names are camelCase, an unknown key is an error.

    Never changed after decoding: caches share them. Trees without cycles, hence not tracked by the garbage collector, so that
    100,000 VirtualServices stay cheap to hold.
    """


class StringMatch(Spec):
    """Istio's StringMatch: one of the three; none of them means "present" where that is allowed (statement G7)."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class PortSelector(Spec):
    number: UInt32 = 0


class LabelSelector(Spec):
    """``matchLabels`` of Istio's newer selectors (DestinationRule and the security kinds)."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)


class KindInfo(msgspec.Struct, frozen=True):
    """What is known of a kind.

    ``spec`` None: opaque, nothing in it is read. ``spec_at_root``: the fields stand beside ``metadata`` and not under ``spec``,
    so the struct is decoded from the document without apiVersion, kind and metadata.
    """

    kind: str
    group: str
    versions: tuple[str, ...]
    spec: type[msgspec.Struct] | None = None
    namespaced: bool = True
    spec_at_root: bool = False
