"""What a rule does with a request: destinations with weights, and an honest answer where this version cannot do what is asked.

A rule is never passed over because of its action: what cannot be performed is answered 503, since the next rule may be one that
the author wanted to keep such requests away from. Fields that have no effect yet are reported; the route works without them as long
as no access restriction and no trust in headers is lost by that:

- fault.abort of 100 % is how people close a path, so it closes it here too (503); a smaller share is a test aid and only reported;
- a headers.request.set whose value cannot be made would let clients say what upstreams trust: not forwarded (503);
- rewrite of the uri, timeout, retries, fault.delay, mirror and corsPolicy are reported only.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastgw.compiler.destinations import ClusterKey, Finder, choose_port, cluster_key, cluster_name
from fastgw.compiler.header_edits import RouteEdits, edits_of
from fastgw.compiler.hosts import full_name
from fastgw.model.kinds.http_route import Fault, HttpRoute, HttpRouteDestination, Percent
from fastgw.model.plan import NO_EDITS, Action, WeightedDestination

FULL_WEIGHT = 100
MAX_PORT = 65535
MAX_TOTAL_WEIGHT = 0xFFFF_FFFF


class Remark(msgspec.Struct, frozen=True):
    """A finding about an action: severity, code, field inside the http route (".timeout"), words."""

    severity: str
    code: str
    field: str
    words: str


class Built(msgspec.Struct, frozen=True):
    """An action, the clusters that it needs as (cluster, field of the destination), and what is to be said about it."""

    action: Action
    clusters: tuple[tuple[ClusterKey, str], ...] = ()
    remarks: tuple[Remark, ...] = ()


def build_action(route: HttpRoute, namespace: str, server_port: int, finder: Finder) -> Built:
    """``namespace``: of the VirtualService, for short names. ``server_port``: of the Gateway's server (H2)."""
    for field, detail in (("redirect", "redirect"), ("direct_response", "directResponse"), ("delegate", "delegate")):
        if getattr(route, field) is not None:
            return _refuse(detail, _unsupported(f".{detail}", f"{detail} is not supported yet: answered 503"))
    problem = _destination_problem(route.route)
    if problem is not None:
        return _refuse("invalid", problem)
    closed = next(_closing_fields(route), None)
    if closed is not None:
        message = f"{closed[1:]} is not supported yet, and going on without it would not be safe: answered 503"
        return _refuse("fault" if closed.startswith(".fault") else "headers", _unsupported(closed, message))
    edits = edits_of(route)
    fatal = next((each for each in edits.problems if each.matters), None)
    if fatal is not None:
        return _refuse("headers", _unsupported(fatal.field, f"{fatal.words}: going on without it would not be safe: answered 503"))
    remarks = [_unsupported(field, f"{field[1:]} is not supported yet: it has no effect") for field in _open_fields(route)]
    remarks += [_unsupported(each.field, f"{each.words}: it has no effect") for each in edits.problems]
    return _route(route.route, edits, namespace, server_port, finder, remarks)


def _route(
    entries: tuple[HttpRouteDestination, ...],
    edits: RouteEdits,
    namespace: str,
    server_port: int,
    finder: Finder,
    remarks: list[Remark],
) -> Built:
    """Zero weights drop out; a lone destination gets everything (H5)."""
    destinations: list[WeightedDestination] = []
    clusters: list[tuple[ClusterKey, str]] = []
    for index, entry in enumerate(entries):
        weight = FULL_WEIGHT if len(entries) == 1 else entry.weight
        if weight == 0:
            continue
        field = f".route[{index}].destination"
        destination, key = _destination(entry, weight, namespace, server_port, finder)
        own = edits.destinations[index]
        destinations.append(msgspec.structs.replace(destination, edits=own) if own != NO_EDITS else destination)
        if key is not None:
            clusters.append((key, field))
        else:
            why = _why_missing(entry, destination, namespace, finder)
            remarks.append(Remark("error", "IST0101", field, f"{why}: answered 503 (NC)"))
    return Built(Action("route", tuple(destinations), edits=edits.route), tuple(clusters), tuple(remarks))


def _destination(
    entry: HttpRouteDestination, weight: int, namespace: str, server_port: int, finder: Finder
) -> tuple[WeightedDestination, ClusterKey | None]:
    destination = entry.destination
    assert destination is not None
    found = finder.find(destination.host, namespace)
    if found is None:
        host = full_name(destination.host, namespace).lower()
        port = destination.port.number if destination.port else server_port
        name = cluster_name(host, port, destination.subset)
        return WeightedDestination(name, weight, host, destination.subset, port), None
    port = choose_port(found, destination, server_port)
    name = cluster_name(found.host, port, destination.subset)
    return WeightedDestination(name, weight, found.host, destination.subset, port), cluster_key(found, port, destination.subset)


def _why_missing(entry: HttpRouteDestination, destination: WeightedDestination, namespace: str, finder: Finder) -> str:
    assert entry.destination is not None
    if finder.find(entry.destination.host, namespace) is None:
        return finder.why_not(entry.destination.host, namespace)
    return f"{destination.host} has no port {destination.port}"


def _destination_problem(entries: tuple[HttpRouteDestination, ...]) -> Remark | None:
    """What makes a route useless as a whole."""
    if not entries:
        return _invalid("", "it has none of route, redirect, directResponse and delegate: answered 503")
    for index, entry in enumerate(entries):
        if entry.destination is None or not entry.destination.host:
            return _invalid(f".route[{index}]", "a destination without a host: answered 503")
        if entry.destination.port is not None and entry.destination.port.number > MAX_PORT:
            return _invalid(f".route[{index}].destination.port", f"{entry.destination.port.number} is no port: answered 503")
        if entry.weight < 0:
            return _invalid(f".route[{index}].weight", "a negative weight: answered 503")
    if len(entries) > 1 and not any(entry.weight for entry in entries):
        return _invalid(".route", "the weights add up to 0: answered 503")
    if sum(entry.weight for entry in entries) > MAX_TOTAL_WEIGHT:
        return _invalid(".route", f"the weights add up to more than {MAX_TOTAL_WEIGHT}: answered 503")
    return None


def _closing_fields(route: HttpRoute) -> Iterator[str]:
    """Fields without which the request must not go on, see the module's text."""
    abort = route.fault.abort if route.fault else None
    if abort is not None and abort.percentage is not None and abort.percentage.value >= 100:
        yield ".fault.abort"


def _open_fields(route: HttpRoute) -> Iterator[str]:
    """Fields that have no effect yet and whose absence takes no protection away."""
    for name, field in (
        ("timeout", ".timeout"),
        ("mirror", ".mirror"),
        ("cors_policy", ".corsPolicy"),
    ):
        if getattr(route, name) is not None:
            yield field
    if route.rewrite is not None:
        for name, field in (("uri", ".rewrite.uri"), ("uri_regex_rewrite", ".rewrite.uriRegexRewrite")):
            if getattr(route.rewrite, name):
                yield field
    if route.retries is not None and route.retries.attempts:
        yield ".retries"
    if route.mirrors:
        yield ".mirrors"
    fault = route.fault or Fault()
    if fault.delay is not None and (_happens(fault.delay.percentage) or fault.delay.percent):
        yield ".fault.delay"
    if fault.abort is not None and _happens(fault.abort.percentage):
        yield ".fault.abort"


def _happens(percentage: Percent | None) -> bool:
    """Without a percentage, or with 0, no fault is injected in Istio either."""
    return percentage is not None and percentage.value > 0


def _refuse(detail: str, remark: Remark) -> Built:
    return Built(Action("unsupported", (), detail), (), (remark,))


def _unsupported(field: str, words: str) -> Remark:
    return Remark("warning", "FGW0105", field, words)


def _invalid(field: str, words: str) -> Remark:
    return Remark("error", "FGW0104", field, words)
