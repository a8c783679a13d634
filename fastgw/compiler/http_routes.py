"""The http rules of one VirtualService, for one gateway and server port (sections E and G).

A compiled VirtualService is kept from one compilation to the next as long as nothing that it was made from has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from fastgw.compiler.actions import Built, build_action
from fastgw.compiler.annotations import for_delegate, keep_clients, wishes_of, with_pages
from fastgw.compiler.clusters import Use
from fastgw.compiler.conditions import InvalidMatch, conditions_of, is_catch_all
from fastgw.compiler.delegates import Expanded, expand, has_delegates, resolve_gateway_name
from fastgw.compiler.destinations import Finder
from fastgw.compiler.hosts import ServerHosts, full_name
from fastgw.compiler.inventory import is_subset
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report
from fastgw.model.kinds.http_route import Destination, HttpMatch, HttpRoute
from fastgw.model.plan import Action, ErrorPage, LeftOut, ObjectRef, Rule
from fastgw.model.resource import Resource

if TYPE_CHECKING:
    from fastgw.compiler.layer4 import Layer4Route


class CompiledRules(msgspec.Struct, frozen=True, eq=False):
    """``rules`` in order, ``catch_all`` after them (E2: nothing of the VirtualService follows it), the clusters they use.

    ``priority``: of the VirtualService among those of its hosts, higher first. ``left_out``: matches that cannot hold behind this
    gateway and port, for explain. ``service``: the VirtualService's key; ``owners``: with those of its delegates; ``roots``: of
    each rule in match order the route of the VirtualService that led to it, () without delegates; ``pages``: where no rule matches.
    """

    rules: list[Rule]
    catch_all: Rule | None
    uses: tuple[Use, ...]
    priority: int = 0
    left_out: tuple[LeftOut, ...] = ()
    service: str = ""
    owners: tuple[str, ...] = ()
    roots: tuple[int, ...] = ()
    pages: tuple[ErrorPage, ...] = ()

    def all(self) -> list[Rule]:
        """In match order."""
        return [*self.rules, self.catch_all] if self.catch_all else self.rules


class BoundService:
    """A VirtualService, what it binds to, and its rules for each gateway and port where that makes a difference."""

    __slots__ = (
        "_by_gateway",
        "_by_port",
        "_domains",
        "compiled",
        "delegating",
        "gateways",
        "hosts",
        "layer4",
        "layer4_routes",
        "owners",
        "placed",
        "report",
        "resource",
        "wishes",
    )

    def __init__(self, resource: Resource) -> None:
        spec = resource.spec
        self.resource = resource
        self.hosts = tuple(full_name(host, resource.namespace) for host in spec.hosts)
        self.gateways = tuple(dict.fromkeys(resolve_gateway_name(name, resource.namespace) for name in spec.gateways))
        self.report = Report()
        self.wishes = wishes_of(resource, self.report)
        self.compiled: dict[tuple[str, int], CompiledRules] = {}
        self._domains: dict[ServerHosts, tuple[str, ...]] = {}
        self.placed: dict[ServerHosts, tuple[tuple[str, ...], CompiledRules | None]] = {}
        self.owners: dict[str, ObjectRef] = {}
        self.layer4_routes: dict[tuple[str, str, int], tuple[Layer4Route, ...]] = {}
        self.layer4 = tuple(block for block in ("tls", "tcp") if getattr(spec, block))
        self.delegating = has_delegates(resource)
        self._by_gateway = self.delegating or any(match.gateways for route in spec.http for match in route.match)
        self._by_port = self.delegating or any(_depends_on_port(route) for route in spec.http)

    def variant(self, gateway: str, server_port: int) -> tuple[str, int]:
        """The part of (gateway, port) that the rules depend on."""
        return (gateway if self._by_gateway else "", server_port if self._by_port else 0)

    def domains_at(self, server: ServerHosts) -> tuple[str, ...]:
        """The domains that it gets at a server; () when it does not bind there."""
        domains = self._domains.get(server)
        if domains is None:
            domains = self._domains[server] = server.domains(self.hosts, self.resource.namespace)
        return domains

    def forget_servers(self) -> None:
        """Gateways have changed."""
        self._domains.clear()
        self.placed.clear()

    def ref(self, owner: Resource) -> ObjectRef:
        """The Plan's name for the VirtualService that a rule stands in."""
        found = self.owners.get(owner.key)
        if found is None:
            found = self.owners[owner.key] = ObjectRef(owner.kind, owner.key, owner.origin)
        return found


class RuleCompiler:
    """Compiles VirtualServices; what is the same for all of them."""

    __slots__ = ("_delegates", "_finder", "_options")

    def __init__(self, finder: Finder, options: CompileOptions, delegates: Mapping[str, Resource]) -> None:
        self._finder = finder
        self._options = options
        self._delegates = delegates

    def place(
        self, service: BoundService, server: ServerHosts, gateway: str, server_port: int
    ) -> tuple[tuple[str, ...], CompiledRules | None]:
        """Domains and rules of ``service`` at a server; no rules when no domain or no match of it belongs there (B9, B11)."""
        placed = service.placed.get(server)
        if placed is None:
            domains = service.domains_at(server)
            rules = self.rules(service, gateway, server_port) if domains else None
            if rules is not None and not rules.rules and rules.catch_all is None:
                rules = None
            placed = service.placed[server] = (domains, rules)
        return placed

    def rules(self, service: BoundService, gateway: str, server_port: int) -> CompiledRules:
        """The rules of ``service`` behind a server of ``gateway`` (namespace/name) with this port number."""
        variant = service.variant(gateway, server_port)
        compiled = service.compiled.get(variant)
        if compiled is None:
            compiled = service.compiled[variant] = self._compile(service, gateway, server_port)
        return compiled

    def _compile(self, service: BoundService, gateway: str, server_port: int) -> CompiledRules:
        rules: list[Rule] = []
        uses: list[Use] = []
        left_out: list[LeftOut] = []
        pending = list(expand(service.resource, self._delegates, service.report, service.wishes.segments))
        roots: list[int] = []
        catch_all = None
        for position, expanded in enumerate(pending):
            step = _RouteStep(service, expanded, gateway, server_port, self._options, self._finder)
            ends = step.run(rules, uses, left_out)
            if service.delegating:
                roots += [expanded.root] * (len(rules) - len(roots))
            if ends:
                if step.always_ends:
                    _report_unreachable(service, expanded, pending[position + 1 :])
                catch_all = rules.pop()
                break
        key = service.resource.key
        return CompiledRules(
            rules,
            catch_all,
            tuple(uses),
            service.wishes.priority,
            tuple(left_out),
            key,
            tuple(dict.fromkeys((key, *(each.owner.key for each in pending)))) if service.delegating else (key,),
            tuple(roots),
            service.wishes.error_pages,
        )


class _RouteStep:
    """One http route -> its rules. ``always_ends``: the match that catches all does so behind every gateway and port."""

    __slots__ = (
        "_built",
        "_expanded",
        "_finder",
        "_gateway",
        "_options",
        "_origin",
        "_path",
        "_port",
        "_service",
        "_wishes",
        "always_ends",
    )

    def __init__(
        self, service: BoundService, expanded: Expanded, gateway: str, port: int, options: CompileOptions, finder: Finder
    ) -> None:
        self._service = service
        self._expanded = expanded
        self._gateway = gateway
        self._port = port
        self._options = options
        self._finder = finder
        self._built: Built | None = None
        self._path = f"spec.http[{expanded.index}]"
        self._origin = expanded.owner.at(self._path)
        self._wishes = service.wishes
        if expanded.owner is not service.resource:
            self._wishes = for_delegate(service.wishes, wishes_of(expanded.owner, service.report))
        self.always_ends = False

    def run(self, rules: list[Rule], uses: list[Use], left_out: list[LeftOut]) -> bool:
        """Append the rules of this route; True when the last one catches all (E2)."""
        for index, match in self._expanded.matches:
            failed = self._unconcerned(index, match) if match is not None else ""
            if failed:
                left_out.append(self._left_out(index, match, failed))
                continue
            rule, catches_all = self._rule(index, match, uses)
            if rule is not None:
                rules.append(rule)
            if catches_all:
                self.always_ends = match is None or not (match.port or match.gateways)
                return True
        return False

    def _left_out(self, index: int, match: HttpMatch | None, failed: str) -> LeftOut:
        owner, route = self._expanded.owner, self._expanded.route
        return LeftOut(self._service.ref(owner), self._expanded.index, index, _route_name(route, match), failed, self._origin)

    def _is_broken(self, part: str = "") -> bool:
        """Reported when it was loaded, see Resource.broken."""
        owner = self._expanded.owner
        return bool(owner.broken) and f"{self._path}{part}" in owner.broken

    def _unconcerned(self, index: int, match: HttpMatch) -> str:
        """B13-B15: conditions on the gateway itself, known before any request; why the match cannot hold here, or ""."""
        if self._is_broken(f".match[{index}]"):
            return "this match is invalid and left out"
        if match.port and match.port != self._port:
            return f"port: want {match.port}, got {self._port}"
        if match.gateways:
            namespace = self._expanded.owner.namespace
            names = [resolve_gateway_name(name, namespace) for name in match.gateways]
            return "" if self._gateway in names else f'gateways: want {", ".join(names)}, got "{self._gateway}"'
        if match.source_namespace and match.source_namespace != self._options.namespace:
            return f'sourceNamespace: want "{match.source_namespace}", this gateway is in "{self._options.namespace}"'
        return "" if is_subset(match.source_labels, self._options.labels) else "sourceLabels: this gateway does not carry them"

    def _rule(self, index: int, match: HttpMatch | None, uses: list[Use]) -> tuple[Rule | None, bool]:
        owner, route, path = self._expanded.owner, self._expanded.route, self._path
        try:
            conditions = conditions_of(match, self._wishes.segments)
        except InvalidMatch as problem:
            field = f"{path}.match[{index}]{problem.field}"
            self._service.report.error("FGW0104", owner, field, f"this match is left out: {problem}")
            return None, False
        for field, words in conditions.remarks:
            self._service.report.warning("FGW0109", owner, f"{path}.match[{index}]{field}", words)
        built = self._action(path, uses)
        rule = Rule(
            name=_route_name(route, match),
            virtual_service=self._service.ref(owner),
            route_index=self._expanded.index,
            match_index=index,
            action=with_pages(keep_clients(built.action, self._wishes.sticky), self._wishes.error_pages),
            path=conditions.path,
            predicates=conditions.predicates,
            origin=self._origin,
        )
        return rule, is_catch_all(conditions)

    def _action(self, path: str, uses: list[Use]) -> Built:
        """Built once a route, when the first of its matches applies here."""
        built = self._built
        if built is None:
            owner = self._expanded.owner
            if self._is_broken():
                self._built = Built(Action("unsupported", (), "invalid"))
                return self._built
            built = self._built = build_action(self._expanded.route, owner.namespace, self._port, self._finder)
            uses += [Use(key, owner, path + field) for key, field in built.clusters]
            report = self._service.report
            for remark in built.remarks:
                add = report.error if remark.severity == "error" else report.warning
                add(remark.code, owner, path + remark.field, remark.words)
        return built


def _depends_on_port(route: HttpRoute) -> bool:
    if route.redirect is not None and route.redirect.derive_port is not None:
        return True
    if any(match.port for match in route.match) or any(_is_without_port(entry.destination) for entry in route.route):
        return True
    return _is_without_port(route.mirror) or any(_is_without_port(mirror.destination) for mirror in route.mirrors)


def _is_without_port(destination: Destination | None) -> bool:
    return destination is not None and (destination.port is None or not destination.port.number)


def _route_name(route: HttpRoute, match: HttpMatch | None) -> str:
    """E7."""
    if match is None or not match.name:
        return route.name
    return f"{route.name}.{match.name}" if route.name else match.name


def _report_unreachable(service: BoundService, last: Expanded, dropped: list[Expanded]) -> None:
    for expanded in dropped:
        message = f"never reached: spec.http[{last.index}] of {last.owner.key} before it matches every request"
        service.report.warning("IST0130", expanded.owner, f"spec.http[{expanded.index}]", message)
