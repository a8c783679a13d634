"""What is kept of an object of which a part does not fit its type: the same parts are lost as when a part breaks a rule of its kind
(``fastgw.analysis.containment``), and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fastgw.analysis.containment import part_of
from fastgw.analysis.rule_parts import parts_of_rule, remove_parts
from fastgw.model.paths import join_key, split_path

_KEPT_OF_ROUTE = ("name", "match")


def without_misfits(kind: str, value: Any, paths: Iterable[str]) -> Any | None:
    """``value`` without the parts that ``paths`` lie in; None when they cost the whole object. ``value``: a spec as it was read."""
    keep = _KEEPERS.get(kind)
    return keep(value, list(paths)) if keep is not None else None


def _service(value: Any, paths: list[str]) -> Any | None:
    """A wrong match becomes one that is known as broken, a wrong route keeps its name and matches."""
    for path in paths:
        part = part_of("VirtualService", path)
        if part is None:
            return None
        index, *match = _numbers(part)
        route = value["http"][index]
        if not isinstance(route, dict) or not _knows_its_requests(route, path, part):
            return None
        if match:
            value = remove_parts(value, [part])
        else:
            value = remove_parts(value, [join_key(part, key) for key in route if key not in _KEPT_OF_ROUTE])
    return value


def _numbers(part: str) -> list[int]:
    return [step for step in split_path(part) if isinstance(step, int)]


def _knows_its_requests(route: dict[str, Any], path: str, part: str) -> bool:
    """Of a route whose matches cannot be read nobody knows whom to answer 503; a word that is not known may have been "match"."""
    if path == f"{part}.match":
        return False
    return "match" in route or len(split_path(path)) > len(split_path(part)) + 1


def _items(kind: str, value: Any, paths: list[str]) -> Any | None:
    """Servers of a Gateway, endpoints of a ServiceEntry."""
    parts = [part_of(kind, path) for path in paths]
    return None if None in parts else remove_parts(value, [part for part in parts if part is not None])


def _rule(value: Any, paths: list[str]) -> Any | None:
    parts = parts_of_rule(value, paths)
    return None if parts is None else remove_parts(value, parts)


_KEEPERS: dict[str, Callable[[Any, list[str]], Any | None]] = {
    "VirtualService": _service,
    "Gateway": partial(_items, "Gateway"),
    "ServiceEntry": partial(_items, "ServiceEntry"),
    "DestinationRule": _rule,
}
