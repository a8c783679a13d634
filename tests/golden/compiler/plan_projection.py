"""A compiled Plan in few words: one line a rule, one a cluster, so that a golden file can be read and judged."""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.cli.rule_view import conditions_text
from fastgw.compiler.options import CompileResult
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import (
    DEFAULTS,
    Action,
    Chain,
    Cluster,
    Edits,
    Endpoint,
    HealthCheck,
    Listener,
    Policy,
    Rule,
    TlsContext,
    UpstreamTls,
    VirtualHost,
)
from fastgw.model.plan_text import action_text, edits_text, guards_text, policy_text


def project(result: CompileResult) -> dict[str, Any]:
    """Listeners, route tables, clusters and diagnostics; places are line numbers of the one input file."""
    plan = result.plan
    return {
        "listeners": {listener.name: _listener(listener) for listener in plan.listeners},
        "routes": {
            table.name: {host.name: _virtual_host(host) for host in table.virtual_hosts} for table in plan.route_tables.values()
        },
        "clusters": {cluster.name: _cluster(cluster) for cluster in plan.clusters.values()},
        "diagnostics": [_diagnostic(found) for found in result.diagnostics],
    }


def _listener(listener: Listener) -> dict[str, Any]:
    return {
        "port": listener.port,
        "bind": listener.bind,
        "routes": next(iter(listener.route_tables()), ""),
        "servers": [
            f"{server.gateway.key}#{server.index} {server.protocol} {server.port} {' '.join(server.hosts)}"
            for server in listener.servers
        ],
        **_chains(listener),
    }


def _chains(listener: Listener) -> dict[str, list[str]]:
    """Nothing for a listener that knows requests in plain text only."""
    if [(chain.kind, chain.tls, chain.grpc_web) for chain in listener.chains] == [("http", "none", False)]:
        return {}
    return {"chains": [_chain(chain) for chain in listener.chains]}


def _chain(chain: Chain) -> str:
    """``name: what it matches: what becomes of connections``"""
    match = "" if chain.tls == "none" else f" SNI {' '.join(chain.server_names)} {chain.tls}"
    idle = "" if chain.idle_timeout_ms == 3_600_000 else f" idle {chain.idle_timeout_ms} ms"
    onward = f"route {chain.route_table}" if chain.kind == "http" else f"{_onward(chain.action)}{idle}"
    onward += "".join(f" [{text}]" for text in guards_text(chain.guards))
    owner = f" by {chain.virtual_service.key}" if chain.virtual_service is not None else ""
    onward += ", gRPC-Web translated" if chain.grpc_web else ""
    return f"{chain.name}:{chain.origin.line}:{match} -> {onward}{owner}{_context(chain.tls_context)}"


def _onward(action: Action | None) -> str:
    if action is None:
        return "closed"
    return ", ".join(f"{destination.weight} {destination.cluster}" for destination in action.destinations)


def _context(context: TlsContext | None) -> str:
    """What is not the default."""
    if context is None:
        return ""
    usual, found = TlsContext(""), msgspec.structs.asdict(context)
    words = [f"{key}={value}" for key, value in found.items() if key != "origin" and value != getattr(usual, key)]
    return f" [{' '.join(words)}]"


def _virtual_host(host: VirtualHost) -> list[str]:
    first = ["301 to https"] if host.require_tls else []
    first += [f"without a rule [{text}]" for text in guards_text(host.guards)]
    return first + [_rule(rule) for rule in host.rules]


def _rule(rule: Rule) -> str:
    name = f" {rule.name}" if rule.name else ""
    where = f"{rule.virtual_service.key}[{rule.route_index}.{rule.match_index}]:{rule.origin.line}{name}"
    return f"{where} {conditions_text(rule)} -> {_action(rule)}"


def _action(rule: Rule) -> str:
    guards = "".join(f" [{text}]" for text in guards_text(rule.action.guards))
    if rule.action.kind == "unsupported":
        return f"{rule.action.kind} {rule.action.detail}{guards}"
    if rule.action.kind != "route":
        return f"{action_text(rule.action)}{_edits(rule.action.edits)}{guards}"
    kept = rule.action.sticky
    sticky = "" if kept is None else f" sticky {kept.kind} {kept.name} {kept.ttl_s}"
    own = _edits(rule.action.edits)
    policy = "".join(f" [{text}]" for text in policy_text(rule.action.policy))
    return ", ".join(f"{d.weight} {d.cluster}{_edits(d.edits)}" for d in rule.action.destinations) + sticky + own + policy + guards


def _edits(edits: Edits) -> str:
    lines = edits_text(edits)
    return f" ({'; '.join(lines)})" if lines else ""


def _cluster(cluster: Cluster) -> str:
    words = [cluster.found_in]
    words += [_endpoint(endpoint) for endpoint in cluster.endpoints]
    if cluster.lb != "least_request":
        words.append(cluster.lb)
    if cluster.protocol != "http1":
        words.append(cluster.protocol)
    if cluster.max_streams or cluster.ping_interval_ms:
        words.append(f"{cluster.max_streams} streams, ping {cluster.ping_interval_ms}/{cluster.ping_timeout_ms} ms")
    if cluster.connect_timeout_ms != 10_000:
        words.append(f"{cluster.connect_timeout_ms} ms")
    if cluster.tls is not None:
        words.append(_tls(cluster.tls))
    words += _policy(cluster.policy)
    if cluster.health_check is not None:
        words.append(_health_check(cluster.health_check))
    if cluster.destination_rule:
        words.append(f"rule {cluster.destination_rule}")
    return " ".join(words)


def _policy(policy: Policy) -> list[str]:
    """What differs from the defaults, by name."""
    words = []
    for name in policy.__struct_fields__:
        value = getattr(policy, name)
        if value == getattr(DEFAULTS, name):
            continue
        given = msgspec.to_builtins(value)
        if isinstance(given, dict):
            given = " ".join(f"{key}={each}" for key, each in given.items() if each is not None)
        words.append(f"{name}({given})")
    return words


def _tls(tls: UpstreamTls) -> str:
    words = [f"ca {tls.ca}" if tls.ca else "", f"certificate {tls.certificate}" if tls.certificate else ""]
    words += [f"sni {tls.sni}" if tls.sni else "", f"alpn {' '.join(tls.alpn)}" if tls.alpn else ""]
    words += [f"names {' '.join(tls.sans)}" if tls.sans else ""]
    return f"tls({tls.verify}; {', '.join(filter(None, words))})"


def _health_check(check: HealthCheck) -> str:
    words = [f"{name} {value}" for name, value in msgspec.structs.asdict(check).items() if value != getattr(HealthCheck(""), name)]
    return f"check({', '.join(words)})"


def _endpoint(endpoint: Endpoint) -> str:
    weight = f"x{endpoint.weight}" if endpoint.weight != 1 else ""
    weight += f"@{endpoint.priority}" if endpoint.priority else ""
    lookup = {"": "", "all": "dns ", "first": "dns first "}.get(endpoint.lookup, f"{endpoint.lookup} ")
    return f"{lookup}{endpoint.address}:{endpoint.port}{weight}{'' if endpoint.healthy else '(unhealthy)'}"


def _diagnostic(found: Diagnostic) -> str:
    where = f"{found.kind} {found.namespace}/{found.name}"
    return f"{found.origin.line}: {found.severity}[{found.code}] {where}: {found.path}: {found.message}"
