"""Listeners and the chains that serve their connections -> the records of the image's last piece."""

from __future__ import annotations

from fastgw.image import layout
from fastgw.image.guard_records import add_guards
from fastgw.image.layout import NONE, ImageError, lib
from fastgw.image.link import Linker, Slots
from fastgw.image.pieces import TailBuilder
from fastgw.image.symbols import to_bytes
from fastgw.image.tls_records import add_tls_context, chain_identity
from fastgw.model.plan import Action, Chain, Listener

NO_EDITS = (0,) * 6
"""The fields of fgw_img_edits: connections have no headers."""


def add_listener(tail: TailBuilder, linker: Linker, listener: Listener) -> None:
    """Chains, their names by SNI, the listener. To be called for all listeners, before the tail is added to the linker."""
    chains = sorted(listener.chains, key=lambda chain: to_bytes(chain.name))
    first = tail.tables["chains"].count
    places = {id(chain): first + index for index, chain in enumerate(chains)}
    if len({chain.name for chain in chains}) != len(chains):
        raise ImageError(f"two chains of listener {listener.name} have the same name")
    for chain in chains:
        _add_chain(tail, chain)
    plain = listener.plain()
    tail.tables["listeners"].add(
        *tail.span(listener.name),
        *tail.span(listener.bind),
        listener.port,
        NONE if plain is None else places[id(plain)],
        _add_server_names(tail, linker, listener, places),
        tail.origin("", "", listener.origin),
        lib.FGW_LISTENER_PROXY_PROTOCOL if listener.proxy_protocol else 0,
        NONE if listener.max_connections is None else listener.max_connections,
        NONE if listener.max_per_source is None else listener.max_per_source,
        first,
        len(chains),
    )


def host_fields(exact: Slots, wild: Slots, default: int) -> tuple[int, ...]:
    """The fields of fgw_img_hosts."""
    return (*_range(exact), *_range(wild), default, int(wild.at_labels), wild.longest, *wild.length_words)


def _range(slots: Slots) -> tuple[int, int]:
    return (slots.first, slots.count) if slots.count else (0, 0)


def _add_server_names(tail: TailBuilder, linker: Linker, listener: Listener, places: dict[int, int]) -> int:
    """Index of the SNI table, NONE when the listener speaks no TLS."""
    secure = [chain for chain in listener.chains if chain.tls != "none"]
    if not secure:
        return NONE
    names, values = [], []
    for chain in secure:
        for name in chain.server_names:
            raw = to_bytes(name).lower()
            if len(raw) > lib.FGW_HOST_MAX:
                raise ImageError(f"the server name {name[:60]}... has {len(raw)} bytes, more than {lib.FGW_HOST_MAX}")
            names.append(raw)
            values.append(places[id(chain)])
    return tail.tables["sni_tables"].add(*host_fields(*linker.add_names(names, values)))


def _add_chain(tail: TailBuilder, chain: Chain) -> None:
    context, service = chain.tls_context, chain.virtual_service
    tail.tables["chains"].add(
        *tail.span(chain.name),
        layout.CHAIN_KINDS[chain.kind],
        layout.CHAIN_TLS[chain.tls],
        int(chain.grpc_web),
        NONE if context is None else add_tls_context(tail.tables, context, tail.origin("", "", context.origin)),
        tail.route_table(chain.route_table) if chain.kind == "http" else NONE,
        NONE if chain.action is None else _add_action(tail, chain.action),
        chain.idle_timeout_ms if chain.kind == "tcp" else 0,
        NONE if service is None else tail.origin(service.kind, service.key, service.origin),
        tail.origin("", "", chain.origin),
        NONE if chain.guards is None else add_guards(tail.tables, chain.guards, tail.numbers),
        0 if context is None else chain_identity(context),
    )


def _add_action(tail: TailBuilder, action: Action) -> int:
    """Weighted destinations of connections. Rules' actions are written by rule_sets, which has the tables of its piece in C."""
    if action.sticky is not None and action.sticky.kind != "source_ip":
        raise ImageError(f"connections cannot be kept by {action.sticky.kind}")
    shares = action.shares()
    if not shares:
        raise ImageError("an action of a tcp chain has no destination")
    table = tail.tables["destinations"]
    first, total = table.count, 0
    for d, weight in shares:
        total += weight
        table.add(tail.tables.cluster(d.cluster), weight, total, *tail.tables.shared_span(d.cluster), *NO_EDITS)
    kind, sticky = layout.ACTIONS["route"], lib.FGW_STICKY_SOURCE_IP if action.sticky is not None else lib.FGW_STICKY_NONE
    return tail.tables["actions"].add(kind, sticky, 0, total, first, len(shares), 0, 0, NONE, NONE, NONE, NONE, *NO_EDITS)
