"""Rules of WasmPlugin, TrafficExtension and ProxyConfig (fields.md, sections 8 and 9): checked, never run."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_many, check_port, check_selector
from fastgw.analysis.validate_targets import check_targets
from fastgw.model.kinds.proxy_config import ProxyConfig
from fastgw.model.kinds.traffic_extension import TrafficExtension, WasmConfig
from fastgw.model.kinds.wasm_plugin import VmConfig, WasmPlugin

SCHEMES = ("", "oci", "http", "https", "file")
LUA_BYTES = 65_536
SECRET_BYTES = 253
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def validate_wasm_plugin(findings: Findings) -> None:
    plugin: WasmPlugin = findings.spec
    check_targets(findings, plugin.selector, plugin.target_ref, plugin.target_refs)
    _check_wasm(findings, "spec", plugin)
    for index, match in enumerate(plugin.match):
        for position, port in enumerate(match.ports):
            check_port(findings, f"spec.match[{index}].ports[{position}].number", port.number)


def validate_traffic_extension(findings: Findings) -> None:
    extension: TrafficExtension = findings.spec
    check_targets(findings, extension.selector, None, extension.target_refs)
    if (extension.wasm is None) == (extension.lua is None):
        findings.error("spec", "exactly one of wasm and lua is needed")
    if extension.wasm is not None:
        _check_wasm(findings, "spec.wasm", extension.wasm)
    if extension.lua is not None and not 1 <= len(extension.lua.inline_code.encode()) <= LUA_BYTES:
        findings.error("spec.lua", f"inlineCode has 1 to {LUA_BYTES} bytes")


def validate_proxy_config(findings: Findings) -> None:
    config: ProxyConfig = findings.spec
    check_selector(findings, "spec.selector", config.selector)
    if config.concurrency is not None and config.concurrency < 0:
        findings.error("spec.concurrency", "the number of threads is not negative")


def _check_wasm(findings: Findings, path: str, wasm: WasmPlugin | WasmConfig) -> None:
    findings.problem(f"{path}.url" if wasm.url else path, _url_problem(wasm.url))
    if wasm.sha256 and not _SHA256.fullmatch(wasm.sha256):
        findings.error(f"{path}.sha256", "a SHA-256 sum has 64 hexadecimal digits")
    if len(wasm.image_pull_secret) > SECRET_BYTES:
        findings.error(f"{path}.imagePullSecret", f"a name of more than {SECRET_BYTES} characters")
    if wasm.vm_config is not None:
        _check_environment(findings, f"{path}.vmConfig.env", wasm.vm_config)


def _check_environment(findings: Findings, path: str, config: VmConfig) -> None:
    check_many(findings, path, config.env)
    seen: set[str] = set()
    for index, variable in enumerate(config.env):
        here = f"{path}[{index}]"
        if not variable.name:
            findings.error(here, "a variable needs a name")
        elif variable.name in seen:
            findings.error(here, f'variable "{variable.name}" is there twice')
        if variable.value_from == "HOST" and variable.value:
            findings.error(here, "a value from the host is not given here")
        seen.add(variable.name)


def _url_problem(url: str) -> str:
    if not url:
        return "a url is needed"
    try:
        scheme = urlsplit(url).scheme if "://" in url else ""
    except ValueError:
        return f'"{url}" is no URL'
    return "" if scheme in SCHEMES else f'"{url}": code is fetched by oci, http, https or file only'
