"""Objects of Kubernetes that a gateway reads: services and their endpoints, secrets.

Their schemas are complete, because manifests that people have are complete; what a gateway does not read is ``Any``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.model.kinds.base import Int32, Spec


class ServicePort(Spec):
    """``target_port``: a number, or the name of a port of the pods; None: same as ``port``."""

    name: str = ""
    port: Int32 = 0
    target_port: int | str | None = None
    node_port: Int32 = 0
    protocol: str = "TCP"
    app_protocol: str | None = None


class Service(Spec):
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    session_affinity: Any = None
    session_affinity_config: Any = None
    load_balancer_ip: Any = msgspec.field(default=None, name="loadBalancerIP")
    load_balancer_source_ranges: Any = None
    load_balancer_class: Any = None
    external_traffic_policy: Any = None
    internal_traffic_policy: Any = None
    health_check_node_port: Any = None
    ip_families: Any = None
    ip_family_policy: Any = None
    allocate_load_balancer_node_ports: Any = None
    traffic_distribution: str | None = None
    topology_keys: Any = None


class TargetRef(Spec):
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: Any = None
    api_version: Any = None
    resource_version: Any = None
    field_path: Any = None


class EndpointConditions(Spec):
    """None counts as: ready yes, serving as ready, terminating no."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Spec):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    target_ref: TargetRef | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Any = None
    deprecated_topology: dict[str, str] | None = None


class SlicePort(Spec):
    name: str | None = None
    protocol: str | None = None
    port: Int32 | None = None
    app_protocol: str | None = None


class EndpointSlice(Spec):
    """Belongs to the Service named by its label ``kubernetes.io/service-name``. ``address_type`` FQDN is not used by Istio."""

    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] | None = ()
    ports: tuple[SlicePort, ...] | None = ()


class EndpointAddress(Spec):
    ip: str = ""
    hostname: str = ""
    node_name: str | None = None
    target_ref: TargetRef | None = None


class EndpointPort(Spec):
    name: str = ""
    port: Int32 = 0
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(Spec):
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Spec):
    """The older form, belongs to the Service of its own name; read when that has no EndpointSlice."""

    subsets: tuple[EndpointSubset, ...] = ()


class Secret(Spec):
    """``data`` is base64 text, ``string_data`` plain text and wins."""

    type: str = "Opaque"
    data: dict[str, str] | None = None
    string_data: dict[str, str] | None = None
    immutable: bool | None = None


class ConfigMap(Spec):
    """Read for CAs that are named by ``configmap://``; what else it holds is nobody's here."""

    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None
    immutable: bool | None = None
