"""security.istio.io PeerAuthentication: mutual TLS between workloads. Has no effect on the listeners of a gateway."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastgw.model.kinds.base import LabelSelector, Spec


class MutualTls(Spec):
    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


class PeerAuthentication(Spec):
    selector: LabelSelector | None = None
    mtls: MutualTls | None = None
    port_level_mtls: dict[str, MutualTls] = msgspec.field(default_factory=dict)
