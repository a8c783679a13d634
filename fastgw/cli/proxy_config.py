"""``fastgw proxy-config``: listeners, routes, clusters, endpoints and secrets, in istioctl's columns or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import msgspec

from fastgw.cli.config_view import ConfigView, admin_option, view_files, view_running
from fastgw.cli.options import color_option, gateway_options

WHATS = {
    "listeners": "listeners",
    "listener": "listeners",
    "routes": "routes",
    "route": "routes",
    "clusters": "clusters",
    "cluster": "clusters",
    "endpoints": "endpoints",
    "endpoint": "endpoints",
    "secrets": "secrets",
    "secret": "secrets",
}


class Filters(msgspec.Struct, frozen=True):
    """What to show; "" and None let everything through."""

    name: str = ""
    fqdn: str = ""
    port: int | None = None
    address: str = ""
    subset: str = ""

    def keeps(self, entry: dict[str, Any]) -> bool:
        """An entry has to agree in every filter whose key it has."""
        for key, wanted in (("name", self.name), ("fqdn", self.fqdn), ("address", self.address), ("subset", self.subset)):
            if wanted and key in entry and entry[key] != wanted:
                return False
        return self.port is None or "port" not in entry or entry["port"] == self.port


@click.command(name="proxy-config")
@click.argument("what", type=click.Choice(list(WHATS)), metavar="listeners|routes|clusters|endpoints|secrets")
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("--name", default="", help="Only the route table, listener or secret of this name.")
@click.option("--fqdn", default="", help="Only clusters and endpoints of this full service name.")
@click.option("--port", type=click.IntRange(0, 65535), help="Only this port.")
@click.option("--address", default="", help="Only listeners or endpoints of this address.")
@click.option("--subset", default="", help="Only clusters and endpoints of this subset.")
@click.option("-o", "--output", type=click.Choice(["short", "json"]), default="short", help="Form of the output.")
@admin_option
@gateway_options
@color_option
def command(
    what: str,
    paths: tuple[str, ...],
    name: str,
    fqdn: str,
    port: int | None,
    address: str,
    subset: str,
    output: str,
    admin: str | None,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Show what the configuration in PATH... holds, or what the gateway at --admin serves."""
    if bool(paths) == bool(admin):
        raise click.UsageError("either PATH... or --admin is needed, and not both")
    view = view_running(admin, with_image=False) if admin else view_files(list(paths), labels, namespace, resolve)
    chosen = WHATS[what]
    if chosen == "secrets":
        from fastgw.cli.secrets_view import secret_entries

        entries = secret_entries(view.resources, namespace, secrets)
    else:
        entries = _ENTRIES[chosen](view)
    filters = Filters(name, fqdn, port, address, subset)
    _print(chosen, [entry for entry in entries if filters.keeps(entry)], output, view)


def _print(what: str, entries: list[dict[str, Any]], output: str, view: ConfigView) -> None:
    from fastgw.cli.output import print_json, table

    if output == "json":
        print_json(entries)
        return
    view.print_errors()
    header, row = _COLUMNS[what]
    click.echo(table(header, (cells for entry in entries for cells in row(entry))))


# --- entries: the JSON form, one a thing ---


def listener_entries(view: ConfigView) -> list[dict[str, Any]]:
    """In order of port and address."""
    return [
        {
            "name": listener.name,
            "address": listener.bind or "0.0.0.0",
            "port": listener.port,
            "protocol": listener.protocol,
            "route": listener.route_table,
            "proxyProtocol": listener.proxy_protocol,
            "servers": [
                {
                    "gateway": server.gateway.key,
                    "index": server.index,
                    "port": server.port,
                    "portName": server.port_name,
                    "protocol": server.protocol,
                    "hosts": list(server.hosts),
                    "file": server.gateway.origin.file,
                    "line": server.gateway.origin.line,
                }
                for server in listener.servers
            ],
            "file": listener.origin.file,
            "line": listener.origin.line,
        }
        for listener in view.plan.listeners
    ]


def route_entries(view: ConfigView) -> list[dict[str, Any]]:
    """One a virtual host, rules in match order."""
    from fastgw.cli.rule_view import rule_entry

    return [
        {
            "name": table.name,
            "virtualHost": host.name,
            "domains": list(host.domains),
            "requireTls": host.require_tls,
            "rules": [rule_entry(rule) for rule in host.rules],
            "file": host.origin.file,
            "line": host.origin.line,
        }
        for table in view.plan.route_tables.values()
        for host in sorted(table.virtual_hosts, key=lambda host: host.name)
    ]


def cluster_entries(view: ConfigView) -> list[dict[str, Any]]:
    """In order of host, port and subset."""
    return [
        {
            "name": cluster.name,
            "fqdn": cluster.host,
            "port": cluster.port,
            "subset": cluster.subset,
            "direction": "outbound",
            "type": _cluster_type(cluster.discovery, cluster.found_in),
            "destinationRule": cluster.destination_rule,
            "foundIn": cluster.found_in,
            "dnsName": cluster.dns_name,
            "dnsPort": cluster.dns_port,
            "loadBalancer": cluster.lb,
            "protocol": cluster.protocol,
            "connectTimeoutMs": cluster.connect_timeout_ms,
            "endpoints": len(cluster.endpoints),
            "file": cluster.origin.file,
            "line": cluster.origin.line,
        }
        for cluster in sorted(view.plan.clusters.values(), key=lambda cluster: (cluster.host, cluster.port, cluster.subset))
    ]


def endpoint_entries(view: ConfigView) -> list[dict[str, Any]]:
    """In order of cluster; a name that is resolved while serving stands for its addresses."""
    entries = []
    for cluster in sorted(view.plan.clusters.values(), key=lambda cluster: cluster.name):
        found = [(each.address, each.port, "HEALTHY" if each.healthy else "UNHEALTHY", each) for each in cluster.endpoints]
        common = {"cluster": cluster.name, "fqdn": cluster.host, "subset": cluster.subset}
        for address, port, status, endpoint in found:
            entries.append(
                {
                    "endpoint": _endpoint_text(address, port),
                    "address": address,
                    "port": port,
                    "status": status,
                    "outlierCheck": "OK",
                    "weight": endpoint.weight,
                    "locality": endpoint.locality,
                    **common,
                }
            )
        if cluster.discovery == "dns":
            name, port = cluster.dns_name, cluster.dns_port
            unknown = {"status": "UNKNOWN", "outlierCheck": "OK", "weight": 1, "locality": ""}
            entries.append({"endpoint": f"{name}:{port}", "address": name, "port": port, **unknown, **common})
    return entries


_ENTRIES = {
    "listeners": listener_entries,
    "routes": route_entries,
    "clusters": cluster_entries,
    "endpoints": endpoint_entries,
}


def _cluster_type(discovery: str, found_in: str) -> str:
    """Envoy's word for it."""
    if discovery == "dns":
        return "STRICT_DNS"
    return "EDS" if found_in in ("registry", "service-entry") else "STATIC"


def _endpoint_text(address: str, port: int) -> str:
    if address.startswith("unix:"):
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- rows: istioctl's columns ---

Rows = Iterable[tuple[object, ...]]


def _listener_rows(entry: dict[str, Any]) -> Rows:
    yield entry["address"], entry["port"], "ALL", f"Route: {entry['route']}"


def _route_rows(entry: dict[str, Any]) -> Rows:
    domains = ", ".join(entry["domains"])
    head = (entry["name"], entry["virtualHost"], domains)
    if entry["requireTls"]:
        yield *head, "/*", "301 to https"
    elif not entry["rules"]:
        yield *head, "/*", "404"
    for rule in [] if entry["requireTls"] else entry["rules"]:
        namespace, _, name = rule["virtualService"].partition("/")
        yield *head, rule["conditions"], f"{name}.{namespace}"


def _cluster_rows(entry: dict[str, Any]) -> Rows:
    subset = entry["subset"] or "-"
    yield entry["fqdn"], entry["port"], subset, entry["direction"], entry["type"], entry["destinationRule"]


def _endpoint_rows(entry: dict[str, Any]) -> Rows:
    yield entry["endpoint"], entry["status"], entry["outlierCheck"], entry["cluster"]


def _secret_rows(entry: dict[str, Any]) -> Rows:
    valid = str(entry["valid"]).lower()
    yield entry["name"], entry["type"], entry["status"], valid, entry["serialNumber"], entry["notAfter"], entry["notBefore"]


_COLUMNS = {
    "listeners": (("ADDRESSES", "PORT", "MATCH", "DESTINATION"), _listener_rows),
    "routes": (("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"), _route_rows),
    "clusters": (("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"), _cluster_rows),
    "endpoints": (("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"), _endpoint_rows),
    "secrets": (
        ("RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"),
        _secret_rows,
    ),
}
