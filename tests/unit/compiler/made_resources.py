"""Resources made by hand for the tests of single passes."""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.compiler.inventory import Inventory
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report
from fastgw.model.kinds import KINDS
from fastgw.model.origin import Origin
from fastgw.model.resource import Resource

_GROUPS = {kind: group for group, kind in KINDS}


def resource(kind: str, name: str, spec: dict[str, Any] | None = None, namespace: str = "default", **metadata: Any) -> Resource:
    """A resource as the sources would make it, its spec in the form of YAML."""
    info = KINDS[(_GROUPS[kind], kind)]
    version = f"{info.group}/{info.versions[0]}" if info.group else info.versions[0]
    typed = msgspec.convert(spec or {}, info.spec) if info.spec is not None else None
    origin = Origin(f"{name}.yaml", 1, 1)
    return Resource(kind=kind, api_version=version, namespace=namespace, name=name, spec=typed, origin=origin, **metadata)


def gateway(name: str = "gw", *hosts: str, port: int = 80, protocol: str = "HTTP", **metadata: Any) -> Resource:
    """A Gateway with one server for everybody."""
    server = {"port": {"number": port, "name": "p", "protocol": protocol}, "hosts": list(hosts or ("*",))}
    return resource("Gateway", name, {"servers": [server]}, **metadata)


def virtual_service(name: str, host: str, *http: dict[str, Any], **metadata: Any) -> Resource:
    """A VirtualService behind default/gw; one rule to ``web`` when none is given."""
    rules = list(http) or [to("web")]
    spec = {"hosts": [host], "gateways": ["default/gw"], "http": rules}
    return resource("VirtualService", name, spec, **metadata)


def to(host: str, port: int = 80, **conditions: Any) -> dict[str, Any]:
    """An http rule: the conditions of its one match, if any, and its one destination."""
    rule: dict[str, Any] = {"route": [{"destination": {"host": host, "port": {"number": port}}}]}
    return {"match": [conditions], **rule} if conditions else rule


def inventory(*resources: Resource, options: CompileOptions | None = None, report: Report | None = None) -> Inventory:
    """The first pass over some resources."""
    return Inventory(resources, options or CompileOptions(), report or Report())
