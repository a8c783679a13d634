"""What a running gateway knows of its endpoints right now: addresses from DNS, health, ejection (GET /clusters there)."""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.model.plan import Cluster, Endpoint, Plan

LiveClusters = dict[str, dict[str, Any]]


def live_clusters(admin: str) -> LiveClusters:
    """Clusters by name, as the admin API answers them."""
    from fastgw.cli.config_view import fetch

    return {cluster["name"]: cluster for cluster in msgspec.json.decode(fetch(admin, "/clusters"), type=list[dict[str, Any]])}


def live_destinations(answer: dict[str, Any], clusters: LiveClusters) -> None:
    """Puts the addresses that are in use into an explanation; a name that is not resolved yet stays a name."""
    for destination in answer["destinations"]:
        cluster = clusters.get(destination["cluster"])
        if cluster is not None and not waits_for_dns(cluster):
            destination["endpoints"] = [endpoint_text(each["address"], each["port"]) for each in cluster["endpoints"]]


def waits_for_dns(cluster: dict[str, Any]) -> bool:
    """Nothing is known of the name's addresses yet."""
    return cluster["discovery"] == "dns" and not cluster["endpoints"] and cluster.get("dnsStatus") != "ok"


def endpoint_text(address: str, port: int) -> str:
    """ "10.0.0.1:80", "[::1]:80", "unix:/path"."""
    if address.startswith("unix:"):
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def live_endpoint_entries(plan: Plan, clusters: LiveClusters) -> list[dict[str, Any]]:
    """The entries of ``proxy-config endpoints``: addresses, health and counts as they are now, weights from the Plan."""
    entries = []
    for name in sorted(clusters):
        cluster, planned = clusters[name], plan.clusters.get(name)
        common = {"cluster": name, "fqdn": cluster["host"], "subset": cluster["subset"]}
        known = {(each.address, each.port): each for each in planned.endpoints} if planned is not None else {}
        for endpoint in cluster["endpoints"]:
            entries.append(_live_entry(endpoint, known.get((endpoint["address"], endpoint["port"]))) | common)
        if planned is not None and cluster["discovery"] == "dns" and not cluster["endpoints"]:
            status = "UNHEALTHY" if cluster.get("dnsStatus") == "failed" else "UNKNOWN"
            entries.append(unresolved_entry(planned, status) | common)
    return entries


def unresolved_entry(cluster: Cluster, status: str) -> dict[str, Any]:
    """The name in place of the addresses that DNS has for it."""
    name, port = cluster.dns_name, cluster.dns_port
    place: dict[str, Any] = {"endpoint": endpoint_text(name, port), "address": name, "port": port}
    return place | {"status": status, "outlierCheck": "OK", "weight": 1, "locality": ""}


def _live_entry(endpoint: dict[str, Any], planned: Endpoint | None) -> dict[str, Any]:
    address, port = endpoint["address"], endpoint["port"]
    return {
        "endpoint": endpoint_text(address, port),
        "address": address,
        "port": port,
        "status": "HEALTHY" if endpoint["healthy"] else "UNHEALTHY",
        "outlierCheck": "FAILED" if endpoint["ejected"] else "OK",
        "weight": planned.weight if planned is not None else 1,
        "locality": planned.locality if planned is not None else "",
        "active": endpoint["active"],
        "requests": endpoint["requests"],
        "failures": endpoint["failures"],
    }
