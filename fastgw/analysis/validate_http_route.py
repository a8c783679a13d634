"""Rules of an http route: what it does, and what may stand beside it (fields.md, sections 2.1 to 2.6)."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import check_ms, check_port
from fastgw.analysis.validate_destination import check_weights
from fastgw.analysis.validate_headers import check_headers
from fastgw.analysis.validate_http_match import check_http_match
from fastgw.analysis.validate_http_policy import check_cors, check_fault, check_mirrors, check_retries
from fastgw.compiler.regexes import regex_problem
from fastgw.model.kinds.http_route import DirectResponse, HttpRoute, Redirect, Rewrite

BODY_WARN_BYTES = 100 << 10
BODY_LIMIT_BYTES = 1 << 20


def check_http_route(findings: Findings, path: str, route: HttpRoute, in_mesh: bool) -> None:
    for index, match in enumerate(route.match):
        check_http_match(findings, f"{path}.match[{index}]", match, in_mesh)
    _check_action(findings, path, route)
    sets_host = check_headers(findings, f"{path}.headers", route.headers)
    check_weights(findings, f"{path}.route", route.route)
    for index, entry in enumerate(route.route):
        here = f"{path}.route[{index}].headers"
        _one_host(findings, check_headers(findings, here, entry.headers))
    if route.rewrite is not None:
        _check_rewrite(findings, f"{path}.rewrite", route.rewrite)
        if route.rewrite.authority:
            sets_host.append(f"{path}.rewrite.authority")
    _one_host(findings, sets_host)
    if route.timeout is not None:
        check_ms(findings, f"{path}.timeout", route.timeout)
    _check_policies(findings, path, route)


def _check_policies(findings: Findings, path: str, route: HttpRoute) -> None:
    if route.retries is not None:
        check_retries(findings, f"{path}.retries", route.retries)
    if route.fault is not None:
        check_fault(findings, f"{path}.fault", route.fault)
    if route.cors_policy is not None:
        check_cors(findings, f"{path}.corsPolicy", route.cors_policy)
    check_mirrors(findings, path, route)


def _one_host(findings: Findings, places: list[str]) -> None:
    if len(places) > 1:
        findings.error(places[1], f"the host of the request is set at {places[0]} already")


def _check_action(findings: Findings, path: str, route: HttpRoute) -> None:
    """Exactly one of route, redirect, directResponse and delegate, and nothing that contradicts it."""
    if route.delegate is not None:
        if route.route or route.redirect is not None or route.direct_response is not None:
            findings.error(f"{path}.delegate", "a rule that delegates has no action of its own")
        if not route.delegate.name:
            findings.error(f"{path}.delegate", "a delegate needs a name")
        return
    for action, value in (("redirect", route.redirect), ("directResponse", route.direct_response)):
        if value is None:
            continue
        beside = (("route", route.route), ("fault", route.fault), ("rewrite", route.rewrite))
        for field, other in beside:
            if other:
                findings.error(f"{path}.{field}", f"{field} cannot stand beside {action}")
    if route.redirect is not None and route.direct_response is not None:
        findings.error(f"{path}.directResponse", "redirect and directResponse exclude each other")
    if route.redirect is not None:
        _check_redirect(findings, f"{path}.redirect", route.redirect, route)
    if route.direct_response is not None:
        _check_direct_response(findings, f"{path}.directResponse", route.direct_response)
    if not route.route and route.redirect is None and route.direct_response is None:
        findings.error(path, "a rule needs one of route, redirect, directResponse and delegate")


def _check_redirect(findings: Findings, path: str, redirect: Redirect, route: HttpRoute) -> None:
    if redirect.uri and redirect.prefix_rewrite:
        findings.error(f"{path}.prefixRewrite", "uri and prefixRewrite exclude each other")
    if redirect.port is not None and redirect.derive_port is not None:
        findings.error(f"{path}.derivePort", "port and derivePort exclude each other")
    if redirect.port is not None:
        check_port(findings, f"{path}.port", redirect.port)
    changes = (redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme, redirect.port, redirect.derive_port)
    if not any(change is not None and change != "" for change in changes):
        findings.error(path, "a redirect needs one of uri, prefixRewrite, authority, port and scheme")
    if redirect.scheme not in ("", "http", "https"):
        findings.error(f"{path}.scheme", f'"{redirect.scheme}" is neither http nor https')
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:
        findings.error(f"{path}.redirectCode", f"{redirect.redirect_code} is no code of a redirect (300 to 399)")
    if redirect.prefix_rewrite and any(match.uri is not None and match.uri.prefix is None for match in route.match):
        findings.error(f"{path}.prefixRewrite", "prefixRewrite needs matches by prefix")


def _check_direct_response(findings: Findings, path: str, response: DirectResponse) -> None:
    if not 200 <= response.status <= 600:
        findings.error(f"{path}.status" if response.status else path, f"{response.status} is no status, they go from 200 to 599")
    body = response.body
    if body is None:
        return
    if body.string is not None and body.bytes is not None:
        findings.error(f"{path}.body", "string and bytes exclude each other")
    size = len(body.string.encode()) if body.string is not None else len(body.bytes or "") * 3 // 4
    if size > BODY_LIMIT_BYTES:
        findings.error(f"{path}.body", f"a body of {size} bytes, the most is 1 MiB")
    elif size > BODY_WARN_BYTES:
        findings.warn(f"{path}.body", f"a body of {size} bytes is large for a configuration")


def _check_rewrite(findings: Findings, path: str, rewrite: Rewrite) -> None:
    regex = rewrite.uri_regex_rewrite
    if not rewrite.uri and not rewrite.authority and regex is None:
        findings.error(path, "a rewrite needs uri, uriRegexRewrite or authority")
    if rewrite.uri and regex is not None:
        findings.error(f"{path}.uriRegexRewrite", "uri and uriRegexRewrite exclude each other")
    if regex is None:
        return
    if not regex.match or not regex.rewrite:
        findings.error(f"{path}.uriRegexRewrite", "match and rewrite are needed both")
    else:
        findings.problem(f"{path}.uriRegexRewrite.match", regex_problem(regex.match))
