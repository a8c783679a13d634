"""Small builders of Istio's resources, so that a test shows only what it is about."""

from __future__ import annotations

from typing import Any

import yaml

Document = dict[str, Any]
NETWORKING = "networking.istio.io/v1"


def gateway(
    name: str = "gw", hosts: list[str] | None = None, port: int = 80, *, namespace: str | None = None, **server: Any
) -> Document:
    """A Gateway with one plaintext HTTP server; more keys go into the server."""
    return gateway_of(name, [http_server(hosts, port, **server)], namespace=namespace)


def http_server(hosts: list[str] | None = None, port: int = 80, **server: Any) -> Document:
    return {"port": {"number": port, "name": f"http-{port}", "protocol": "HTTP"}, "hosts": hosts or ["*"], **server}


def https_server(
    hosts: list[str], credential: str | None = None, mode: str = "SIMPLE", *, port: int = 443, name: str | None = None, **tls: Any
) -> Document:
    """A terminating HTTPS server; more keys go into its ``tls``."""
    settings = {"mode": mode, **({"credentialName": credential} if credential else {}), **tls}
    return {"port": {"number": port, "name": name or f"https-{port}", "protocol": "HTTPS"}, "hosts": hosts, "tls": settings}


def gateway_of(
    name: str, servers: list[Document], *, namespace: str | None = None, selector: dict[str, str] | None = None
) -> Document:
    return _object("Gateway", name, namespace, {"selector": selector or {"istio": "ingressgateway"}, "servers": servers})


def virtual_service(
    name: str,
    hosts: list[str],
    http: list[Document],
    *,
    gateways: list[str] | None = None,
    namespace: str | None = None,
    created: str | None = None,
) -> Document:
    document = _object("VirtualService", name, namespace, {"hosts": hosts, "gateways": gateways or ["gw"], "http": http})
    if created:
        document["metadata"]["creationTimestamp"] = created
    return document


def route(host: str, port: int | None = None, *, weight: int | None = None, **rule: Any) -> Document:
    """An http rule with one destination; ``match=[...]`` and the like go beside it."""
    return {**rule, "route": [destination(host, port, weight=weight)]}


def destination(host: str, port: int | None = None, *, weight: int | None = None, subset: str | None = None) -> Document:
    target: Document = {"host": host}
    if port is not None:
        target["port"] = {"number": port}
    if subset:
        target["subset"] = subset
    return {"destination": target} if weight is None else {"destination": target, "weight": weight}


def service_entry(
    host: str, endpoints: list[tuple[str, int]], *, port: int = 8080, name: str | None = None, namespace: str | None = None
) -> Document:
    """A STATIC ServiceEntry: ``host``:``port`` served by address:port pairs. No endpoints: a known service without any."""
    return _object(
        "ServiceEntry",
        name or host.replace(".", "-"),
        namespace,
        {
            "hosts": [host],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": port, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": address, "ports": {"http": target}} for address, target in endpoints],
        },
    )


def dns_entry(host: str, endpoint_host: str, endpoint_port: int, *, port: int = 8080) -> Document:
    """A ServiceEntry whose endpoint is a name."""
    entry = service_entry(host, [(endpoint_host, endpoint_port)], port=port)
    entry["spec"]["resolution"] = "DNS"
    return entry


def simple(host: str, upstream_port: int, *, listen: int = 80, service: str = "webapp") -> list[Document]:
    """Gateway + VirtualService + ServiceEntry: every path of ``host`` goes to one upstream on 127.0.0.1."""
    return [
        gateway(hosts=[host], port=listen),
        virtual_service(service, [host], [route(service, 8080)]),
        service_entry(service, [("127.0.0.1", upstream_port)]),
    ]


def text_of(documents: list[Document]) -> str:
    dumped: str = yaml.safe_dump_all(documents, sort_keys=False)
    return dumped


def _object(kind: str, name: str, namespace: str | None, spec: Document) -> Document:
    metadata: Document = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": NETWORKING, "kind": kind, "metadata": metadata, "spec": spec}
