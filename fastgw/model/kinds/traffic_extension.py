"""extensions.istio.io TrafficExtension: WasmPlugin's successor, with Lua beside Wasm. Read to be checked only."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastgw.model.kinds.base import Int32, LabelSelector, Spec
from fastgw.model.kinds.policy import TargetRef
from fastgw.model.kinds.wasm_plugin import Phase, TrafficSelector, VmConfig


class WasmConfig(Spec):
    url: str = ""
    sha256: str = msgspec.field(default="", name="sha256")
    image_pull_policy: Literal["UNSPECIFIED_POLICY", "IfNotPresent", "Always"] = "UNSPECIFIED_POLICY"
    image_pull_secret: str = ""
    verification_key: str = ""
    plugin_config: Any = None
    plugin_name: str = ""
    fail_strategy: Literal["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"] = "FAIL_CLOSE"
    vm_config: VmConfig | None = None
    type: Literal["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"] = "UNSPECIFIED_PLUGIN_TYPE"


class LuaConfig(Spec):
    inline_code: str = ""


class TrafficExtension(Spec):
    """Exactly one of ``wasm`` and ``lua``."""

    selector: LabelSelector | None = None
    target_refs: tuple[TargetRef, ...] = ()
    phase: Phase = "UNSPECIFIED_PHASE"
    priority: Int32 | None = None
    match: tuple[TrafficSelector, ...] = ()
    wasm: WasmConfig | None = None
    lua: LuaConfig | None = None
