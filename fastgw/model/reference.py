"""The table of supported fields, made from the types: ``python -m fastgw.model.reference`` prints it as Markdown.

What a field does is said in ``EFFECTS`` by path; the longest path that is a prefix of the field's counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import inspect

from fastgw.model.kind_notes import NO_EFFECT, note_on
from fastgw.model.kinds import KINDS, KindInfo
from fastgw.model.kinds.base import StringMatch

YES, NOT_YET, NONE = "yes", "not yet", "none"
"""``none``: valid, and means nothing at a gateway (here as in Istio, or by the nature of this gateway)."""

EFFECTS: dict[str, dict[str, str]] = {
    "Gateway": {
        "": YES,
        "servers[].port.targetPort": NONE,
        "servers[].defaultEndpoint": NONE,
        "servers[].name": NONE,
        "servers[].tls.tlsCertificates[].caCertificates": NONE,
    },
    "VirtualService": {
        "": YES,
        "http[].match[].statPrefix": NONE,
        "http[].fault.delay.exponentialDelay": NONE,
        "http[].fault.abort.http2Error": NONE,
        "tls[].match[].destinationSubnets": NONE,
        "tls[].match[].sourceLabels": NONE,
        "tls[].match[].sourceNamespace": NONE,
        "tcp[].match[].destinationSubnets": NONE,
        "tcp[].match[].sourceSubnet": NONE,
        "tcp[].match[].sourceLabels": NONE,
        "tcp[].match[].sourceNamespace": NONE,
    },
    "DestinationRule": {
        "": YES,
        "trafficPolicy": NOT_YET,
        "trafficPolicy.loadBalancer": YES,
        "trafficPolicy.loadBalancer.zoneAwareLbSetting": NOT_YET,
        "trafficPolicy.loadBalancer.backendUtilization": NONE,
        "trafficPolicy.outlierDetection": YES,
        "trafficPolicy.outlierDetection.consecutiveErrors": NONE,
        "trafficPolicy.connectionPool": YES,
        "trafficPolicy.proxyProtocol": YES,
        "trafficPolicy.retryBudget": YES,
        "trafficPolicy.retryBudget.budgetInterval": NOT_YET,
        "trafficPolicy.portLevelSettings[].port": YES,
        "trafficPolicy.tls": YES,
    },
    "ServiceEntry": {"": YES, "addresses": NONE, "location": NONE}
    | {f"endpoints[].{field}": NONE for field in ("network", "serviceAccount")},
    "WorkloadEntry": {"": YES, "network": NONE, "serviceAccount": NONE},
    "Service": {"": NONE}
    | {field: YES for field in ("ports", "selector", "type", "externalName", "publishNotReadyAddresses")}
    | {"ports[].nodePort": NONE, "trafficDistribution": YES},
    "EndpointSlice": {"": YES, "endpoints[].hostname": NONE, "endpoints[].nodeName": NONE, "endpoints[].hints": NONE}
    | {"ports[].protocol": NONE, "ports[].appProtocol": NONE},
    "Endpoints": {"": YES, "subsets[].addresses[].hostname": NONE, "subsets[].addresses[].nodeName": NONE}
    | {"subsets[].ports[].protocol": NONE, "subsets[].ports[].appProtocol": NONE},
    "RouteTest": {"": YES},
    "EdgePolicy": {"": YES},
    "ErrorPages": {"": YES},
    "Secret": {"": YES, "type": NONE, "immutable": NONE},
    "ConfigMap": {"": NONE, "data": YES},
}


class Row(msgspec.Struct, frozen=True):
    """One field. ``type``: text, number, duration, names of an enum, ``as PATH`` for a block that has been described."""

    path: str
    type: str
    effect: str


def rows(info: KindInfo) -> list[Row]:
    """Every field of a kind, blocks before what is in them."""
    if info.spec is None:
        return []
    return list(_rows(inspect.type_info(info.spec), "", info, {}))


def _rows(kind: inspect.Type, path: str, info: KindInfo, seen: dict[type, str]) -> Iterator[Row]:
    assert isinstance(kind, inspect.StructType)
    seen[kind.cls] = path
    for field in kind.fields:
        here = f"{path}.{field.encode_name}" if path else field.encode_name
        inner, suffix = _unwrap(field.type)
        place = here + suffix
        if not isinstance(inner, inspect.StructType):
            yield Row(place, _words(inner), effect_of(info, place))
        elif inner.cls is StringMatch:
            yield Row(place, "exact, prefix or regex", effect_of(info, place))
        elif inner.cls in seen and len(inner.fields) > 3:
            yield Row(place, f"as `{seen[inner.cls]}`", "as there")
        else:
            yield from _rows(inner, place, info, seen)


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """The type inside lists, maps and "or nothing", and how the path says that: ``[]``, ``.*``."""
    suffix = ""
    while True:
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            rest = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            if len(rest) > 1:
                return kind, suffix
            kind = rest[0]
        elif isinstance(kind, (inspect.VarTupleType, inspect.ListType)):
            kind, suffix = kind.item_type, f"{suffix}[]"
        elif isinstance(kind, inspect.DictType):
            kind, suffix = kind.value_type, f"{suffix}.*"
        else:
            return kind, suffix


def _words(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(map(str, kind.values))
    if isinstance(kind, inspect.StrType):
        return "duration" if kind.pattern is not None else "text"
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_words(one) for one in kind.types if not isinstance(one, inspect.NoneType))
    if isinstance(kind, inspect.BoolType):
        return "true, false"
    return "number" if isinstance(kind, (inspect.IntType, inspect.FloatType)) else "any"


def effect_of(info: KindInfo, path: str) -> str:
    """What a field does in this version: yes, not yet, none."""
    effects = EFFECTS.get(info.kind)
    if effects is None:
        note = note_on(info.group, info.kind)
        return NONE if note is not None and note[0] == NO_EFFECT else NOT_YET
    known = [prefix for prefix in effects if not prefix or path == prefix or path.startswith((f"{prefix}.", f"{prefix}["))]
    return effects[max(known, key=len)]


def markdown() -> str:
    """One table of the kinds, one of the fields of each kind that has an effect."""
    lines = ["| kind | apiVersion | effect |", "| --- | --- | --- |"]
    for info in KINDS.values():
        versions = ", ".join(f"{info.group}/{version}" if info.group else version for version in info.versions)
        lines.append(f"| {info.kind} | {versions} | {_summary(info)} |")
    for info in KINDS.values():
        if info.kind in EFFECTS:
            lines += ["", f"<details><summary>{info.kind}</summary>", "", "| field | type | effect |", "| --- | --- | --- |"]
            lines += [f"| `{row.path}` | {row.type} | {row.effect} |" for row in rows(info)]
            lines += ["", "</details>"]
    return "\n".join(lines)


def _summary(info: KindInfo) -> str:
    if info.kind in EFFECTS:
        return "see below"
    note = note_on(info.group, info.kind)
    return note[1] if note is not None else "names and labels only"


if __name__ == "__main__":
    print(markdown())
