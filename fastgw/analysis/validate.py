"""The rules of each kind that its types cannot say: what Istio's admission would refuse or warn of."""

from __future__ import annotations

from collections.abc import Callable

from fastgw.analysis.findings import Findings
from fastgw.analysis.validate_authorization_policy import validate_authorization_policy
from fastgw.analysis.validate_destination_rule import validate_destination_rule
from fastgw.analysis.validate_edge_policy import validate_edge_policy
from fastgw.analysis.validate_error_pages import validate_error_pages
from fastgw.analysis.validate_extensions import validate_proxy_config, validate_traffic_extension, validate_wasm_plugin
from fastgw.analysis.validate_gateway import validate_gateway
from fastgw.analysis.validate_request_authentication import validate_request_authentication
from fastgw.analysis.validate_route_test import validate_route_test
from fastgw.analysis.validate_service_entry import validate_service_entry
from fastgw.analysis.validate_telemetry import validate_telemetry
from fastgw.analysis.validate_virtual_service import validate_virtual_service
from fastgw.analysis.validate_workload import validate_workload_entry, validate_workload_group
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.resource import Resource

_RULES: dict[str, Callable[[Findings], None]] = {
    "Gateway": validate_gateway,
    "VirtualService": validate_virtual_service,
    "DestinationRule": validate_destination_rule,
    "ServiceEntry": validate_service_entry,
    "WorkloadEntry": validate_workload_entry,
    "WorkloadGroup": validate_workload_group,
    "AuthorizationPolicy": validate_authorization_policy,
    "RequestAuthentication": validate_request_authentication,
    "Telemetry": validate_telemetry,
    "WasmPlugin": validate_wasm_plugin,
    "TrafficExtension": validate_traffic_extension,
    "ProxyConfig": validate_proxy_config,
    "RouteTest": validate_route_test,
    "EdgePolicy": validate_edge_policy,
    "ErrorPages": validate_error_pages,
}


def validate(resource: Resource) -> list[Diagnostic]:
    """What is wrong with one object on its own; an error means that it must not be used."""
    rules = _RULES.get(resource.kind)
    if rules is None or resource.spec is None:
        return []
    findings = Findings(resource)
    rules(findings)
    return findings.diagnostics
