"""The typed kinds: one struct for the fields of each, and the table of what is known of a kind.

``KINDS`` is keyed by (API group, kind), the group of core Kubernetes kinds is "".
"""

from __future__ import annotations

from fastgw.model.kinds.authorization_policy import AuthorizationPolicy
from fastgw.model.kinds.base import KindInfo
from fastgw.model.kinds.destination_rule import DestinationRule
from fastgw.model.kinds.edge_policy import EdgePolicy
from fastgw.model.kinds.error_pages import ErrorPages
from fastgw.model.kinds.gateway import Gateway
from fastgw.model.kinds.kubernetes import ConfigMap, Endpoints, EndpointSlice, Secret, Service
from fastgw.model.kinds.peer_authentication import PeerAuthentication
from fastgw.model.kinds.proxy_config import ProxyConfig
from fastgw.model.kinds.request_authentication import RequestAuthentication
from fastgw.model.kinds.route_test import RouteTest
from fastgw.model.kinds.service_entry import ServiceEntry, WorkloadEntry, WorkloadGroup
from fastgw.model.kinds.telemetry import Telemetry
from fastgw.model.kinds.traffic_extension import TrafficExtension
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.kinds.wasm_plugin import WasmPlugin

_NETWORKING = "networking.istio.io"
_SERVED = ("v1", "v1beta1", "v1alpha3")

_ISTIO_NETWORKING = (
    KindInfo("Gateway", _NETWORKING, _SERVED, Gateway),
    KindInfo("VirtualService", _NETWORKING, _SERVED, VirtualService),
    KindInfo("DestinationRule", _NETWORKING, _SERVED, DestinationRule),
    KindInfo("ServiceEntry", _NETWORKING, _SERVED, ServiceEntry),
    KindInfo("WorkloadEntry", _NETWORKING, _SERVED, WorkloadEntry),
    KindInfo("WorkloadGroup", _NETWORKING, _SERVED, WorkloadGroup),
    KindInfo("Sidecar", _NETWORKING, _SERVED),
    KindInfo("EnvoyFilter", _NETWORKING, ("v1alpha3",)),
)

_ISTIO_POLICY = (
    KindInfo("AuthorizationPolicy", "security.istio.io", ("v1", "v1beta1"), AuthorizationPolicy),
    KindInfo("RequestAuthentication", "security.istio.io", ("v1", "v1beta1"), RequestAuthentication),
    KindInfo("PeerAuthentication", "security.istio.io", ("v1", "v1beta1"), PeerAuthentication),
    KindInfo("Telemetry", "telemetry.istio.io", ("v1", "v1alpha1"), Telemetry),
    KindInfo("WasmPlugin", "extensions.istio.io", ("v1alpha1",), WasmPlugin),
    KindInfo("TrafficExtension", "extensions.istio.io", ("v1alpha1",), TrafficExtension),
    KindInfo("ProxyConfig", _NETWORKING, ("v1beta1",), ProxyConfig),
)

_KUBERNETES = (
    KindInfo("Service", "", ("v1",), Service),
    KindInfo("Endpoints", "", ("v1",), Endpoints, spec_at_root=True),
    KindInfo("EndpointSlice", "discovery.k8s.io", ("v1", "v1beta1"), EndpointSlice, spec_at_root=True),
    KindInfo("Secret", "", ("v1",), Secret, spec_at_root=True),
    KindInfo("ConfigMap", "", ("v1",), ConfigMap, spec_at_root=True),
    KindInfo("Pod", "", ("v1",)),
    KindInfo("Namespace", "", ("v1",), namespaced=False),
)

_OWN = (
    KindInfo("RouteTest", "gateway.fastgw.io", ("v1",), RouteTest),
    KindInfo("EdgePolicy", "gateway.fastgw.io", ("v1",), EdgePolicy),
    KindInfo("ErrorPages", "gateway.fastgw.io", ("v1",), ErrorPages),
)

_ALL = (*_ISTIO_NETWORKING, *_ISTIO_POLICY, *_KUBERNETES, *_OWN)
KINDS: dict[tuple[str, str], KindInfo] = {(info.group, info.kind): info for info in _ALL}

__all__ = ["KINDS", "KindInfo"]
