"""Where endpoints are and where the gateway is: levels of failover and weights of localities (Q7), decided when a cluster is built.

The gateway's own place is among its labels, as a pod's is in Istio: ``istio-locality: region.zone.subzone``, else Kubernetes'
topology labels. Without one nothing here has an effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fastgw.compiler.endpoints import Labelled
from fastgw.compiler.registry import ServiceRecord
from fastgw.model.kinds.destination_rule import LoadBalancer, LocalityDistribute, LocalityLbSetting
from fastgw.model.plan import Endpoint

LOCALITY = "istio-locality"
REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
OTHER_REGION = 3
MAX_LEVEL = 15
TRAFFIC_DISTRIBUTION = "networking.istio.io/traffic-distribution"
PREFER_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")
SHARE = 10_000
"""Weight of a locality that has one per cent: fine enough for its endpoints to share."""

Place = tuple[str, str, str]


def place_of(text: str) -> Place:
    """Of "region/zone/subzone"; what is not said is ""."""
    parts = [*text.split("/", 2), "", ""]
    return parts[0], parts[1], parts[2]


def place_of_labels(labels: Mapping[str, str]) -> str:
    """ "" when they say nothing."""
    given = labels.get(LOCALITY, "")
    if given:
        return given if "/" in given else given.replace(".", "/")
    parts = (labels.get(REGION, ""), labels.get(ZONE, ""), labels.get(SUBZONE, ""))
    return "/".join(parts).rstrip("/")


def locality_setting(balancer: LoadBalancer | None) -> LocalityLbSetting | None:
    """None when it is switched off; failover by locality is on without a word (the mesh's default)."""
    setting = balancer.locality_lb_setting if balancer is not None else None
    if setting is None:
        return LocalityLbSetting()
    return None if setting.enabled is False else setting


def prefers_close(record: ServiceRecord) -> bool:
    """Its Service asks for endpoints near by; then levels need no outlierDetection."""
    source = record.source
    if source is None:
        return False
    wish = source.annotations.get(TRAFFIC_DISTRIBUTION) or (source.spec.traffic_distribution if source.kind == "Service" else "")
    return wish in PREFER_CLOSE


def arrange(
    placed: Iterable[Labelled], setting: LocalityLbSetting | None, may_fail_over: bool, gateway: Mapping[str, str]
) -> list[Endpoint]:
    """The endpoints with their localities, weights and levels, best level first. ``gateway``: its labels."""
    known = [_with_locality(each) for each in placed]
    own = place_of_labels(gateway)
    if setting is None or not known or (not own and not setting.failover_priority):
        return [each.endpoint for each in known]
    here = place_of(own)
    shares = next((entry for entry in setting.distribute if own and matches(here, entry.from_)), None)
    if shares is not None:
        return _distributed(known, shares)
    if not may_fail_over or setting.distribute:
        return [each.endpoint for each in known]
    if setting.failover_priority:
        levels = [_label_level(each, setting.failover_priority, gateway) for each in known]
    else:
        next_region = next((entry.to for entry in setting.failover if entry.from_ == here[0]), "")
        levels = [_level(here, place_of(each.endpoint.locality), next_region) for each in known]
    return _leveled(known, levels)


def _with_locality(each: Labelled) -> Labelled:
    """A label of the workload says better than anything else where it is."""
    labelled = each.labels.get(LOCALITY, "")
    if not labelled:
        return each
    place = place_of_labels({LOCALITY: labelled})
    return Labelled(msgspec.structs.replace(each.endpoint, locality=place), each.labels)


# --- distribute ---


def matches(place: Place, pattern: str) -> bool:
    """``pattern``: "region/zone/*", "region/*", "region", "*"."""
    return all(want in ("*", "", got) for got, want in zip(place, place_of(pattern), strict=True))


def _distributed(known: list[Labelled], shares: LocalityDistribute) -> list[Endpoint]:
    """Each place has its share, which its endpoints divide by their weights; who is in no place that is named gets nothing."""
    found, rest = [], known
    for pattern, percent in shares.to.items():
        inside: list[Labelled] = []
        outside: list[Labelled] = []
        for each in rest:
            (inside if matches(place_of(each.endpoint.locality), pattern) else outside).append(each)
        rest = outside
        total = sum(max(each.endpoint.weight, 1) for each in inside)
        for each in inside:
            weight = max(percent * SHARE * max(each.endpoint.weight, 1) // total, 1)
            found.append(msgspec.structs.replace(each.endpoint, weight=weight))
    return found


# --- failover ---


def _level(here: Place, there: Place, next_region: str) -> int:
    """The same subzone, zone, region; then the region to fall back to, where one is named; then all others."""
    same_zone = here[1] == there[1]
    unknown_region = "" in (here[0], there[0])  # an EndpointSlice names zones only
    if here[0] != there[0] and not (unknown_region and same_zone and here[1]):
        return OTHER_REGION + 1 if next_region and there[0] != next_region else OTHER_REGION
    if not same_zone:
        return 2
    return 0 if here[2] == there[2] else 1


def _label_level(each: Labelled, priority: tuple[str, ...], gateway: Mapping[str, str]) -> int:
    """The more of the labels agree, from the first on, the better. "key=value" wants that value, "key" the gateway's."""
    own, theirs = _with_topology(gateway, place_of_labels(gateway)), _with_topology(each.labels, each.endpoint.locality)
    for agreed, label in enumerate(priority):
        key, separator, value = label.partition("=")
        if theirs.get(key, "") != (value if separator else own.get(key, "")):
            return len(priority) - agreed
    return 0


def _with_topology(labels: Mapping[str, str], locality: str) -> Mapping[str, str]:
    region, zone, subzone = place_of(locality)
    known = {REGION: region, ZONE: zone, SUBZONE: subzone}
    return {**{key: value for key, value in known.items() if value}, **labels}


def _leveled(known: list[Labelled], levels: list[int]) -> list[Endpoint]:
    """Levels that nobody is on are left out."""
    used = {level: min(place, MAX_LEVEL) for place, level in enumerate(sorted(set(levels)))}
    if len(used) == 1:
        return [each.endpoint for each in known]
    found = [msgspec.structs.replace(each.endpoint, priority=used[level]) for each, level in zip(known, levels, strict=True)]
    return sorted(found, key=lambda endpoint: endpoint.priority)
