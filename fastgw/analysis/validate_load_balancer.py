"""Rules of load balancing: hash keys, rings, localities, warm-up (fields.md, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_ms, check_percent, one_of
from fastgw.model.kinds.destination_rule import (
    ConsistentHash,
    HttpCookie,
    LoadBalancer,
    LocalityFailover,
    LocalityLbSetting,
    Warmup,
)
from fastgw.model.paths import join_key

MAGLEV_BELOW = 5_000_011
REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")


def check_load_balancer(findings: Findings, path: str, balancer: object, has_outlier_detection: bool) -> None:
    if not isinstance(balancer, LoadBalancer):
        return
    one_of(findings, path, {"simple": balancer.simple, "consistentHash": balancer.consistent_hash})
    if balancer.consistent_hash is not None:
        _check_hash(findings, f"{path}.consistentHash", balancer.consistent_hash)
    if balancer.locality_lb_setting is not None:
        _check_locality(findings, f"{path}.localityLbSetting", balancer.locality_lb_setting, has_outlier_detection)
    if balancer.zone_aware_lb_setting is not None:
        if balancer.locality_lb_setting is not None:
            findings.error(f"{path}.zoneAwareLbSetting", "localityLbSetting and zoneAwareLbSetting exclude each other")
        zone = balancer.zone_aware_lb_setting
        _check_failover(findings, f"{path}.zoneAwareLbSetting", zone.failover, zone.failover_priority, has_outlier_detection)
    check_ms(findings, f"{path}.warmupDurationSecs", balancer.warmup_duration_secs)
    if balancer.warmup is not None:
        _check_warmup(findings, f"{path}.warmup", balancer.warmup)


def _check_hash(findings: Findings, path: str, rule: ConsistentHash) -> None:
    keys = {
        "httpHeaderName": rule.http_header_name,
        "httpCookie": rule.http_cookie,
        "useSourceIp": rule.use_source_ip,
        "httpQueryParameterName": rule.http_query_parameter_name,
    }
    one_of(findings, path, keys)
    one_of(findings, path, {"ringHash": rule.ring_hash, "maglev": rule.maglev})
    if rule.http_cookie is not None:
        _check_cookie(findings, f"{path}.httpCookie", rule.http_cookie)
    if rule.minimum_ring_size:
        if rule.ring_hash is not None or rule.maglev is not None:
            findings.error(f"{path}.minimumRingSize", "minimumRingSize has its place in ringHash")
        else:
            findings.warn(f"{path}.minimumRingSize", "minimumRingSize has moved into ringHash")
    if rule.maglev is not None:
        size = rule.maglev.table_size
        if not 1 < size < MAGLEV_BELOW or not _is_prime(size):
            findings.error(f"{path}.maglev.tableSize", f"{size} is no table size: a prime below {MAGLEV_BELOW} is needed")


def _check_cookie(findings: Findings, path: str, cookie: HttpCookie) -> None:
    if not cookie.name:
        findings.error(path, "a cookie needs a name")
    check_ms(findings, f"{path}.ttl", cookie.ttl, zero=True)
    seen: set[str] = set()
    for index, attribute in enumerate(cookie.attributes):
        here = f"{path}.attributes[{index}]"
        if not attribute.name:
            findings.error(here, "an attribute of a cookie needs a name")
        elif attribute.name in seen:
            findings.error(here, f'attribute "{attribute.name}" is there twice')
        seen.add(attribute.name)


def _check_warmup(findings: Findings, path: str, warmup: Warmup) -> None:
    if warmup.duration is None:
        findings.error(path, "a warm-up needs a duration")
    check_ms(findings, f"{path}.duration", warmup.duration)
    if warmup.minimum_percent is not None:
        check_percent(findings, f"{path}.minimumPercent", warmup.minimum_percent)
    if warmup.aggression is not None and warmup.aggression <= 0:
        findings.error(f"{path}.aggression", "aggression has to be above 0")


def _check_locality(findings: Findings, path: str, setting: LocalityLbSetting, has_outlier_detection: bool) -> None:
    if setting.distribute and (setting.failover or setting.failover_priority):
        findings.error(f"{path}.distribute", "distribute excludes failover and failoverPriority")
    sources: list[str] = []
    for index, entry in enumerate(setting.distribute):
        here = f"{path}.distribute[{index}]"
        _check_place(findings, f"{here}.from", entry.from_)
        overlap = next((other for other in sources if _contains(other, entry.from_) or _contains(entry.from_, other)), None)
        if overlap is not None:
            findings.error(f"{here}.from", f'"{entry.from_}" and "{overlap}" overlap')
        sources.append(entry.from_)
        for place, share in entry.to.items():
            _check_place(findings, join_key(f"{here}.to", place), place)
            if not 0 < share <= 100:
                findings.error(join_key(f"{here}.to", place), f"{share} is no share, they go from 1 to 100")
        if entry.to and sum(entry.to.values()) != 100:
            findings.error(f"{here}.to", "the shares do not add up to 100")
    _check_failover(findings, path, setting.failover, setting.failover_priority, has_outlier_detection)


def _check_failover(
    findings: Findings,
    path: str,
    failover: Sequence[LocalityFailover],
    priority: Sequence[str],
    has_outlier_detection: bool,
) -> None:
    for index, entry in enumerate(failover):
        here = f"{path}.failover[{index}]"
        for field, region in (("from", entry.from_), ("to", entry.to)):
            if not region or "*" in region or "/" in region:
                findings.error(f"{here}.{field}" if region else here, f'"{region}" is no region')
        if entry.from_ == entry.to:
            findings.error(here, "a region cannot fall back to itself")
    if failover and not has_outlier_detection:
        findings.warn(f"{path}.failover", "failover does nothing without outlierDetection")
    for index, label in enumerate(priority):
        if failover and label.partition("=")[0] in REGION_LABELS:
            findings.error(f"{path}.failoverPriority[{index}]", "failover and a label of the region contradict each other")


def _check_place(findings: Findings, path: str, place: str) -> None:
    """``region/zone/subzone``, with a star at most as the last part."""
    parts = place.split("/")
    if len(parts) > 3 or not all(parts) or any("*" in part for part in parts[:-1]) or ("*" in parts[-1] and parts[-1] != "*"):
        findings.error(path, f'"{place}" is no locality: region/zone/subzone, a star only as the last part')


def _contains(wide: str, narrow: str) -> bool:
    """Whether every place of ``narrow`` is one of ``wide``."""
    return wide == narrow or wide == "*" or narrow.startswith(wide.removesuffix("*").rstrip("/") + "/")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
