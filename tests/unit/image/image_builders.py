"""Small plans in few words."""

from __future__ import annotations

from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.image.numbers import StateNumbers
from fastgw.image.reader import ImageReader
from fastgw.image.writer import write_image
from fastgw.model.origin import Origin
from fastgw.model.plan import (
    Action,
    Chain,
    Cluster,
    Endpoint,
    Listener,
    ObjectRef,
    PathMatch,
    Plan,
    Predicate,
    RouteTable,
    Rule,
    VirtualHost,
    WeightedDestination,
)

LISTENER = "0.0.0.0_80"
OWNER = ObjectRef("VirtualService", "default/shop", Origin("shop.yaml", 1, 1))


def rule(name: str, path: PathMatch | None = None, *predicates: Predicate, action: Action | None = None) -> Rule:
    action = action or Action("route", (WeightedDestination("outbound|80||a.example", 100),))
    return Rule(name, OWNER, 0, 0, action, path, predicates, Origin("shop.yaml", 10, 5))


def vhost(domains: list[str], *rules: Rule, require_tls: bool = False) -> VirtualHost:
    return VirtualHost(f"{domains[0]}:80", domains, list(rules), require_tls, Origin("shop.yaml", 2, 1))


def plan(*vhosts: VirtualHost, clusters: list[Cluster] | None = None) -> Plan:
    if clusters is None:
        clusters = [Cluster("outbound|80||a.example", "a.example", 80, endpoints=[Endpoint("10.0.0.1", 8080)])]
    table = RouteTable("http.80", list(vhosts))
    listener = Listener(
        LISTENER, "", 80, "HTTP", [], [Chain("http.80", route_table="http.80")], origin=Origin("gateway.yaml", 7, 3)
    )
    return Plan([listener], {"http.80": table}, {cluster.name: cluster for cluster in clusters})


def image(*vhosts: VirtualHost) -> bytes:
    return write_image(plan(*vhosts), StateNumbers(), 1)


def request(path: str = "/", host: str = "a.com", query: str | None = None, method: str = "GET", **headers: str) -> RouteRequest:
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    raw_query = None if query is None else query.encode()
    return RouteRequest(host.encode(), path.encode(), raw_query, method.encode(), authority=host.encode(), headers=fields)


def taken(data: bytes, wanted: RouteRequest) -> str | None:
    """Name of the rule that the C matcher takes."""
    matcher, reader = Matcher(data), ImageReader(data)
    found = matcher.match(0, wanted)
    return None if found.rule is None else reader.text(reader.row("rules", found.rule), "name")
