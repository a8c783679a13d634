"""``fastgw proxy-config``: listeners, routes, clusters, endpoints and secrets, in istioctl's columns or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import msgspec

from fastgw.cli.config_view import DEFAULT_ADMIN, ConfigView, admin_option, view_files, view_running
from fastgw.cli.listener_view import COLUMNS, connection_limits, limit_rows
from fastgw.cli.live_view import planned_entry
from fastgw.cli.options import color_option, gateway_options
from fastgw.model.plan import DEFAULTS, Chain, Cluster, Policy, VirtualHost
from fastgw.model.plan_text import pages_text

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


CREDENTIAL = "kubernetes://"
"""Before the names of certificates, as istioctl shows them; may be left out in ``--name``."""


class Filters(msgspec.Struct, frozen=True):
    """What to show; "" and None let everything through. ``fqdn`` is a part of the name, as istioctl's is, the others are whole."""

    name: str = ""
    fqdn: str = ""
    port: int | None = None
    address: str = ""
    subset: str = ""
    cluster: str = ""
    status: str = ""

    def keeps(self, entry: dict[str, Any]) -> bool:
        """An entry has to agree in every filter whose key it has."""
        if self.fqdn.lower() not in entry.get("fqdn", self.fqdn).lower():
            return False
        for key in ("name", "address", "subset", "cluster", "status"):
            wanted = getattr(self, key)
            if wanted and key in entry and wanted not in (entry[key], entry[key].removeprefix(CREDENTIAL)):
                return False
        return self.port is None or "port" not in entry or entry["port"] == self.port


@click.command(name="proxy-config")
@click.argument("what", type=click.Choice(list(WHATS)), metavar="listeners|routes|clusters|endpoints|secrets")
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("--name", default="", help="Only the route table, listener or secret of this name.")
@click.option("--fqdn", default="", help="Only clusters and endpoints with this in the full service name.")
@click.option("--port", type=click.IntRange(0, 65535), help="Only this port.")
@click.option("--address", default="", help="Only listeners or endpoints of this address.")
@click.option("--subset", default="", help="Only clusters and endpoints of this subset.")
@click.option("--cluster", default="", help="Only endpoints of the cluster of this name.")
@click.option("--status", default="", help="Only endpoints in this state, secrets likewise.")
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
    cluster: str,
    status: str,
    output: str,
    admin: str | None,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Show what the configuration in PATH... holds; without PATH, what the running gateway at --admin serves."""
    if paths and admin:
        raise click.UsageError("either PATH... or --admin, not both")
    place = "" if paths else admin or DEFAULT_ADMIN
    view = view_running(place, with_image=False) if place else view_files(list(paths), labels, namespace, resolve)
    chosen = WHATS[what]
    if chosen == "endpoints" and place:
        from fastgw.cli.live_view import live_clusters, live_endpoint_entries

        entries = live_endpoint_entries(view.plan, live_clusters(place))
    elif chosen == "secrets":
        entries = _running_secrets(place) if place else _secrets_of_files(view, namespace, secrets)
    elif chosen == "listeners":
        entries = listener_entries(view, _running_options(place) if place else {})
    else:
        entries = _ENTRIES[chosen](view)
    filters = Filters(name, fqdn, port, address, subset, cluster, status.upper())
    _print(chosen, [entry for entry in entries if filters.keeps(entry)], output, view)


def _running_options(admin: str) -> dict[str, Any]:
    """What ``run`` was told."""
    from fastgw.cli.config_view import fetch

    return msgspec.json.decode(fetch(admin, "/config/options"), type=dict[str, Any])


def _running_secrets(admin: str) -> list[dict[str, Any]]:
    """What the gateway holds, not what its files hold by now."""
    from fastgw.cli.config_view import fetch

    return msgspec.json.decode(fetch(admin, "/secrets"), type=list[dict[str, Any]])


def _secrets_of_files(view: ConfigView, namespace: str, directories: tuple[str, ...]) -> list[dict[str, Any]]:
    """All that there are, and those that the configuration names and that are not there."""
    from fastgw.credentials.keeper import Keeper
    from fastgw.credentials.names import names_of_plan
    from fastgw.credentials.places import PlaceOptions, Places
    from fastgw.credentials.view import names_in, secret_entries

    places = Places(PlaceOptions(namespace, directories), view.resources)
    needs = names_in(places) | names_of_plan(view.plan)
    _, statuses = Keeper(places).collect(dict(sorted(needs.items())))
    return secret_entries(statuses, namespace)


def _print(what: str, entries: list[dict[str, Any]], output: str, view: ConfigView) -> None:
    from fastgw.cli.output import print_json, table

    if output == "json":
        print_json(entries)
        return
    view.print_errors()
    header, row = _COLUMNS[what]
    click.echo(table(header, (cells for entry in entries for cells in row(entry))))
    limits = limit_rows(entries) if what == "listeners" else []
    if limits:
        click.echo("\n" + table(COLUMNS, limits))


# --- entries: the JSON form, one a thing ---


def listener_entries(view: ConfigView, options: dict[str, Any]) -> list[dict[str, Any]]:
    """In order of port and address. ``options``: those of a running gateway."""
    return [
        {
            "name": listener.name,
            "address": listener.bind or "0.0.0.0",
            "port": listener.port,
            "protocol": listener.protocol,
            "route": next(iter(listener.route_tables()), ""),
            **connection_limits(listener, options),
            "chains": [_chain_entry(chain) for chain in listener.chains],
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


def _chain_entry(chain: Chain) -> dict[str, Any]:
    """``destinations``: of a chain that relays, with what istioctl calls them."""
    found = chain.action.destinations if chain.action is not None else ()
    context = chain.tls_context
    return {
        "name": chain.name,
        "serverNames": list(chain.server_names),
        "tls": chain.tls,
        "grpcWeb": chain.grpc_web,
        "route": chain.route_table,
        "destinations": [{"cluster": each.cluster, "weight": each.weight} for each in found],
        "virtualService": chain.virtual_service.key if chain.virtual_service is not None else "",
        "certificates": list(context.certificates) if context is not None else [],
        "clientCertificates": context.client_auth if context is not None else "none",
        "idleTimeoutMs": chain.idle_timeout_ms if chain.kind == "tcp" else None,
        "file": chain.origin.file,
        "line": chain.origin.line,
    }


def route_entries(view: ConfigView) -> list[dict[str, Any]]:
    """One a virtual host, hosts and their rules in match order."""
    from fastgw.cli.rule_view import rule_entry

    return [
        {
            "name": table.name,
            "virtualHost": host.name,
            "domains": list(host.domains),
            "requireTls": host.require_tls,
            "errorPages": pages_text(host.pages),
            "gatewayErrorPages": pages_text(host.gateway_pages),
            "rules": [rule_entry(rule) for rule in host.rules],
            "file": host.origin.file,
            "line": host.origin.line,
        }
        for table in view.plan.route_tables.values()
        for host in sorted(table.virtual_hosts, key=_host_order)
    ]


def _host_order(host: VirtualHost) -> tuple[int, int, str]:
    """D2: exact names, then the longest wildcard, then ``*``."""
    wildcard = host.domains[0].startswith("*")
    return (int(wildcard), -len(host.domains[0]) if wildcard else 0, host.name)


def cluster_entries(view: ConfigView) -> list[dict[str, Any]]:
    """In order of host, port and subset."""
    return [
        {
            "name": cluster.name,
            "fqdn": cluster.host,
            "port": cluster.port,
            "subset": cluster.subset,
            "direction": "outbound",
            "type": _cluster_type(cluster),
            "destinationRule": cluster.destination_rule,
            "foundIn": cluster.found_in,
            "dnsName": ",".join(each.address for each in cluster.names()),
            "dnsPort": cluster.names()[0].port if cluster.names() else 0,
            "loadBalancer": cluster.lb,
            "protocol": cluster.protocol,
            "maxConcurrentStreams": cluster.max_streams,
            "pingIntervalMs": cluster.ping_interval_ms,
            "pingTimeoutMs": cluster.ping_timeout_ms,
            "connectTimeoutMs": cluster.connect_timeout_ms,
            "policy": _policy_entry(cluster.policy),
            "healthCheck": cluster.health_check,
            "endpoints": len(cluster.endpoints),
            "file": cluster.origin.file,
            "line": cluster.origin.line,
        }
        for cluster in sorted(view.plan.clusters.values(), key=lambda cluster: (cluster.host, cluster.port, cluster.subset))
    ]


def _policy_entry(policy: Policy) -> dict[str, Any]:
    """What differs from the defaults."""
    given, default = msgspec.to_builtins(policy), msgspec.to_builtins(DEFAULTS)
    return {name: value for name, value in given.items() if value != default[name]}


def endpoint_entries(view: ConfigView) -> list[dict[str, Any]]:
    """In order of cluster; a name that is resolved while serving stands for its addresses."""
    entries = []
    for cluster in sorted(view.plan.clusters.values(), key=lambda cluster: cluster.name):
        common = {"cluster": cluster.name, "fqdn": cluster.host, "subset": cluster.subset}
        for endpoint in cluster.endpoints:
            known = "HEALTHY" if endpoint.healthy else "UNHEALTHY"
            entries.append(planned_entry(endpoint, "UNKNOWN" if endpoint.lookup else known) | common)
    return entries


_ENTRIES = {
    "routes": route_entries,
    "clusters": cluster_entries,
    "endpoints": endpoint_entries,
}


def _cluster_type(cluster: Cluster) -> str:
    """Envoy's word for it."""
    if cluster.discovery == "dns":
        return "LOGICAL_DNS" if any(each.lookup == "first" for each in cluster.names()) else "STRICT_DNS"
    return "EDS" if cluster.found_in in ("registry", "service-entry") else "STATIC"


# --- rows: istioctl's columns ---

Rows = Iterable[tuple[object, ...]]


def _listener_rows(entry: dict[str, Any]) -> Rows:
    for chain in entry["chains"]:
        names = [name for name in chain["serverNames"] if name != "*"]
        match = f"SNI: {','.join(names)}" if names else "ALL"
        yield entry["address"], entry["port"], match, _chain_destination(chain)


def _chain_destination(chain: dict[str, Any]) -> str:
    if chain["route"]:
        return f"Route: {chain['route']}"
    found = chain["destinations"]
    if len(found) > 1:
        return "Cluster: " + ", ".join(f"{each['cluster']} ({each['weight']})" for each in found)
    return f"Cluster: {found[0]['cluster']}" if found else "Non-HTTP/Non-TCP"


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
