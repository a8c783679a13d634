"""Configurations of any size, as files: one Gateway, 1,000 services, VirtualServices with a host of their own and four rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

API = "networking.istio.io/v1"
SERVICES = 1000
STEADY_HOST = "steady.example.com"
MEASURED = 7
"""The VirtualService whose file changes are timed."""


def host_of(number: int) -> str:
    return f"shop-{number}.customers.example.com"


def resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def base(origin_port: int) -> list[dict[str, Any]]:
    """What all VirtualServices share. Every service has the origin as its endpoint."""
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    documents = [resource("Gateway", "edge", {"selector": {"istio": "ingressgateway"}, "servers": [server]})]
    for number in range(SERVICES):
        spec = {
            "hosts": [f"shop-{number}.internal"],
            "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1", "ports": {"http": origin_port}}],
        }
        documents.append(resource("ServiceEntry", f"shop-{number}", spec))
    documents.append(resource("VirtualService", "steady", http_of(STEADY_HOST, [{"route": [to(0)]}])))
    return documents


def to(number: int, **more: Any) -> dict[str, Any]:
    return {"destination": {"host": f"shop-{number % SERVICES}.internal", "port": {"number": 8080}}, **more}


def http_of(host: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"hosts": [host], "gateways": ["edge"], "http": rules}


def virtual_service(number: int, version: str = "v0") -> dict[str, Any]:
    """Four rules, none of which takes every path: a request for another version is answered 404."""
    rules = [
        {
            "name": "api",
            "match": [{"uri": {"prefix": f"/{version}/"}}, {"uri": {"exact": "/health"}, "method": {"exact": "GET"}}],
            "route": [to(number)],
        },
        {
            "name": "beta",
            "match": [{"headers": {"x-beta": {"exact": "yes"}}}],
            "route": [to(number + 1, weight=90), to(number + 2, weight=10)],
        },
        {"match": [{"uri": {"prefix": "/assets/"}}], "route": [to(number)]},
    ]
    return resource("VirtualService", f"shop-{number}", http_of(host_of(number), rules))


def as_text(documents: list[dict[str, Any]], form: str) -> str:
    if form == "json":
        return "".join(json.dumps(document) + "\n" for document in documents)
    return "---\n".join("".join(yaml_lines(document)) for document in documents)


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Block YAML as people write it; scalars as JSON writes them."""
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        head = f"{indent}{key}:" if key is not None else f"{indent}-"
        if isinstance(item, (dict, list)) and item:
            yield head + "\n"
            yield from yaml_lines(item, indent + "  ")
        else:
            yield f"{head} {json.dumps(item)}\n"


def file_of(folder: Path, number: int, per_file: int, form: str) -> Path:
    return folder / f"shops-{number // per_file:06}.{form}"


def write_world(folder: Path, count: int, per_file: int, form: str, origin_port: int = 8080) -> None:
    """``count`` VirtualServices, ``per_file`` documents a file; form: yaml or json."""
    folder.mkdir(parents=True)
    (folder / f"base.{form}").write_text(as_text(base(origin_port), form))
    for first in range(0, count, per_file):
        documents = [virtual_service(number) for number in range(first, min(first + per_file, count))]
        file_of(folder, first, per_file, form).write_text(as_text(documents, form))


def change(folder: Path, number: int, per_file: int, form: str, version: str) -> None:
    """Rewrite the file of one VirtualService as an editor does: the new text takes the file's place at once."""
    first = number // per_file * per_file
    documents = [virtual_service(each, version if each == number else "v0") for each in range(first, first + per_file)]
    path = file_of(folder, number, per_file, form)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(as_text(documents, form))
    draft.rename(path)
