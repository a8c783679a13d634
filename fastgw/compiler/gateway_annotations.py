"""What a Gateway may ask for beyond Istio, by annotations. They are about connections, and hold for all its listeners.

- ``gateway.fastgw.io/proxy-protocol: "true"``: each connection begins with the PROXY header of the proxy in front (K17).
- ``gateway.fastgw.io/max-connections: "10000"``: open at once on a listener, "0" for no limit.
- ``gateway.fastgw.io/max-connections-per-source: "100"``: of these, from one source address.

Gateways that share a listener share its connections. Where they differ, the stricter one counts for all, and the others hear of it:
without a header that somebody in front writes, addresses would be those of the proxy, which others may trust.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from fastgw.compiler.annotations import FAMILY, OF_GUARDS
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report, place
from fastgw.compiler.servers import PlacedServer
from fastgw.model.resource import Resource

PROXY_PROTOCOL = FAMILY + "proxy-protocol"
MAX_CONNECTIONS = FAMILY + "max-connections"
MAX_PER_SOURCE = FAMILY + "max-connections-per-source"
KNOWN = (PROXY_PROTOCOL, MAX_CONNECTIONS, MAX_PER_SOURCE)
MOST_CONNECTIONS = 10_000_000
_NUMBER = re.compile(r"[0-9]{1,8}")


class GatewayWishes(msgspec.Struct, frozen=True):
    """The annotations of one Gateway, understood. None: it does not say. Limits: 0 is none."""

    proxy_protocol: bool | None = None
    max_connections: int | None = None
    max_per_source: int | None = None


NONE = GatewayWishes()


class ListenerWishes(msgspec.Struct, frozen=True):
    """What counts for a listener. None: what the options of the gateway say."""

    proxy_protocol: bool = False
    max_connections: int | None = None
    max_per_source: int | None = None


def gateway_wishes(gateway: Resource, report: Report | None = None) -> GatewayWishes:
    """What is not understood is reported and counts as not there."""
    found: dict[str, object] = {}
    for name, text in gateway.annotations.items():
        if not name.startswith(FAMILY) or name in OF_GUARDS:
            continue
        try:
            found |= _understand(name, text.strip())
        except ValueError as problem:
            if report is not None:
                report.warning("FGW0110", gateway, _field(name), f"{name}: {problem}: it has no effect")
    return msgspec.structs.replace(NONE, **found) if found else NONE


def report_gateway_annotations(inventory: Inventory, report: Report) -> None:
    """One warning for each annotation that has no effect."""
    for gateway in inventory.gateways:
        gateway_wishes(gateway, report)


def listener_wishes(name: str, servers: Sequence[PlacedServer], options: CompileOptions, report: Report) -> ListenerWishes:
    """Of the servers that share the listener ``name``; differences are reported."""
    gateways = list({server.gateway.key: server.gateway for server in servers}.values())
    wishes = [(gateway, gateway_wishes(gateway)) for gateway in gateways]
    told = any(server.number in options.proxy_protocol for server in servers)
    wanting = [gateway for gateway, wish in wishes if wish.proxy_protocol]
    if wanting and not told:
        _report_plain(name, wishes, wanting[0], report)
    return ListenerWishes(
        told or bool(wanting),
        _least(name, MAX_CONNECTIONS, ((gateway, wish.max_connections) for gateway, wish in wishes), report),
        _least(name, MAX_PER_SOURCE, ((gateway, wish.max_per_source) for gateway, wish in wishes), report),
    )


def _report_plain(name: str, wishes: Iterable[tuple[Resource, GatewayWishes]], wanting: Resource, report: Report) -> None:
    for gateway, wish in wishes:
        if not wish.proxy_protocol:
            field = _field(PROXY_PROTOCOL) if PROXY_PROTOCOL in gateway.annotations else ""
            where = f"Gateway {wanting.key} at {place(wanting, _field(PROXY_PROTOCOL))}"
            message = (
                f"{where} asks for the PROXY protocol on listener {name}, which is this one's, too: connections without its header "
                "are closed. Annotate both Gateways, or give them ports of their own"
            )
            report.warning("FGW0116", gateway, field, message)


def _least(name: str, annotation: str, asked: Iterable[tuple[Resource, int | None]], report: Report) -> int | None:
    """The lowest limit that is asked for. None: nobody asks."""
    said = [(gateway, limit) for gateway, limit in asked if limit is not None]
    if not said:
        return None
    owner, least = min(said, key=lambda pair: pair[1] or MOST_CONNECTIONS + 1)
    for gateway, limit in said:
        if limit != least:
            where = f"Gateway {owner.key} at {place(owner, _field(annotation))}"
            message = f"listener {name} is shared with {where}, which asks for {least}: the lower limit counts for both"
            report.warning("FGW0116", gateway, _field(annotation), message)
    return least


def _understand(name: str, text: str) -> dict[str, object]:
    if name == PROXY_PROTOCOL:
        if text not in ("true", "false"):
            raise ValueError(f'"{text}" is neither "true" nor "false"')
        return {"proxy_protocol": text == "true"}
    if name not in KNOWN:
        raise ValueError(f"a Gateway has {', '.join((*KNOWN, *OF_GUARDS))}")
    if not _NUMBER.fullmatch(text) or int(text) > MOST_CONNECTIONS:
        raise ValueError(f'"{text}" is no number from 0 to {MOST_CONNECTIONS}')
    return {"max_connections" if name == MAX_CONNECTIONS else "max_per_source": int(text)}


def _field(annotation: str) -> str:
    return f"metadata.annotations[{annotation}]"
