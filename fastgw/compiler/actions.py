"""What a rule does with a request: destinations with weights and a policy, an answer of the gateway's own, or an honest 503.

A rule is never passed over because of its action: what cannot be performed is answered 503, since the next rule may be one that
the author wanted to keep such requests away from. The same for parts of an action without which it would not be safe to go on: an
abort of every request (that is how people close a path), a header that upstreams trust, the rewrite of a path.
"""

from __future__ import annotations

import msgspec

from fastgw.compiler.destinations import ClusterKey, Finder, weighted
from fastgw.compiler.header_edits import RouteEdits, edits_of
from fastgw.compiler.local_actions import InvalidAnswer, direct_response_of, redirect_of
from fastgw.compiler.route_policies import route_policy
from fastgw.model.kinds.http_route import HttpRoute, HttpRouteDestination
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
    if route.delegate is not None:
        return _refuse("delegate", _invalid(".delegate", "a rule that delegates has no action of its own: answered 503"))
    if route.redirect is not None or route.direct_response is not None:
        return _local_answer(route, server_port)
    problem = _destination_problem(route.route)
    if problem is not None:
        return _refuse("invalid", problem)
    edits = edits_of(route)
    built = route_policy(route, namespace, server_port, finder)
    for each in (*edits.problems, *built.problems):
        if each.matters:
            detail = each.field.split(".")[1].split("[")[0]
            words = f"{each.words}: going on without it would not be safe: answered 503"
            return _refuse(detail, _invalid(each.field, words) if detail == "rewrite" else _wrong(each.field, words))
    remarks = [_wrong(each.field, f"{each.words}: it has no effect") for each in (*edits.problems, *built.problems)]
    found = _route(route.route, edits, namespace, server_port, finder, remarks)
    if built.policy is None:
        return found
    action = msgspec.structs.replace(found.action, policy=built.policy)
    return Built(action, found.clusters + built.clusters, found.remarks)


def _local_answer(route: HttpRoute, server_port: int) -> Built:
    """redirect, else directResponse; of ``headers`` what concerns answers (K1)."""
    edits = edits_of(route)
    remarks = tuple(_wrong(each.field, f"{each.words}: it has no effect") for each in edits.problems)
    try:
        if route.redirect is not None:
            return Built(Action("redirect", redirect=redirect_of(route.redirect, server_port), edits=edits.route), (), remarks)
        assert route.direct_response is not None
        return Built(Action("direct_response", answer=direct_response_of(route.direct_response), edits=edits.route), (), remarks)
    except InvalidAnswer as problem:
        code = "FGW0104" if problem.severity == "error" else "FGW0105"
        remark = Remark(problem.severity, code, problem.field, f"{problem}: answered 503")
        return _refuse(problem.field.split(".")[1], remark)


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
        assert entry.destination is not None
        found = weighted(entry.destination, weight, namespace, server_port, finder)
        own = edits.destinations[index]
        destinations.append(msgspec.structs.replace(found.destination, edits=own) if own != NO_EDITS else found.destination)
        if found.key is not None:
            clusters.append((found.key, field))
        else:
            remarks.append(Remark("error", "IST0101", field, f"{found.why_missing}: answered 503 (NC)"))
    return Built(Action("route", tuple(destinations), edits=edits.route), tuple(clusters), tuple(remarks))


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


def _refuse(detail: str, remark: Remark) -> Built:
    return Built(Action("unsupported", (), detail), (), (remark,))


def _wrong(field: str, words: str) -> Remark:
    return Remark("warning", "FGW0105", field, words)


def _invalid(field: str, words: str) -> Remark:
    return Remark("error", "FGW0104", field, words)
