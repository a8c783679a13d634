"""``fastgw explain``: which listener, virtual host, rule and destination a request takes, and why other rules do not match."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import msgspec

from fastgw.cli.config_view import ConfigView, admin_option, view_files, view_running
from fastgw.cli.options import color_option, gateway_options, wants_color
from fastgw.model.plan import Listener, Plan, Rule, ServerRef

if TYPE_CHECKING:
    from fastgw.image.explain import ExplainedRule, Explanation

EXIT_NO_MATCH = 3
DEFAULT_PORTS = {"http": 80, "https": 443}


class Asked(msgspec.Struct):
    """A request in words. ``url_port``: the port that the URL names, 0 for none. ``target``: path and query as sent."""

    method: str
    scheme: str
    authority: str
    url_port: int
    path: str
    query: str | None
    headers: tuple[tuple[str, str], ...]

    @property
    def target(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"


@click.command(name="explain")
@click.argument("words", metavar="PATH... METHOD URL", nargs=-1, required=True)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request (repeatable).")
@click.option("--sni", metavar="NAME", help="The server name of the TLS handshake.")
@click.option("--port", type=click.IntRange(1, 65535), help="The Gateway's port number (default: by the URL).")
@click.option("--source-ip", metavar="ADDRESS", help="The address of the client.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@admin_option
@gateway_options
@color_option
def command(
    words: tuple[str, ...],
    headers: tuple[str, ...],
    sni: str | None,
    port: int | None,
    source_ip: str | None,
    output: str,
    admin: str | None,
    labels: dict[str, str],
    namespace: str,
    resolve: tuple[tuple[str, str, int], ...],
    secrets: tuple[str, ...],
    color: str,
) -> None:
    """Say which rule and destination a request takes with the configuration in PATH... (or of the gateway at --admin).

    Exits 0 when a rule matched, 3 when nothing did (the answer would be a 404), 2 for a usage error.
    """
    paths, asked = _split_words(words, headers, admin)
    view = view_running(admin, with_image=True) if admin else view_files(paths, labels, namespace, resolve)
    answer, found = explain_request(view, asked, port)
    if output == "json":
        from fastgw.cli.output import print_json

        print_json(answer)
    else:
        view.print_errors()
        from fastgw.cli.explain_text import as_text

        click.echo(as_text(answer, asked.method, f"{asked.scheme}://{asked.authority}{asked.target}", wants_color(color)))
    sys.exit(0 if found else EXIT_NO_MATCH)


def explain_request(view: ConfigView, asked: Asked, port: int | None) -> tuple[dict[str, Any], bool]:
    """The answer in the JSON form of the interface, and whether there is one other than a 404."""
    from fastgw.image.explain import ExplainRequest, explain

    listener, number = find_listener(view.plan, asked, port)
    if listener is None:
        return _answer(asked, None, "no_listener", f"no listener has port {number}"), False
    request = ExplainRequest(
        method=asked.method,
        authority=asked.authority,
        path=asked.path,
        query=asked.query,
        scheme=asked.scheme,
        headers=asked.headers,
    )
    explanation = explain(view.image_bytes(), listener.name, request)
    return _explained(view.plan, listener, number, asked, explanation)


def find_listener(plan: Plan, asked: Asked, port: int | None) -> tuple[Listener | None, int]:
    """The listener of a Gateway's port number: --port, else the URL's own when a Gateway has it, else the scheme's."""
    numbers = [port] if port else [asked.url_port, DEFAULT_PORTS[asked.scheme]]
    for number in filter(None, numbers):
        for listener in sorted(plan.listeners, key=lambda listener: listener.bind):
            if any(server.port == number for server in listener.servers):
                return listener, number
    return None, numbers[-1] or 0


def _split_words(words: tuple[str, ...], headers: tuple[str, ...], admin: str | None) -> tuple[list[str], Asked]:
    if len(words) < (2 if admin else 3):
        raise click.UsageError("METHOD and URL are needed" if admin else "at least one PATH, METHOD and URL are needed")
    *paths, method, url = words
    if admin and paths:
        raise click.UsageError("either PATH... or --admin, not both")
    return paths, _ask(method, url, tuple(_header(text) for text in headers))


def _ask(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> Asked:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise click.UsageError(f'the URL has to begin with http:// or https://, not "{parts.scheme}://"')
    try:
        url_port = parts.port or 0
    except ValueError as error:
        raise click.UsageError(f'"{url}": {error}') from error
    hosts = [value for name, value in headers if name == "host"]
    authority = hosts[-1] if hosts else parts.netloc.rpartition("@")[2]
    if not authority:
        raise click.UsageError(f'"{url}" names no host')
    others = tuple(pair for pair in headers if pair[0] != "host")
    query = parts.query if parts.query or "?" in url.partition("#")[0] else None
    return Asked(method.upper(), scheme, authority, url_port, parts.path or "/", query, others)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"\"{text}\" is not of the form 'name: value'")
    return name.strip().lower(), value.strip()


def _explained(plan: Plan, listener: Listener, number: int, asked: Asked, explanation: Explanation) -> tuple[dict[str, Any], bool]:
    host = explanation.virtual_host.rpartition(":")[0]
    server = _server_of(listener, number, host)
    at = {"port": number, "server": f"{server.gateway.key}#{server.index}"}
    if explanation.verdict == "require_tls":
        answer = _answer(asked, at, "redirect", "httpsRedirect of the Gateway's server", explanation)
        return answer | {"status": 301, "location": f"https://{asked.authority}{asked.target}"}, True
    if explanation.verdict == "match":
        return _matched(plan, listener, at, asked, explanation), True
    if explanation.verdict in ("no_rule", "no_virtual_host"):
        words = "no rule matches" if explanation.verdict == "no_rule" else "no virtual host has this host"
        return _answer(asked, at, "not_found", words, explanation) | {"status": 404}, False
    return _answer(asked, at, "rejected", explanation.verdict, explanation) | {"status": 400}, False


def _matched(plan: Plan, listener: Listener, at: dict[str, Any], asked: Asked, explanation: Explanation) -> dict[str, Any]:
    matched = explanation.matched
    assert matched is not None
    answer = _answer(asked, at, explanation.action, "", explanation)
    answer["matched"] = _rule(matched)
    if explanation.action != "route":
        rule = _plan_rule(plan, listener, explanation.virtual_host, matched)
        return answer | {"status": 503, "detail": rule.action.detail if rule else ""}
    total = sum(destination.weight for destination in explanation.destinations)
    answer["destinations"] = [
        {
            "host": destination.host,
            "subset": destination.subset,
            "port": destination.port,
            "weight": destination.weight if len(explanation.destinations) > 1 else 100,
            "share": round(destination.weight / total, 4) if total else 0.0,
            "cluster": destination.cluster,
            "known": destination.known,
            "endpoints": list(destination.endpoints) or _dns_endpoints(plan, destination.cluster),
        }
        for destination in explanation.destinations
    ]
    return answer


def _dns_endpoints(plan: Plan, cluster_name: str) -> list[str]:
    """The name that is resolved while serving, in place of addresses."""
    cluster = plan.clusters.get(cluster_name)
    return [f"{cluster.dns_name}:{cluster.dns_port}"] if cluster is not None and cluster.discovery == "dns" else []


def _answer(
    asked: Asked, at: dict[str, Any] | None, action: str, detail: str, explanation: Explanation | None = None
) -> dict[str, Any]:
    """All keys of the interface; those that do not apply are null or empty."""
    path = explanation.path if explanation is not None and explanation.path else asked.path
    return {
        "listener": at,
        "virtualHost": explanation.virtual_host.rpartition(":")[0] or None if explanation is not None else None,
        "matched": None,
        "action": action,
        "detail": detail,
        "status": None,
        "location": None,
        "destinations": [],
        "request": {"path": path if asked.query is None else f"{path}?{asked.query}", "authority": asked.authority},
        "considered": [_rule(rule) | {"failed": rule.failed} for rule in explanation.considered] if explanation else [],
    }


def _rule(rule: ExplainedRule) -> dict[str, Any]:
    return {
        "virtualService": rule.virtual_service,
        "route": rule.route,
        "match": rule.match,
        "name": rule.name,
        "file": rule.file,
        "line": rule.line,
    }


def _server_of(listener: Listener, number: int, host: str) -> ServerRef:
    """The server of this port whose hosts cover the virtual host; the first of the port when none is known to."""
    from fastgw.compiler.hosts import covers

    servers = [server for server in listener.servers if server.port == number]
    for server in servers:
        if any(covers(name.rpartition("/")[2], host) for name in server.hosts):
            return server
    return servers[0]


def _plan_rule(plan: Plan, listener: Listener, virtual_host: str, wanted: ExplainedRule) -> Rule | None:
    """The Plan's rule behind an explained one, for what the image does not hold."""
    table = plan.route_tables.get(listener.route_table)
    for candidate in table.virtual_hosts if table else ():
        if candidate.name != virtual_host:
            continue
        for rule in candidate.rules:
            if (rule.virtual_service.key, rule.route_index, rule.match_index) == (
                wanted.virtual_service,
                wanted.route,
                wanted.match,
            ):
                return rule
    return None
