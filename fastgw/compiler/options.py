"""What goes into a compilation beside the resources, and what comes out."""

from __future__ import annotations

import msgspec

from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import Plan


class CompileOptions(msgspec.Struct, frozen=True):
    """Who this gateway is (``labels``, ``namespace``) and fixed answers for upstream names: name -> (address, port or None).

    ``proxy_protocol``: ports, as Gateways number them, whose connections begin with a PROXY header.
    """

    labels: dict[str, str] = msgspec.field(default_factory=lambda: {"istio": "ingressgateway"})
    namespace: str = "istio-system"
    resolve: dict[str, tuple[str, int | None]] = {}
    proxy_protocol: tuple[int, ...] = ()


class CompileResult(msgspec.Struct):
    """``plan`` holds all that can be served; ``diagnostics`` say what was left out and why, in file order."""

    plan: Plan
    diagnostics: list[Diagnostic]
