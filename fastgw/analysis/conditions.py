"""Conditions of http matches that never hold, reach further than they look, or are slow elsewhere: FGW0109, FGW0031, FGW0032."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.analysis.regex_shape import judge
from fastgw.compiler.annotations import PATH_MATCH, wishes_of
from fastgw.compiler.hosts import covers, full_name
from fastgw.compiler.report import Report
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.base import StringMatch
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.paths import join_key
from fastgw.model.resource import Resource

NEVER, SLOW, BEYOND = "FGW0109", "FGW0031", "FGW0032"
_DOTS = re.compile(r"/\.\.?/")
_ESCAPED = re.compile(r"%(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")
"""Of characters that need no escape: letters, digits, "-", ".", "_" and "~"."""
_NO_PATH = re.compile(r"[^\x21-\x7e]")
_LEFT_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))
_SCHEMES = ("http", "https")
_SAID_BY_US = ("x-envoy-external-address", "x-envoy-attempt-count")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))


def check_conditions(picture: Picture) -> list[Diagnostic]:
    found = picture.each("VirtualService", "conditions", odd_conditions)
    whole = _delegates_by_segment(picture)
    return [one for one in found if one.code != BEYOND or f"{one.namespace}/{one.name}" not in whole] if whole else found


def _delegates_by_segment(picture: Picture) -> set[str]:
    """Delegates of VirtualServices that ask for whole segments: it counts for them, too."""
    return {
        f"{route.delegate.namespace or service.namespace}/{route.delegate.name}"
        for service in picture.of("VirtualService")
        if PATH_MATCH in service.annotations and wishes_of(service, Report()).segments
        for route in service.spec.http
        if route.delegate is not None
    }


def odd_conditions(service: Resource) -> list[Diagnostic]:
    """The findings about one VirtualService."""
    findings = Findings(service)
    spec: VirtualService = service.spec
    beyond: list[tuple[str, str]] = []
    for index, route in enumerate(spec.http):
        for position, match in enumerate(route.match):
            path = f"spec.http[{index}].match[{position}]"
            if service.broken and path in service.broken:
                continue
            if match.uri is not None:
                _check_path(findings, f"{path}.uri", match.uri)
                if match.uri.prefix is not None and _is_open(match.uri.prefix):
                    beyond.append((f"{path}.uri.prefix", match.uri.prefix))
            _check_words(findings, path, match, spec.hosts)
            _check_names(findings, path, match)
            for place, value in _texts(path, match):
                if value.regex is not None:
                    _check_regex(findings, f"{place}.regex", value.regex, of_paths=False)
    if beyond and not wishes_of(service, Report()).segments:
        _note_beyond(findings, beyond)
    return findings.diagnostics


def _texts(path: str, match: HttpMatch) -> Iterator[tuple[str, StringMatch]]:
    for field, value in (("scheme", match.scheme), ("method", match.method), ("authority", match.authority)):
        if value is not None:
            yield f"{path}.{field}", value
    for field, values in (("headers", match.headers), ("queryParams", match.query_params)):
        for name, value in values.items():
            yield join_key(f"{path}.{field}", name), value


def _check_path(findings: Findings, path: str, uri: StringMatch) -> None:
    """A path begins with "/", has no query (G2) and no dot segments any more when it is compared (section O)."""
    if uri.regex is not None:
        _check_regex(findings, f"{path}.regex", uri.regex, of_paths=True)
        return
    field, text = ("exact", uri.exact) if uri.exact is not None else ("prefix", uri.prefix)
    if text == "" and field == "exact":
        # Istio lets it pass without a word
        findings.note(f"{path}.{field}", "never holds: a path is never empty", NEVER)
    problem = _path_problem(text) if text and text != "*" else ""
    if problem:
        findings.warn(f"{path}.{field}", f"never holds: {problem}", NEVER)


def _check_words(findings: Findings, path: str, match: HttpMatch, hosts: tuple[str, ...]) -> None:
    """Exact values that no request has: they are compared with case (G10), and the host was compared before (D1)."""
    scheme, method, authority = (
        value.exact if value is not None else None for value in (match.scheme, match.method, match.authority)
    )
    if scheme is not None and scheme not in _SCHEMES:
        findings.warn(f"{path}.scheme.exact", "never holds: a scheme is http or https, in lower case", NEVER)
    if method is not None and method not in _METHODS and method.upper() in _METHODS:
        findings.warn(f"{path}.method.exact", f'never holds: case matters, and clients write "{method.upper()}"', NEVER)
    if authority is not None and hosts and not _is_among(authority, hosts, findings.resource.namespace):
        message = f"never holds: no request with this host gets here, spec.hosts has {', '.join(hosts)}"
        findings.warn(f"{path}.authority.exact", message, NEVER)


def _check_names(findings: Findings, path: str, match: HttpMatch) -> None:
    """Header fields that are taken off a request before rules are asked."""
    for name in match.headers:
        lower = name.lower()
        if "_" in lower and not lower.startswith("@"):
            words = "never holds: names with an underscore are taken off, unless the gateway runs with --underscores allow"
            findings.warn(join_key(f"{path}.headers", name), words, NEVER)
        elif lower.startswith("x-envoy-") and lower not in _SAID_BY_US:
            findings.warn(join_key(f"{path}.headers", name), "never holds: what clients send under this name is taken off", NEVER)


def _is_among(authority: str, hosts: tuple[str, ...], namespace: str) -> bool:
    """``authority`` may have a port."""
    host = authority.lower().partition("]")[0] + "]" if authority.startswith("[") else authority.lower().partition(":")[0]
    return any(covers(full_name(own, namespace).lower(), host) for own in hosts)


def _path_problem(text: str) -> str:
    if not text.startswith("/"):
        return 'a path begins with "/"'
    if "?" in text or "#" in text:
        return "a path is compared without its query; queryParams is the condition for that"
    if _DOTS.search(text):
        return "dot segments are resolved before a path is compared"
    if "\\" in text:
        return 'a path is compared after "\\" has become "/"'
    if _NO_PATH.search(text):
        return f'such characters come escaped in a path: write "{quote(text, safe=_LEFT_AS_IT_IS)}"'
    escaped = _ESCAPED.search(text)
    if escaped is not None:
        return f'"{escaped[0]}" is decoded before a path is compared: write "{unquote(escaped[0])}"'
    return ""


def _check_regex(findings: Findings, path: str, pattern: str, *, of_paths: bool) -> None:
    verdict = judge(pattern, of_paths)
    if verdict.never:
        findings.warn(path, f'"{pattern}" never matches: {verdict.never}', NEVER)
    elif verdict.slow:
        message = f'"{pattern}" repeats what it repeats: RE2 takes it in linear time here, engines that backtrack may take forever'
        findings.note(path, message, SLOW)


def _is_open(prefix: str) -> bool:
    """Whether the prefix ends within a segment, as far as one can see."""
    return prefix not in ("", "/") and not prefix.endswith("/") and prefix.startswith("/")


def _note_beyond(findings: Findings, beyond: list[tuple[str, str]]) -> None:
    """Once a VirtualService (G4)."""
    path, prefix = beyond[0]
    more = f" (and so for {len(beyond) - 1} more here)" if len(beyond) > 1 else ""
    message = f'"{prefix}" also catches "{prefix}bar"{more}; annotation {PATH_MATCH}: segment keeps to whole segments'
    findings.note(path, message, BEYOND)
