"""extensions.istio.io WasmPlugin: code for Envoy's Wasm runtime. Read to be checked; there is no such runtime here."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastgw.model.kinds.base import Int32, LabelSelector, PortSelector, Spec
from fastgw.model.kinds.policy import TargetRef

Phase = Literal["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"]


class TrafficSelector(Spec):
    mode: Literal["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"] = "UNDEFINED"
    ports: tuple[PortSelector, ...] = ()


class EnvVar(Spec):
    name: str = ""
    value_from: Literal["INLINE", "HOST"] = "INLINE"
    value: str = ""


class VmConfig(Spec):
    env: tuple[EnvVar, ...] = ()


class WasmPlugin(Spec):
    selector: LabelSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = ()
    url: str = ""
    sha256: str = msgspec.field(default="", name="sha256")
    image_pull_policy: Literal["UNSPECIFIED_POLICY", "IfNotPresent", "Always"] = "UNSPECIFIED_POLICY"
    image_pull_secret: str = ""
    verification_key: str = ""
    plugin_config: Any = None
    plugin_name: str = ""
    phase: Phase = "UNSPECIFIED_PHASE"
    priority: Int32 | None = None
    fail_strategy: Literal["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"] = "FAIL_CLOSE"
    vm_config: VmConfig | None = None
    match: tuple[TrafficSelector, ...] = ()
    type: Literal["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"] = "UNSPECIFIED_PLUGIN_TYPE"
