"""IST0130 and IST0131: rules and matches that earlier ones of the same VirtualService cover.

What stands behind a rule that takes everything is the compiler's to report; here it is one condition that covers another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.kinds.virtual_service import VirtualService

UNREACHABLE, INEFFECTIVE = "IST0130", "IST0131"
_ANYTHING = (None, "", False)
_Key = tuple[str | None, str, bool]


def check_unreachable(picture: Picture) -> list[Diagnostic]:
    diagnostics: list[Diagnostic] = []
    for service in picture.of("VirtualService"):
        if len(service.spec.http) > 1 or any(len(route.match) > 1 for route in service.spec.http):
            findings = Findings(service)
            _check(findings, service.spec)
            diagnostics += findings.diagnostics
    return diagnostics


def _check(findings: Findings, service: VirtualService) -> None:
    earlier = _Earlier()
    for index, route in enumerate(service.http):
        covered = []
        for position, match in enumerate(route.match):
            by = earlier.covering(match)
            if by is not None:
                covered.append((position, by))
            else:
                earlier.add(match, f"spec.http[{index}].match[{position}]")
        path = f"spec.http[{index}]"
        if covered and len(covered) == len(route.match):
            findings.warn(path, f"this rule is never reached: {covered[0][1]} covers it", UNREACHABLE)
            continue
        for position, by in covered:
            findings.warn(f"{path}.match[{position}]", f"this match has no effect: {by} covers it", INEFFECTIVE)


class _Earlier:
    """Matches so far, found by their condition on the path, so that many rules need no look at each pair."""

    def __init__(self) -> None:
        self._by_path: dict[_Key, list[tuple[HttpMatch, str]]] = {}
        self._longest = {False: 0, True: 0}

    def add(self, match: HttpMatch, place: str) -> None:
        if _takes_everything(match):
            return
        key = _path_key(match)
        if key[0] == "prefix":
            self._longest[key[2]] = max(self._longest[key[2]], len(key[1]))
        self._by_path.setdefault(key, []).append((match, place))

    def covering(self, match: HttpMatch) -> str | None:
        """The place of an earlier match that holds whenever ``match`` does."""
        for key in self._wider(match):
            for other, place in self._by_path.get(key, ()):
                if _rest_covers(other, match):
                    return place
        return None

    def _wider(self, match: HttpMatch) -> Iterator[_Key]:
        """Conditions on the path that hold for every path of ``match``."""
        yield _ANYTHING
        kind, text, folded = _path_key(match)
        if kind is None:
            return
        yield (kind, text, folded)
        if kind == "regex":
            return
        for fold in (folded,) if folded else (False, True):
            value = text.lower() if fold else text
            if kind == "exact":
                yield ("exact", value, fold)
            for length in range(min(len(value), self._longest[fold]) + 1):
                yield ("prefix", value[:length], fold)


def _path_key(match: HttpMatch) -> _Key:
    uri = match.uri
    if uri is None or uri.exact is uri.prefix is uri.regex is None:
        return _ANYTHING
    if uri.regex is not None:
        return ("regex", uri.regex, False)
    kind, text = ("exact", uri.exact) if uri.exact is not None else ("prefix", uri.prefix)
    assert text is not None
    return (kind, text.lower(), True) if match.ignore_uri_case else (kind, text, False)


def _takes_everything(match: HttpMatch) -> bool:
    """E3: the compiler reports what stands behind such a match."""
    path = _path_key(match)
    return (path == _ANYTHING or path[:2] in (("prefix", "/"), ("regex", ".*"))) and _rest_covers(match, HttpMatch())


def _rest_covers(wide: HttpMatch, narrow: HttpMatch) -> bool:
    """Whether the conditions other than the path's hold for ``wide`` whenever they hold for ``narrow``."""
    if wide.port not in (0, narrow.port) or wide.source_namespace not in ("", narrow.source_namespace):
        return False
    if wide.gateways and not (narrow.gateways and set(narrow.gateways) <= set(wide.gateways)):
        return False
    if not wide.source_labels.items() <= narrow.source_labels.items():
        return False
    texts = (
        _text_covers(wide.scheme, narrow.scheme),
        _text_covers(wide.method, narrow.method),
        _text_covers(wide.authority, narrow.authority),
    )
    return (
        all(texts)
        and _map_covers(wide.headers, narrow.headers)
        and _map_covers(wide.query_params, narrow.query_params)
        and all(narrow.without_headers.get(name) == value for name, value in wide.without_headers.items())
    )


def _map_covers(wide: Mapping[str, StringMatch], narrow: Mapping[str, StringMatch]) -> bool:
    return all(name in narrow and _text_covers(value, narrow[name]) for name, value in wide.items())


def _text_covers(wide: StringMatch | None, narrow: StringMatch | None) -> bool:
    if wide is None or wide == narrow:
        return True
    if narrow is None or wide.regex is not None or wide.exact is not None:
        return False
    if wide.prefix is None:
        return narrow.regex is None
    text = narrow.exact if narrow.exact is not None else narrow.prefix
    return text is not None and text.startswith(wide.prefix)
