"""Resources -> Plan. The passes in order; each lives in a module of its own.

inventory (what concerns this gateway, in order) -> ports, servers (who shares a listener) -> bind (VirtualServices behind Gateways)
-> chains, tls_contexts, layer4, auto_passthrough (listeners) -> virtual_hosts, http_routes, conditions, actions, destinations
(route tables) -> clusters, endpoints (what rules and chains point at).
An object or rule that is wrong is left out and reported; everything else stays.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastgw.compiler.auto_passthrough import AutoPassthrough
from fastgw.compiler.bind import Bindings, report_unbound
from fastgw.compiler.cache import CompileCache
from fastgw.compiler.chains import ChainCompiler
from fastgw.compiler.edge_policies import find_policies, report_conflicts
from fastgw.compiler.endpoint_annotations import report_endpoint_annotations
from fastgw.compiler.error_pages import find_error_pages
from fastgw.compiler.exchange import Whole, exchange
from fastgw.compiler.gateway_annotations import report_gateway_annotations
from fastgw.compiler.guards import GuardBook
from fastgw.compiler.http_routes import CompiledRules, RuleCompiler
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.layer4 import Layer4
from fastgw.compiler.options import CompileOptions, CompileResult
from fastgw.compiler.policy_report import report_policies
from fastgw.compiler.ports import gateway_ports
from fastgw.compiler.report import Report, in_file_order
from fastgw.compiler.servers import place_servers
from fastgw.compiler.unused_routes import report_unused
from fastgw.compiler.virtual_hosts import TableBuilder
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource

__all__ = ["CompileCache", "CompileOptions", "CompileResult", "compile_plan"]


def compile_plan(
    resources: Sequence[Resource],
    options: CompileOptions | None = None,
    cache: CompileCache | None = None,
    doubtful: frozenset[str] = frozenset(),
) -> CompileResult:
    """Never raises on account of what is in the resources. With ``cache``, only what has changed since is compiled again.
    ``doubtful``: see LoadResult."""
    options = options or CompileOptions()
    cache = cache or CompileCache()
    with _garbage_collection_paused():
        cache.start(options)
        whole, cache.whole = cache.whole, None
        result = exchange(whole, resources, cache) if whole is not None and whole.doubtful == doubtful else None
        if result is not None:
            cache.whole = whole
            return result
        return _compile(resources, options, cache, doubtful)


def _compile(
    resources: Sequence[Resource], options: CompileOptions, cache: CompileCache, doubtful: frozenset[str]
) -> CompileResult:
    report = Report()
    inventory = Inventory(resources, options, report)
    finder = cache.finder(inventory, options)
    clusters = cache.cluster_builder(inventory, options, finder)
    services = cache.bound_services(inventory.virtual_services)
    hosts = cache.server_hosts(inventory.gateways)
    placed = place_servers(inventory.gateways, gateway_ports(inventory, options), hosts, report)
    bindings = Bindings(services, inventory, report)
    report_unbound(bindings, hosts, report)
    report_policies(inventory, options, report)
    report_endpoint_annotations(inventory, report)
    report_gateway_annotations(inventory, report)
    found = [*find_policies(inventory, report, cache.policies, doubtful), *find_error_pages(inventory, report)]
    report_conflicts(found, report)
    book = GuardBook(found)
    cache.virtual_hosts.guarded.begin({each.key: each for each in inventory.of("VirtualService")} if not book.is_empty() else {})

    plan = Plan()
    used: dict[CompiledRules, None] = {}
    compiler = RuleCompiler(finder, options, inventory.delegates)
    chains = ChainCompiler(bindings, Layer4(finder, clusters), AutoPassthrough(finder.registry, clusters), options, report)
    listeners = [(each, listener) for each in placed if (listener := chains.compile(each)) is not None]
    for each, listener in listeners:
        plan.listeners.append(listener)
        for name, servers in each.tables():
            plan.route_tables[name] = TableBuilder(servers, bindings, compiler, book, used).build(name, cache.virtual_hosts)
        listener.chains = book.guarded(listener.chains)
    cache.virtual_hosts.finish()
    book.report_idle(report)
    report_unused(services, (each for each, _ in listeners), report)
    layer4 = tuple(chains.uses)
    plan.clusters = clusters.build([*(use for rules in used for use in rules.uses), *layer4])
    diagnostics = in_file_order([*report.diagnostics, *clusters.diagnostics()], services)
    served = [each for each, _ in listeners]
    cache.whole = Whole(
        list(resources), doubtful, served, compiler, book, clusters, used, layer4, report.diagnostics, plan, diagnostics
    )
    return CompileResult(plan, list(diagnostics))


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
