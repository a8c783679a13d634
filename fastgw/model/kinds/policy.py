"""What the policy kinds share: which workloads a policy is for."""

from __future__ import annotations

from fastgw.model.kinds.base import Spec


class TargetRef(Spec):
    """An object that a policy is attached to; ``namespace`` has to be the policy's own or empty."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
