"""Delegates: an http route of a root VirtualService replaced by those of another one, merged with it (section F)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from fastgw.compiler.inventory import exported_to
from fastgw.compiler.report import Report
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.http_route import HttpMatch, HttpRoute
from fastgw.model.resource import Resource

# F8: the delegate's value counts where it has one, else the root's; redirect and route come from the delegate only.
_INHERITED = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirror_percent",
    "mirror_percentage",
    "mirrors",
    "cors_policy",
    "headers",
)
_TEXT_CONDITIONS = ("uri", "scheme", "method", "authority")
_SINGLE_CONDITIONS = ("port", "source_namespace", "gateways", "stat_prefix")
_MAP_CONDITIONS = ("headers", "without_headers", "query_params")


class Expanded(msgspec.Struct, frozen=True):
    """An http route as it is compiled. ``owner`` and ``index``: where it stands. ``matches``: with their index there. ``root``: the
    index of the root's route that led to it."""

    owner: Resource
    index: int
    route: HttpRoute
    matches: tuple[tuple[int, HttpMatch | None], ...]
    root: int


def expand(root: Resource, delegates: Mapping[str, Resource], report: Report, segments: bool = False) -> Iterator[Expanded]:
    """The http routes of ``root`` in order, delegating ones replaced. ``delegates``: VirtualServices without hosts, by key.

    ``segments``: the root's path prefixes match whole segments, so a delegate must stay within them.
    """
    for index, route in enumerate(root.spec.http):
        if route.delegate is None or route.redirect is not None or route.route:
            yield Expanded(root, index, route, _indexed(route.match), index)
            continue
        delegate = _find(root, index, route, delegates, report)
        if delegate is not None:
            yield from _merged(root, index, route, delegate, report, segments)


def has_delegates(service: Resource) -> bool:
    """Does any http route of a VirtualService delegate?"""
    return any(route.delegate is not None for route in service.spec.http)


def resolve_gateway_name(name: str, namespace: str) -> str:
    """``namespace/name`` of a gateway named in an object of ``namespace``; "mesh" stays (B2)."""
    if name == "mesh":
        return name
    own, slash, rest = name.partition("/")
    if slash:
        return f"{namespace}/{rest}" if own == "." else name
    if "." in name:
        parts = name.split(".")
        return f"{parts[1]}/{parts[0]}"
    return f"{namespace}/{name}"


def _indexed(matches: Sequence[HttpMatch]) -> tuple[tuple[int, HttpMatch | None], ...]:
    return tuple(enumerate(matches)) if matches else ((0, None),)


def _find(root: Resource, index: int, route: HttpRoute, delegates: Mapping[str, Resource], report: Report) -> Resource | None:
    assert route.delegate is not None
    key = f"{route.delegate.namespace or root.namespace}/{route.delegate.name}"
    path = f"spec.http[{index}].delegate"
    delegate = delegates.get(key)
    if delegate is None:
        report.error("IST0101", root, path, f'delegate "{key}" not found (a VirtualService without hosts): this rule is left out')
        return None
    if not exported_to(delegate.spec.export_to, delegate.namespace, root.namespace):
        report.error("IST0101", root, path, f'delegate "{key}" is not exported to {root.namespace}: this rule is left out')
        return None
    return delegate


def _merged(root: Resource, index: int, route: HttpRoute, delegate: Resource, report: Report, segments: bool) -> Iterator[Expanded]:
    """The delegate's routes within the root's conditions."""
    where = f"the rule spec.http[{index}] of {root.key}"
    for position, own in enumerate(delegate.spec.http):
        path = f"spec.http[{position}]"
        if own.delegate is not None:
            report.error("FGW0104", delegate, f"{path}.delegate", "a delegate cannot delegate again: this rule is left out")
            continue
        matches = _merge_matches(_resolved(route.match, root.namespace), _resolved(own.match, delegate.namespace), segments)
        if matches is None:
            report.warning("FGW0104", delegate, path, f"this rule is left out: a match fits none of {where} that delegates to it")
            continue
        yield Expanded(delegate, position, _merge_route(route, own), matches, index)


def _resolved(matches: Sequence[HttpMatch], namespace: str) -> list[HttpMatch]:
    """Gateway names mean something in their own object's namespace only, so they are completed before merging."""
    return [
        msgspec.structs.replace(match, gateways=tuple(resolve_gateway_name(name, namespace) for name in match.gateways))
        if match.gateways
        else match
        for match in matches
    ]


def _merge_route(root: HttpRoute, own: HttpRoute) -> HttpRoute:
    inherited = {field: getattr(root, field) for field in _INHERITED if getattr(own, field) in (None, ())}
    return msgspec.structs.replace(own, name=_joined(root.name, own.name), **inherited)


def _joined(root: str, own: str) -> str:
    return f"{root}-{own}" if root and own else root or own


def _merge_matches(
    root: Sequence[HttpMatch], own: Sequence[HttpMatch], segments: bool
) -> tuple[tuple[int, HttpMatch | None], ...] | None:
    """F4: the cross product of what does not conflict; None when a match of the delegate fits no match of the root."""
    if not root or not own:
        return _indexed(own or root)
    merged: list[tuple[int, HttpMatch | None]] = []
    for index, leaf in enumerate(own):
        fitting = [
            _merge_match(match, leaf)
            for match in root
            if not (_conflict(match, leaf) or (segments and _leaves_segment(match.uri, leaf.uri)))
        ]
        if not fitting:
            return None
        merged += [(index, match) for match in fitting]
    return tuple(merged)


def _merge_match(root: HttpMatch, leaf: HttpMatch) -> HttpMatch:
    """F7: the delegate's values win, maps are unions in which the delegate's keys win."""
    single = {field: getattr(leaf, field) or getattr(root, field) for field in _SINGLE_CONDITIONS}
    text = {field: getattr(root, field) if getattr(leaf, field) is None else getattr(leaf, field) for field in _TEXT_CONDITIONS}
    maps = {field: {**getattr(root, field), **getattr(leaf, field)} for field in (*_MAP_CONDITIONS, "source_labels")}
    return msgspec.structs.replace(leaf, name=_joined(root.name, leaf.name), **single, **text, **maps)


def _conflict(root: HttpMatch, leaf: HttpMatch) -> bool:
    """F5 and F6: can no request satisfy both, or can nobody tell?"""
    if root.ignore_uri_case != leaf.ignore_uri_case:
        return True
    if root.port and leaf.port and root.port != leaf.port:
        return True
    if root.source_namespace and root.source_namespace != leaf.source_namespace:
        return True
    if any(root.source_labels[key] != value for key, value in leaf.source_labels.items() if key in root.source_labels):
        return True
    if root.gateways and leaf.gateways and not set(leaf.gateways) <= set(root.gateways):
        return True
    if any(_text_conflict(getattr(root, field), getattr(leaf, field)) for field in _TEXT_CONDITIONS):
        return True
    return any(
        _text_conflict(wanted, getattr(leaf, field).get(key))
        for field in _MAP_CONDITIONS
        for key, wanted in getattr(root, field).items()
    )


def _text_conflict(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """F5. Two conditions on one key go together when the delegate's is the narrower one, and neither is a regex."""
    if root is None or leaf is None:
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    if root.exact is not None:
        return leaf.exact != root.exact
    if root.prefix is not None:
        narrower = leaf.exact if leaf.exact is not None else leaf.prefix
        return narrower is None or not narrower.startswith(root.prefix)
    # The root asks for presence: equal to the delegate's asking for presence, and otherwise undecided.
    return leaf.exact is not None or leaf.prefix is not None


def _leaves_segment(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Is the delegate's path ("/foobar") outside of the root's segment ("/foo")? Asked of what does not conflict as text."""
    if root is None or leaf is None or root.prefix is None:
        return False
    path = leaf.exact if leaf.exact is not None else leaf.prefix
    return path is not None and not f"{path}/".startswith(root.prefix.removesuffix("/") + "/")
