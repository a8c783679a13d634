"""What a running gateway knows of its endpoints right now: addresses from DNS, health, ejection (GET /clusters there)."""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.model.plan import Endpoint, Plan

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
        entries += [entry | common for entry in _live_entries(cluster, planned.endpoints if planned is not None else [])]
    return entries


def _live_entries(cluster: dict[str, Any], planned: list[Endpoint]) -> list[dict[str, Any]]:
    """The addresses of a cluster, and its names that have none."""
    known = {(each.address, each.port): each for each in planned}
    names = {each.address: each for each in planned if each.lookup}
    entries, answered = [], set()
    for endpoint in cluster["endpoints"]:
        name = endpoint.get("name", "")
        entries.append(_live_entry(endpoint, names.get(name) or known.get((endpoint["address"], endpoint["port"]))))
        answered.add(name)
    status = "UNKNOWN" if cluster.get("dnsStatus") == "unknown" else "UNHEALTHY"
    return entries + [planned_entry(each, status) for name, each in names.items() if name not in answered]


def planned_entry(endpoint: Endpoint, status: str) -> dict[str, Any]:
    """An endpoint of the Plan; a name stands for the addresses that DNS has for it."""
    return {
        "endpoint": endpoint_text(endpoint.address, endpoint.port),
        "address": endpoint.address,
        "port": endpoint.port,
        "status": status,
        "outlierCheck": "OK",
        "weight": endpoint.weight,
        "locality": endpoint.locality,
    }


def _live_entry(endpoint: dict[str, Any], planned: Endpoint | None) -> dict[str, Any]:
    address, port = endpoint["address"], endpoint["port"]
    return {
        "endpoint": endpoint_text(address, port),
        "address": address,
        "port": port,
        "status": "HEALTHY" if endpoint["healthy"] else "UNHEALTHY",
        "outlierCheck": "FAILED" if endpoint["ejected"] else "OK",
        "weight": endpoint.get("weight", planned.weight if planned is not None else 1),
        "locality": planned.locality if planned is not None else "",
        "active": endpoint["active"],
        "requests": endpoint["requests"],
        "failures": endpoint["failures"],
        **({"healthCheck": endpoint["healthCheck"]} if "healthCheck" in endpoint else {}),
    }
