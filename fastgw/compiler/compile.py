"""Resources -> Plan. The passes in order; each lives in a module of its own.

inventory (what concerns this gateway, in order) -> ports, servers (listeners) -> bind (VirtualServices behind Gateways) ->
virtual_hosts, http_routes, conditions, actions, destinations (route tables) -> clusters, endpoints (what rules point at).
An object or rule that is wrong is left out and reported; everything else stays.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastgw.compiler.bind import Bindings, report_layer4, report_unbound
from fastgw.compiler.cache import CompileCache
from fastgw.compiler.destination_rules import report_unsupported
from fastgw.compiler.exchange import Whole, exchange
from fastgw.compiler.http_routes import CompiledRules, RuleCompiler
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.options import CompileOptions, CompileResult
from fastgw.compiler.ports import gateway_ports
from fastgw.compiler.report import Report, in_file_order
from fastgw.compiler.servers import PROXY_PROTOCOL, PlacedListener, place_servers
from fastgw.compiler.virtual_hosts import TableBuilder
from fastgw.model.plan import Chain, Listener, Plan
from fastgw.model.resource import Resource

__all__ = ["CompileCache", "CompileOptions", "CompileResult", "compile_plan"]


def compile_plan(
    resources: Sequence[Resource], options: CompileOptions | None = None, cache: CompileCache | None = None
) -> CompileResult:
    """Never raises on account of what is in the resources. With ``cache``, only what has changed since is compiled again."""
    options = options or CompileOptions()
    cache = cache or CompileCache()
    with _garbage_collection_paused():
        cache.start(options)
        whole, cache.whole = cache.whole, None
        result = exchange(whole, resources, cache) if whole is not None else None
        if result is not None:
            cache.whole = whole
            return result
        return _compile(resources, options, cache)


def _compile(resources: Sequence[Resource], options: CompileOptions, cache: CompileCache) -> CompileResult:
    report = Report()
    inventory = Inventory(resources, options, report)
    finder = cache.finder(inventory, options)
    clusters = cache.cluster_builder(inventory, options, finder)
    services = cache.bound_services(inventory.virtual_services)
    hosts = cache.server_hosts(inventory.gateways)
    listeners = place_servers(inventory.gateways, gateway_ports(inventory, options), hosts, report)
    bindings = Bindings(services, inventory, report)
    report_unbound(bindings, hosts, report)
    report_layer4(services, report)
    report_unsupported(inventory, report)

    plan = Plan()
    used: dict[CompiledRules, None] = {}
    compiler = RuleCompiler(finder, options, inventory.delegates)
    for listener in listeners:
        table = TableBuilder(listener, bindings, compiler, used).build(cache.virtual_hosts)
        plan.route_tables[table.name] = table
        plan.listeners.append(_listener(listener))
    cache.virtual_hosts.finish()
    plan.clusters = clusters.build(use for rules in used for use in rules.uses)
    diagnostics = in_file_order([*report.diagnostics, *clusters.diagnostics()], services)
    cache.whole = Whole(list(resources), listeners, compiler, clusters, used, report.diagnostics, plan, diagnostics)
    return CompileResult(plan, list(diagnostics))


def _listener(placed: PlacedListener) -> Listener:
    servers = placed.http_servers()
    first = servers[0]
    return Listener(
        name=placed.name,
        bind=placed.bind,
        port=placed.port,
        protocol="HTTP",
        servers=[server.ref() for server in servers],
        chains=[Chain(placed.table_name, route_table=placed.table_name, origin=first.gateway.at(first.path))],
        proxy_protocol=any(server.gateway.annotations.get(PROXY_PROTOCOL) == "true" for server in servers),
        origin=first.gateway.at(first.path),
    )


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """A compilation makes many objects and no cycles: walking them all again and again would double its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
