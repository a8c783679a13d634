"""What to say about a kind that is not served: misspelt, without effect at a gateway, not supported yet, or somebody else's."""

from __future__ import annotations

from fastgw.model.kinds import KINDS, KindInfo
from fastgw.model.nearest import did_you_mean, nearest

UNKNOWN, UNSERVED, FOREIGN, NO_EFFECT, NOT_SUPPORTED = "FGW0011", "FGW0012", "FGW0013", "FGW0014", "FGW0015"

SUMMED_UP = frozenset((FOREIGN, NO_EFFECT, NOT_SUPPORTED))
"""Codes of findings about a kind rather than an object: one line a kind is enough."""

_NETWORKING, _SECURITY, _EXTENSIONS = "networking.istio.io", "security.istio.io", "extensions.istio.io"
_NOTES: dict[tuple[str, str], tuple[str, str]] = {
    (_NETWORKING, "EnvoyFilter"): (NOT_SUPPORTED, "EnvoyFilter has no effect here; for an access log use --access-log"),
    (_NETWORKING, "Sidecar"): (NO_EFFECT, "Sidecar has no effect at a gateway"),
    (_NETWORKING, "ProxyConfig"): (NO_EFFECT, "ProxyConfig has no effect here; for the number of processes use --workers"),
    (_NETWORKING, "WorkloadGroup"): (NO_EFFECT, "WorkloadGroup has no effect at a gateway; WorkloadEntry has"),
    (_SECURITY, "PeerAuthentication"): (NO_EFFECT, "PeerAuthentication has no effect at a gateway"),
    (_SECURITY, "AuthorizationPolicy"): (NOT_SUPPORTED, "AuthorizationPolicy is not enforced yet"),
    (_SECURITY, "RequestAuthentication"): (NOT_SUPPORTED, "RequestAuthentication is not enforced yet"),
    ("telemetry.istio.io", "Telemetry"): (NOT_SUPPORTED, "Telemetry has no effect yet; for an access log use --access-log"),
    (_EXTENSIONS, "WasmPlugin"): (NOT_SUPPORTED, "WasmPlugin has no effect here: there is no Wasm runtime"),
    (_EXTENSIONS, "TrafficExtension"): (NOT_SUPPORTED, "TrafficExtension has no effect here"),
    ("install.istio.io", "IstioOperator"): (NO_EFFECT, "IstioOperator has no effect here; see the options of fastgw run"),
    ("", "Pod"): (NO_EFFECT, "Pod has no effect here beyond its labels; endpoints come from EndpointSlice or Endpoints"),
}
_CORE_KINDS = frozenset(
    (
        "Binding",
        "ComponentStatus",
        "Event",
        "LimitRange",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodTemplate",
        "ReplicationController",
        "ResourceQuota",
        "ServiceAccount",
        "Node",
        "Pod",
        "Namespace",
    )
)
_GATEWAY_API = "gateway.networking.k8s.io"
_KUBERNETES_GROUPS = frozenset(
    (
        "apps",
        "batch",
        "autoscaling",
        "policy",
        "rbac.authorization.k8s.io",
        "networking.k8s.io",
        "discovery.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "node.k8s.io",
        "scheduling.k8s.io",
        "metrics.k8s.io",
    )
)


def note_on(group: str, kind: str) -> tuple[str, str] | None:
    """(code, message) for a kind that is known and does nothing here; None for one that is served."""
    return _NOTES.get((group, kind))


def judge_kind(api_version: str, group: str, kind: str) -> tuple[str, str, str]:
    """(code, message, path) for a kind that is not in ``KINDS``."""
    note = _NOTES.get((group, kind))
    if note is not None:
        return *note, "kind"
    if group == _GATEWAY_API:
        return NOT_SUPPORTED, f"{kind} of the Gateway API is not supported yet", "kind"
    owner = _owner(group, kind)
    if owner is not None:
        return UNKNOWN, f'{kind} is no kind of "{api_version}", it belongs to "{served(owner)[0]}"', "apiVersion"
    if group.endswith((".istio.io", ".fastgw.io")) or (not group and kind not in _CORE_KINDS):
        of = f' of "{group}"' if group else ""
        return UNKNOWN, f'unknown kind "{kind}"{of}{did_you_mean(kind, _siblings(group))}', "kind"
    if not group or group in _KUBERNETES_GROUPS:
        return NO_EFFECT, f"{kind} has no effect here", "kind"
    return FOREIGN, f"{kind} ({api_version}) is a kind of another project, passed over", "kind"


def judge_version(info: KindInfo, version: str) -> tuple[str, str] | None:
    """(code, message) when the kind is not served in this version."""
    if version in info.versions:
        return None
    return UNSERVED, f'"{version}" of {info.kind} does not exist, served are {", ".join(served(info))}'


def served(info: KindInfo) -> list[str]:
    """The apiVersions of a kind, the preferred one first."""
    return [f"{info.group}/{version}" if info.group else version for version in info.versions]


def _owner(group: str, kind: str) -> KindInfo | None:
    """The kind of that name in the group that was probably meant."""
    for info in KINDS.values():
        near = not group or group.endswith(".istio.io") or group in _KUBERNETES_GROUPS or nearest(group, [info.group])
        if info.kind == kind and near:
            return info
    return None


def _siblings(group: str) -> set[str]:
    known = {kind for of, kind in (*KINDS, *_NOTES) if of == group}
    return known if group else known | _CORE_KINDS
