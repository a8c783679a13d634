"""What the gateway does with a request, in the JSON form of ``fastgw explain``: the image's answer, and what only the Plan knows.

Explain, route tests and the comparison of traffic all ask here, so that they cannot disagree.
"""

from __future__ import annotations

from typing import Any

from fastgw.compiler.hosts import covers
from fastgw.image.arrival import REFUSALS
from fastgw.image.asked import DEFAULT_PORTS, Asked
from fastgw.image.edited import answer_headers, outcome_of
from fastgw.image.explain import ExplainedDestination, ExplainedRule, Explainer, ExplainRequest, Explanation
from fastgw.image.left_out import with_left_out
from fastgw.model.error_pages import merged
from fastgw.model.grpc import HTTP_STATUSES
from fastgw.model.origin import NOWHERE
from fastgw.model.plan import Action, Chain, LeftOut, Listener, Plan, RoutePolicy, Rule, ServerRef, VirtualHost
from fastgw.model.plan_text import edits_text, guards_text, pages_text, policy_text

NOTHING = ("no_listener", "closed", "not_found", "misdirected", "rejected")
"""Actions of requests that no rule takes."""

MISDIRECTED = 421

REACHED = 200
"""Stands for the answer of an upstream that is reached: its status is its own affair."""
UNREACHABLE = 503
DENIED = 403
PER_MILLION = 1_000_000


class Decider:
    """Answers for one Plan and its image; what is looked up by port or host is looked up once."""

    def __init__(self, plan: Plan, image: bytes) -> None:
        self.plan = plan
        self._explainer = Explainer(image)
        self._listeners: dict[int, Listener] = {}
        for listener in sorted(plan.listeners, key=lambda listener: listener.bind):
            for server in listener.servers:
                self._listeners.setdefault(server.port, listener)
        self._servers: dict[tuple[int, str, str], ServerRef] = {}
        self._rules: dict[tuple[str, int, int], Rule] = {}
        self._hosts: dict[tuple[str, str | None], VirtualHost] = {}

    def decide(self, asked: Asked, port: int = 0, *, considered: bool = True) -> dict[str, Any]:
        """All keys of the interface; those that do not apply are null or empty. ``considered``: with the rules that failed."""
        listener, number = self.find_listener(asked, port)
        if listener is None:
            return _answer(asked, None, "no_listener", self._no_listener(asked, number))
        explanation = self._explainer.explain(listener.name, _request(asked), considered=considered)
        at = self._place(listener, number, explanation)
        answer = self._answered(at, listener, asked, explanation)
        if answer["action"] not in ("direct_response", "tcp", "closed", "misdirected", "rejected"):
            answer["errorPages"] = self._pages(answer, listener, explanation)
        if considered and answer["virtualHost"]:
            left_out = self._left_out(explanation.route_table, answer["virtualHost"])
            answer["considered"] = with_left_out(answer["considered"], answer["matched"], left_out)
        return answer

    def _left_out(self, route_table: str, domain: str) -> list[LeftOut]:
        table = self.plan.route_tables.get(route_table)
        return next((host.left_out for host in table.virtual_hosts if domain in host.domains), []) if table else []

    def _place(self, listener: Listener, number: int, explanation: Explanation) -> dict[str, Any]:
        """The listener, the chain of the connection, and the server that answers: that of the request's host."""
        chain, owner = (_chain_of(listener, name) for name in (explanation.chain, explanation.owner))
        server = self._server(listener, number, explanation.virtual_host.rpartition(":")[0], owner.server if owner else "")
        place = server.gateway.origin
        at = {"name": listener.name, "port": number, "server": f"{server.gateway.key}#{server.index}"}
        at |= {"chain": explanation.chain or None, "tls": chain.tls if chain else None, "sni": explanation.sni or None}
        return at | {"file": place.file, "line": place.line}

    def _answered(self, at: dict[str, Any], listener: Listener, asked: Asked, explanation: Explanation) -> dict[str, Any]:
        verdict = explanation.verdict
        if explanation.denied:
            return self._denied(at, listener, asked, explanation)
        if verdict == "require_tls":
            answer = _answer(asked, at, "redirect", "httpsRedirect of the Gateway's server", explanation)
            return answer | {"status": 301, "location": f"https://{asked.authority}{asked.target}"}
        if verdict == "match":
            return self._matched(at, asked, explanation)
        if verdict == "tcp":
            answer = _answer(asked, at, "tcp", "", explanation) | {"matched": _layer4_rule(_chain_of(listener, explanation.chain))}
            return answer | {"destinations": [each | {"edits": []} for each in self._destinations(explanation)]}
        if verdict == "no_chain":
            return _answer(asked, at, "closed", _why_closed(asked, explanation), explanation)
        if verdict == "misdirected":
            owner = _chain_of(listener, explanation.owner)
            words = f"the host is that of another server, {owner.server if owner else ''}"
            return _answer(asked, at, "misdirected", words, explanation) | {"status": MISDIRECTED}
        if verdict in ("no_rule", "no_virtual_host"):
            words = "no rule matches" if verdict == "no_rule" else "no virtual host has this host"
            return _answer(asked, at, "not_found", words, explanation) | {"status": 404}
        return _answer(asked, at, "rejected", verdict, explanation) | {"status": REFUSALS[verdict]}

    def _denied(self, at: dict[str, Any], listener: Listener, asked: Asked, explanation: Explanation) -> dict[str, Any]:
        """Before anything else."""
        words = f"{explanation.denied} lets no client of {asked.source_ip} in"
        answer = _answer(asked, at, "denied", words, explanation)
        if explanation.verdict == "tcp":
            chain = _chain_of(listener, explanation.chain)
            return answer | {"matched": _layer4_rule(chain), "guards": guards_text(chain.guards if chain else None)}
        answer["matched"] = _rule(explanation.matched) if explanation.matched is not None else None
        return answer | {"status": DENIED, "guards": self._guards(answer, explanation)}

    def _guards(self, answer: dict[str, Any], explanation: Explanation) -> list[str]:
        """Of the rule at its virtual host: other hosts may ask for something else of the same rule. Without a rule, of the host."""
        host, rule = self._served(answer, explanation)
        if host is None or answer["matched"] is None:
            return guards_text(host.guards) if host is not None else []
        return guards_text(rule.action.guards) if rule is not None else []

    def _served(self, answer: dict[str, Any], explanation: Explanation) -> tuple[VirtualHost | None, Rule | None]:
        """The virtual host, and the rule as it is there."""
        if not self._hosts:
            tables = self.plan.route_tables.values()
            self._hosts = {(table.name, name): host for table in tables for host in table.virtual_hosts for name in host.domains}
        host, matched = self._hosts.get((explanation.route_table, answer["virtualHost"])), answer["matched"]
        if host is None or matched is None:
            return host, None
        wanted = (matched["virtualService"], matched["route"], matched["match"])
        rules = (each for each in host.rules if (each.virtual_service.key, each.route_index, each.match_index) == wanted)
        return host, next(rules, None)

    def _pages(self, answer: dict[str, Any], listener: Listener, explanation: Explanation) -> list[str]:
        """What stands in place of the gateway's own words, the more specific first. For a host that nobody has, those of the
        chain's Gateways."""
        host, rule = self._served(answer, explanation)
        if host is None:
            chain = _chain_of(listener, explanation.chain)
            table = self.plan.route_tables.get(chain.route_table) if chain is not None else None
            return pages_text(table.pages) if table is not None and explanation.verdict == "no_virtual_host" else []
        policy = rule.action.policy if rule is not None else None
        own = host.pages if answer["matched"] is None else policy.pages if policy is not None else ()
        return pages_text(merged([own, host.gateway_pages]))

    def rule_of(self, answer: dict[str, Any]) -> Rule | None:
        """The Plan's rule behind ``answer["matched"]``, for what the image does not hold."""
        if not self._rules:
            for table in self.plan.route_tables.values():
                for host in table.virtual_hosts:
                    for rule in host.rules:
                        self._rules.setdefault((rule.virtual_service.key, rule.route_index, rule.match_index), rule)
        matched = answer["matched"] if answer["action"] != "tcp" else None
        return self._rules.get((matched["virtualService"], matched["route"], matched["match"])) if matched else None

    def statuses(self, answer: dict[str, Any]) -> list[int]:
        """The status of the gateway's own answer, [] for none; of a route REACHED or UNREACHABLE, or both by its destinations."""
        if answer["action"] == "route" and not answer["status"]:
            found = {REACHED if self._reachable(each["cluster"]) else UNREACHABLE for each in answer["destinations"]}
            aborted = _abort_status(self.rule_of(answer))
            return sorted((found or {UNREACHABLE}) | ({aborted} if aborted else set()))
        return [answer["status"]] if answer["status"] else []

    def _reachable(self, cluster_name: str) -> bool:
        """An unknown cluster is answered 503 (NC), one without a healthy endpoint 503 (UH); DNS is believed to know its names."""
        cluster = self.plan.clusters.get(cluster_name)
        if cluster is None:
            return False
        return cluster.discovery == "dns" or any(endpoint.healthy for endpoint in cluster.endpoints)

    def find_listener(self, asked: Asked, port: int) -> tuple[Listener | None, int]:
        """The listener of a Gateway's port number: ``port``, else the URL's own when a Gateway has it, else the scheme's.

        One that is asked for by its name or address has to have ``port`` where one is given; of several, the URL decides.
        """
        numbers = [port] if port else [asked.url_port, DEFAULT_PORTS[asked.scheme]]
        if asked.listener:
            return self._named_listener(asked.listener, numbers, any_port=not port)
        for number in filter(None, numbers):
            if number in self._listeners:
                return self._listeners[number], number
        return None, numbers[-1]

    def _named_listener(self, name: str, numbers: list[int], *, any_port: bool) -> tuple[Listener | None, int]:
        found = [(listener, {s.port for s in listener.servers}) for listener in self.plan.listeners if name in _names(listener)]
        for number in filter(None, numbers):
            for listener, ports in found:
                if number in ports:
                    return listener, number
        if found and any_port:
            listener, ports = found[0]
            return listener, min(ports)
        return None, numbers[-1]

    def _no_listener(self, asked: Asked, number: int) -> str:
        if not asked.listener:
            return f"no listener has port {number}"
        names = ", ".join(listener.name for listener in self.plan.listeners) or "none at all"
        return f'no listener has the name or address "{asked.listener}" and such a port; there are {names}'

    def _matched(self, at: dict[str, Any], asked: Asked, explanation: Explanation) -> dict[str, Any]:
        matched = explanation.matched
        assert matched is not None
        answer = _answer(asked, at, explanation.action, "", explanation)
        answer["matched"] = _rule(matched)
        rule = self.rule_of(answer)
        answer["guards"] = self._guards(answer, explanation)
        if explanation.action in ("redirect", "direct_response"):
            return answer | _own_answer(explanation, asked, rule, at["name"])
        if explanation.action != "route":
            return answer | {"status": UNREACHABLE, "detail": rule.action.detail if rule else ""}
        answer["destinations"] = self._destinations(explanation)
        if rule is not None:
            _add_edits(answer, asked, rule, at["name"])
            answer["policy"] = policy_text(rule.action.policy, with_pages=False)
        aborted = _abort_status(rule)
        if aborted and rule is not None and rule.action.policy is not None and _always_aborts(rule.action.policy):
            return answer | {"status": aborted, "detail": "fault filter abort"}
        if explanation.preflight:
            return answer | {"status": 200, "detail": "a CORS preflight, answered here"}
        if explanation.target is None:
            return answer | {"status": 500, "detail": "the rewritten path is too long"}
        answer["request"]["path"] = explanation.target
        return answer

    def _destinations(self, explanation: Explanation) -> list[dict[str, Any]]:
        total = sum(destination.weight for destination in explanation.destinations)
        alone = len(explanation.destinations) == 1
        return [
            self._destination(each, total, alone) | {"kept": index == explanation.kept}
            for index, each in enumerate(explanation.destinations)
        ]

    def _destination(self, destination: ExplainedDestination, total: int, alone: bool) -> dict[str, Any]:
        """``file`` and ``line``: of the object that describes the destination; of the rule when none does."""
        cluster = self.plan.clusters.get(destination.cluster)
        place = cluster.origin if cluster is not None else NOWHERE
        planned = zip(destination.endpoints, cluster.endpoints, strict=False) if cluster is not None else ()
        return {
            "host": destination.host,
            "subset": destination.subset,
            "port": destination.port,
            "weight": 100 if alone else destination.weight,
            "share": round(destination.weight / total, 4) if total else 0.0,
            "cluster": destination.cluster,
            "known": destination.known,
            "endpoints": list(destination.endpoints),
            "notReady": [text for text, endpoint in planned if not endpoint.healthy],
            "file": place.file,
            "line": place.line,
        }

    def _server(self, listener: Listener, number: int, host: str, key: str) -> ServerRef:
        """The server with this key; without one that of the port whose hosts cover the virtual host, or the first of the port."""
        found = self._servers.get((number, host, key))
        if found is None:
            servers = [server for server in listener.servers if server.port == number] or listener.servers
            covering = (s for s in servers if any(covers(name.rpartition("/")[2], host) for name in s.hosts))
            own = (s for s in listener.servers if key == f"{s.gateway.key}#{s.index}")
            found = self._servers[number, host, key] = next(own, None) or next(covering, servers[0])
        return found


def _abort_status(rule: Rule | None) -> int:
    """Of the requests that the rule aborts, for a client that speaks no gRPC; 0 when it aborts none."""
    fault = rule.action.policy.fault if rule is not None and rule.action.policy is not None else None
    if fault is None or not fault.abort_per_million:
        return 0
    return fault.abort_status if fault.abort_grpc is None else HTTP_STATUSES[fault.abort_grpc]


def _always_aborts(policy: RoutePolicy) -> bool:
    return policy.fault is not None and policy.fault.abort_per_million == PER_MILLION


def _own_answer(explanation: Explanation, asked: Asked, rule: Rule | None, listener: str) -> dict[str, Any]:
    """Status, Location and fields of an answer that the gateway gives itself."""
    action = rule.action if rule is not None else Action("unsupported")
    own = action.redirect or action.answer
    headers = answer_headers(asked, rule, listener, explanation.location) if rule is not None else {}
    return {
        "status": own.status if own is not None else None,
        "location": headers.get("location"),
        "detail": "" if action.answer is None else f"a body of {len(action.answer.body)} bytes",
        "edits": edits_text(action.edits),
        "responseHeaders": headers,
    }


def _add_edits(answer: dict[str, Any], asked: Asked, rule: Rule, listener: str) -> None:
    """What becomes of header fields, for the route and for each of its destinations."""
    answer["edits"] = edits_text(rule.action.edits)
    planned = [each for each, _ in rule.action.shares()]
    for destination, own in zip(answer["destinations"], planned, strict=True):
        outcome = outcome_of(asked, rule, own, listener)
        destination |= {
            "edits": edits_text(own.edits),
            "authority": outcome.authority,
            "requestHeaders": outcome.request_headers,
            "responseHeaders": outcome.response_headers,
        }
    hosts = {destination["authority"] for destination in answer["destinations"]}
    if len(hosts) == 1:
        answer["request"]["authority"] = hosts.pop()


def _chain_of(listener: Listener, name: str) -> Chain | None:
    return next((chain for chain in listener.chains if chain.name == name), None) if name else None


def _why_closed(asked: Asked, explanation: Explanation) -> str:
    if explanation.chain:
        return "its route has no usable destination"
    if explanation.sni:
        return f'no server takes the server name "{explanation.sni}"'
    return "no server takes clients without a server name" if asked.scheme == "https" else "only TLS is spoken there"


def _layer4_rule(chain: Chain | None) -> dict[str, Any] | None:
    """The tcp or tls route behind a chain, in the form of a rule."""
    service = chain.virtual_service if chain is not None else None
    if chain is None or service is None:
        return None
    rule = {"virtualService": service.key, "route": chain.route_index, "match": chain.match_index, "name": ""}
    return rule | {"file": chain.origin.file, "line": chain.origin.line}


def _names(listener: Listener) -> tuple[str, str]:
    """Its name, and its address as ``proxy-config listeners`` shows it."""
    return listener.name, listener.bind or "0.0.0.0"


def _request(asked: Asked) -> ExplainRequest:
    return ExplainRequest(
        method=asked.method,
        authority=asked.authority,
        path=asked.path,
        query=asked.query,
        scheme=asked.scheme,
        headers=asked.headers,
        source_ip=asked.source_ip,
        sni=asked.sni,
    )


def _answer(
    asked: Asked, at: dict[str, Any] | None, action: str, detail: str, explanation: Explanation | None = None
) -> dict[str, Any]:
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
        "edits": [],
        "policy": [],
        "guards": [],
        "errorPages": [],
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
