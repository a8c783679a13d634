"""networking.istio.io ServiceEntry, WorkloadEntry and WorkloadGroup: services that no cluster knows."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastgw.model.kinds.base import Int32, Spec, UInt32


class ServicePort(Spec):
    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0


class WorkloadSelector(Spec):
    """Selects WorkloadEntries (and pods) of the ServiceEntry's namespace."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)


class WorkloadEntry(Spec):
    """``address``: an IP, a name (DNS resolution only) or ``unix:///path``. ``weight`` 0 counts as 1."""

    address: str = ""
    ports: dict[str, UInt32] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    network: str = ""
    locality: str = ""
    weight: UInt32 = 0
    service_account: str = ""


class ServiceEntry(Spec):
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()


class GroupMetadata(Spec):
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Probe(Spec):
    """Only for the registration of virtual machines; nothing at a gateway reads it."""

    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 0
    period_seconds: Int32 = 0
    success_threshold: Int32 = 0
    failure_threshold: Int32 = 0
    http_get: Any = None
    tcp_socket: Any = None
    exec: Any = None
    grpc: Any = None


class WorkloadGroup(Spec):
    metadata: GroupMetadata | None = None
    template: WorkloadEntry | None = None
    probe: Probe | None = None
