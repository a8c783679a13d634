"""What ``proxy-config listeners`` tells of the connections of a listener: how many there may be, and who comes before them.

A Gateway's annotations are in the plan. What it leaves to the options of ``run`` is known of a running gateway only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastgw.model.plan import Listener

COLUMNS = ("ADDRESSES", "PORT", "MAX CONNECTIONS", "MAX PER SOURCE", "PROXY PROTOCOL", "TRUSTED PROXIES")
DEFAULTS = {"maxConnections": 10_000, "maxConnectionsPerSource": 0, "trustedProxies": []}
"""Of the options of ``run``."""


def connection_limits(listener: Listener, options: Mapping[str, Any]) -> dict[str, Any]:
    """``options``: of the running gateway, {} when there is none. None: as ``run`` is told; 0: no limit."""
    of_gateway = {"maxConnections": listener.max_connections, "maxConnectionsPerSource": listener.max_per_source}
    known = {name: options.get(name) if value is None else value for name, value in of_gateway.items()}
    return {"proxyProtocol": listener.proxy_protocol, **known, "trustedProxies": options.get("trustedProxies")}


def limit_rows(entries: Iterable[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Of the listeners that are not as the defaults have it."""
    return [_row(entry) for entry in entries if entry["proxyProtocol"] or any(_differs(entry, name) for name in DEFAULTS)]


def _differs(entry: dict[str, Any], name: str) -> bool:
    return entry[name] is not None and entry[name] != DEFAULTS[name]


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    limits = (_limit(entry[name]) for name in ("maxConnections", "maxConnectionsPerSource"))
    trusted = entry["trustedProxies"]
    proxies = "-" if trusted is None else ",".join(trusted) or "none"
    return entry["address"], entry["port"], *limits, "required" if entry["proxyProtocol"] else "no", proxies


def _limit(value: int | None) -> str:
    return "-" if value is None else str(value or "none")
