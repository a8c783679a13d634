"""One match of a VirtualService's http route -> a path condition and predicates (section G). Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastgw.compiler.regexes import matches_empty, regex_problem
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.plan import PathMatch, Predicate

CLAIMS = "@request.auth.claims"
_PSEUDO = {":method": "method", ":authority": "authority", ":scheme": "scheme", ":path": "raw_path"}
# Never among the fields of a request: "host" is kept as the authority (G12), ":status" belongs to responses.
_ABSENT = frozenset({"host", ":status"})


class Conditions(msgspec.Struct, frozen=True):
    """What a match demands, and remarks about it as (field, words)."""

    path: PathMatch | None
    predicates: tuple[Predicate, ...]
    remarks: tuple[tuple[str, str], ...] = ()


ANYTHING = Conditions(None, ())


class InvalidMatch(Exception):
    """A match that means nothing. ``field`` is inside the match (".uri.regex")."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def conditions_of(match: HttpMatch | None, segments: bool = False) -> Conditions:
    """Raises InvalidMatch. ``segments``: a prefix matches whole path segments.

    Gateways, ports and sources are not in here: they are known when compiling.
    """
    if match is None:
        return ANYTHING
    remarks: list[tuple[str, str]] = []
    predicates = [*_pseudo_predicates(match), *_header_predicates(match, remarks), *_query_predicates(match)]
    return Conditions(_path_match(match, segments), tuple(predicates), tuple(remarks))


def is_catch_all(conditions: Conditions) -> bool:
    """E3: any path, prefix "/" or regex ".*", and nothing else. Prefix "" is not one, although it holds everywhere."""
    if conditions.predicates:
        return False
    path = conditions.path
    if path is None:
        return True
    return (path.kind == "prefix" and path.value == "/") or (path.kind == "regex" and path.value == ".*")


def _path_match(match: HttpMatch, segments: bool) -> PathMatch | None:
    if match.uri is None:
        return None
    kind, value = _operation(match.uri, ".uri", star_is_present=False)
    if kind == "present":
        return None
    if segments and kind == "prefix" and value not in ("", "/"):
        kind = "segment"
    return PathMatch(kind, value, match.ignore_uri_case and kind != "regex")


def _pseudo_predicates(match: HttpMatch) -> Iterator[Predicate]:
    for target in ("method", "scheme", "authority"):
        wanted: StringMatch | None = getattr(match, target)
        if wanted is not None:
            op, value = _operation(wanted, f".{target}", star_is_present=True)
            yield Predicate(target, op, "", value)


def _header_predicates(match: HttpMatch, remarks: list[tuple[str, str]]) -> Iterator[Predicate]:
    for name in sorted(match.headers):
        yield from _header(name, match.headers[name], f".headers[{name}]", False, remarks)
    for name in sorted(match.without_headers):
        yield from _header(name, match.without_headers[name], f".withoutHeaders[{name}]", True, remarks)


def _header(name: str, wanted: StringMatch, field: str, invert: bool, remarks: list[tuple[str, str]]) -> Iterator[Predicate]:
    op, value = _operation(wanted, field, star_is_present=True)
    lower = name.lower()
    if lower.startswith(CLAIMS):
        # Nothing validates tokens yet, and a claim that nobody vouches for must not open a route (G14).
        remarks.append((field, "matching on token claims is not supported yet: this match never holds"))
        yield Predicate("never", "present", name)
    elif lower in _ABSENT:
        if lower == "host" and not invert:
            remarks.append((field, 'the header "host" is never there (Envoy keeps it as :authority): use authority'))
        if not (invert and _holds_when_absent(op, value)):
            yield Predicate("never", "present", lower)
    elif lower in _PSEUDO:
        yield Predicate(_PSEUDO[lower], op, "", value, invert)
    else:
        yield Predicate("header", op, lower, value, invert)


def _holds_when_absent(op: str, value: str) -> bool:
    """withoutHeaders on a header that cannot be there: absent counts as "" unless presence is asked for (G8)."""
    if op == "present":
        return True
    if op == "regex":
        return not matches_empty(value)
    return value != ""


def _query_predicates(match: HttpMatch) -> Iterator[Predicate]:
    for name, wanted in match.query_params.items():
        op, value = _operation(wanted, f".queryParams[{name}]", star_is_present=False)
        yield Predicate("query", op, name, value)


def _operation(wanted: StringMatch, field: str, star_is_present: bool) -> tuple[str, str]:
    """(op, value) of a StringMatch; the regex "*" on a header means presence, as in Istio (G7)."""
    given = [(op, value) for op in ("exact", "prefix", "regex") if (value := getattr(wanted, op)) is not None]
    if len(given) > 1:
        raise InvalidMatch(field, f"takes one of exact, prefix and regex, not {' and '.join(op for op, _ in given)}")
    if not given:
        return "present", ""
    op, value = given[0]
    if op == "regex":
        if value == "*" and star_is_present:
            return "present", ""
        problem = regex_problem(value)
        if problem:
            raise InvalidMatch(f"{field}.regex", problem)
    return op, value
