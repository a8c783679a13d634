"""``metadata`` of Kubernetes objects: what is read of it, and the names that may stand beside."""

from __future__ import annotations

from typing import Any

import msgspec


class Metadata(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, gc=False):
    """ObjectMeta. Fields that mean nothing here are ``Any``, so that documents taken from a cluster are accepted."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    generate_name: Any = None
    self_link: Any = None
    uid: Any = None
    resource_version: Any = None
    generation: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: Any = None
    owner_references: Any = None
    finalizers: Any = None
    managed_fields: Any = None
    cluster_name: Any = None
