"""What is still read of an EdgePolicy that is broken: whom it is for.

A guard that is left out lets everybody in, so the object stays, with its targets alone, and the compiler sees to it that they are
not served without it (``fastgw/compiler/kept_policies.py``). What cannot be read of a target makes it a larger one.
"""

from __future__ import annotations

import os
from typing import Any

from fastgw.model.kinds.edge_policy import EdgePolicy, TargetRef
from fastgw.model.names import wildcard_problem
from fastgw.model.nearest import nearest
from fastgw.model.resource import Resource
from fastgw.sources.documents import Document

KIND = "EdgePolicy"
TARGETS = ("VirtualService", "Gateway")


def salvage(document: Document, namespace: str, name: str) -> Resource | None:
    """``namespace``, ``name``: "" where they are not known. None for a document of another kind."""
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != KIND:
        return None
    metadata = value.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    origin = document.places.find("")
    return Resource(
        kind=KIND,
        api_version=str(value.get("apiVersion")),
        namespace=namespace or _text(known.get("namespace")) or "default",
        name=name or _text(known.get("name")) or f"{os.path.basename(origin.file)}:{origin.line}",
        broken=frozenset({"spec"}),
        spec=EdgePolicy(target_refs=readable_targets(value.get("spec"))),
        origin=origin,
        places=document.places,
    )


def readable_targets(spec: object) -> tuple[TargetRef, ...]:
    """Those that have a name; for both kinds where the kind is not clear, for the whole where hosts or routes are not."""
    refs = spec.get("targetRefs") if isinstance(spec, dict) else None
    found: list[TargetRef] = []
    for each in refs if isinstance(refs, list) else [refs]:
        if not isinstance(each, dict):
            continue
        name, hosts = _text(each.get("name")).rpartition("/")[2], _texts(each.get("hosts"))
        hosts = () if any(map(wildcard_problem, hosts)) else hosts
        for kind in _kinds(each.get("kind")) if name else ():
            routes = _texts(each.get("routes")) if kind == "VirtualService" else ()
            found.append(TargetRef(kind=kind, name=name, hosts=hosts, routes=routes))
    return tuple(found)


def _kinds(value: object) -> tuple[Any, ...]:
    meant = nearest(value, TARGETS) if isinstance(value, str) else ""
    return (meant,) if meant else TARGETS


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else []
    texts = tuple(each for each in listed if isinstance(each, str) and each)
    return texts if len(texts) == len(listed) else ()
