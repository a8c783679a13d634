"""Random Gateways and VirtualServices: what the image answers against a naive reading of Istio's statements A to G.

The naive reading follows the statements one by one and shares nothing with the compiler or the matcher: for every request it goes
through all Gateways, servers, VirtualServices, rules and matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Any

import pytest
from made_resources import resource

from fastgw.compiler.compile import CompileOptions, compile_plan
from fastgw.image.asked import ask
from fastgw.image.decide import Decider
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.resource import Resource

Document = dict[str, Any]
OURS = "edge"
LABELS = {"istio": "ingressgateway", "app": "gw"}
SPACES = ["edge", "team", "other"]
TIMES = [f"2026-01-0{day}T00:00:00Z" for day in (1, 2, 3)]
DOMAINS = ["a.com", "b.a.com", "c.b.a.com", "*.a.com", "*.b.a.com", "x.org", "*.org", "*.com"]
HOSTS = ["a.com", "A.com:80", "b.a.com", "c.b.a.com", "z.a.com", "z.b.a.com", "x.org", "y.org", "z.com", "net"]
PATHS = ["/", "/a", "/a/b", "/ab", "/b", "/A"]
PATH_REGEXES = ["/a.*", "/[ab]", ".*b", ".*", "(?i)/a"]
VALUES, VALUE_REGEXES = ["a", "b", "ab", ""], ["a.*", "[ab]", ".*"]
PORTS = [80, 8080]


# --- making ---


def some_text(chance: Random, values: list[str], regexes: list[str]) -> dict[str, str]:
    kind = chance.choice(["exact", "prefix", "regex"])
    value = chance.choice(regexes if kind == "regex" else values)
    return {kind: value} if kind == "exact" or value else {"exact": ""}


def some_match(chance: Random) -> Document:
    match: Document = {}
    if chance.random() < 0.7:
        match["uri"] = some_text(chance, PATHS, PATH_REGEXES)
        match["ignoreUriCase"] = chance.random() < 0.1
    for field, names in (("headers", ["x", "y"]), ("withoutHeaders", ["x"]), ("queryParams", ["q"])):
        if chance.random() < 0.15:
            match[field] = {chance.choice(names): chance.choice([{}, some_text(chance, VALUES, VALUE_REGEXES)])}
    if chance.random() < 0.15:
        match["method"] = {"exact": chance.choice(["GET", "POST"])}
    if chance.random() < 0.15:
        match["port"] = chance.choice(PORTS)
    if chance.random() < 0.15:
        match["gateways"] = chance.sample(["gw-0", "team/gw-1", "mesh", "edge/gw-2"], chance.randint(1, 2))
    if chance.random() < 0.1:
        match["sourceNamespace"] = chance.choice(SPACES)
    if chance.random() < 0.1:
        match["sourceLabels"] = chance.choice([{"app": "gw"}, {"app": "web"}])
    return match


def some_gateway(chance: Random, number: int) -> Document:
    space = chance.choice([*SPACES, OURS if number != 1 else "team"])
    servers = []
    for port in chance.sample(PORTS, chance.randint(1, 2)):
        prefixes = ["", "", "", "*/", "./", "team/"]
        hosts = chance.choice([["*"], ["*/*"], [chance.choice(prefixes) + domain for domain in chance.sample(DOMAINS, 3)]])
        servers.append({"port": {"number": port, "name": f"p{port}", "protocol": "HTTP"}, "hosts": hosts})
    selector = chance.choice([{}, {"istio": "ingressgateway"}, LABELS, {"app": "gw"}, {"istio": "other"}, {}])
    return {
        "name": f"gw-{number}",
        "namespace": space,
        "created": chance.choice(TIMES),
        "spec": {"selector": selector, "servers": servers},
    }


def some_service(chance: Random, number: int) -> Document:
    space, http = chance.choice(SPACES), []
    for index in range(chance.randint(1, 4)):
        matches = [some_match(chance) for _ in range(chance.choice([0, 1, 1, 1, 2]))]
        destination = {"destination": {"host": "10.0.0.1", "port": {"number": 80}}}
        http.append({"name": f"{number}.{index}", "match": matches, "route": [destination]})
        if chance.random() < 0.25:
            del http[-1]["route"]
            if chance.random() < 0.7:
                http[-1]["match"] = chance.choice([[], [simple(chance)], [simple(chance), simple(chance)]])
            http[-1]["delegate"] = {"name": f"d-{chance.randint(0, 2)}", "namespace": chance.choice(["", "", *SPACES])}
    names = ["gw-0", "gw-1", "team/gw-1", "edge/gw-2", "other/gw-0", "mesh", "./gw-2", "gw-1.team", "nope"]
    spec: Document = {"hosts": hosts_of(chance), "gateways": chance.sample(names, chance.randint(1, 6)), "http": http}
    spec["exportTo"] = chance.choice([[], [], [], [], ["*"], ["*"], ["."], ["edge"], ["team"], ["~"], [".", "edge"]])
    return {"name": f"vs-{number}", "namespace": space, "created": chance.choice(TIMES), "spec": spec}


def simple(chance: Random) -> Document:
    """Matches that are likely to go together."""
    match: Document = {"uri": {"prefix": chance.choice(["/", "/a", "/a", "/ab"])}}
    if chance.random() < 0.2:
        match["headers"] = {"x": {"prefix": chance.choice(["a", "ab"])}}
    return match


def some_delegate(chance: Random, number: int, space: str) -> Document:
    """F2: without hosts. Some delegate on, which is not followed (F3)."""
    found = some_service(chance, number)
    for index, route in enumerate(found["spec"]["http"]):
        route["name"] = chance.choice([f"d{number}.{index}", ""])
        if chance.random() < 0.7:
            route["match"] = chance.choice([[], [simple(chance)], [simple(chance) | {"method": {"exact": "GET"}}]])
    spec = {"hosts": [], "http": found["spec"]["http"], "exportTo": found["spec"]["exportTo"]}
    return found | {"name": f"d-{number}", "namespace": space, "spec": spec}


def hosts_of(chance: Random) -> list[str]:
    """Hosts of a VirtualService may not cover each other."""
    found: list[str] = []
    for domain in chance.sample([*DOMAINS, "*"], 3):
        if not any(covers(domain, other) or covers(other, domain) for other in found):
            found.append(domain)
    return found


def resource_of(kind: str, document: Document, order: int) -> Resource:
    found = resource(kind, document["name"], document["spec"], document["namespace"], creation_timestamp=document["created"])
    found.order = order
    return found


# --- the naive reading ---


def covers(pattern: str, host: str) -> bool:
    """B7: of hosts and patterns."""
    return pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]) and host != pattern[1:])


def by_age(documents: list[Document]) -> list[Document]:
    """A3."""
    return sorted(documents, key=lambda each: (each["created"], each["name"], each["namespace"]))


def applies(gateway: Document) -> bool:
    """A1."""
    return all(LABELS.get(key) == value for key, value in gateway["spec"]["selector"].items())


def full_gateway_name(name: str, space: str) -> str:
    """B2."""
    if name == "mesh":
        return name
    if "/" in name:
        return f"{space}/{name[2:]}" if name.startswith("./") else name
    return "/".join(reversed(name.split(".")[:2])) if "." in name else f"{space}/{name}"


def visible(services: list[Document]) -> list[Document]:
    """B4 and B5."""
    classes: tuple[list[Document], list[Document], list[Document]] = ([], [], [])
    for service in by_age(services):
        to, space = service["spec"]["exportTo"], service["namespace"]
        if not to or "*" in to:
            classes[2].append(service)
        elif space == OURS and ("." in to or OURS in to):
            classes[0].append(service)
        elif OURS in to:
            classes[1].append(service)
    return [service for each in classes for service in each]


def server_hosts(server: Document, space: str) -> list[tuple[str, str]]:
    """A9: (namespace or "", host)."""
    if "*/*" in server["hosts"]:
        return [("", "*")]
    found = []
    for host in server["hosts"]:
        prefix, slash, name = host.rpartition("/")
        found.append(({".": space, "*": "", "": ""}.get(prefix, prefix) if slash else "", name))
    return found


def domains(service: Document, server: Document, space: str) -> Iterator[str]:
    """B6, B8, B10."""
    for own in service["spec"]["hosts"]:
        for only, theirs in server_hosts(server, space):
            if only in ("", service["namespace"]):
                if covers(own, theirs):
                    yield theirs.lower()
                elif covers(theirs, own):
                    yield own.lower()


def concerns(match: Document, gateway: str, port: int) -> bool:
    """B13, B14, B15."""
    if match.get("port", port) != port:
        return False
    if "gateways" in match:
        return gateway in match["gateways"]
    labels = match.get("sourceLabels", {})
    return match.get("sourceNamespace", OURS) == OURS and all(LABELS.get(key) == value for key, value in labels.items())


def catches_all(match: Document) -> bool:
    """E3."""
    path = match.get("uri") or {"prefix": "/"}
    conditions = ("headers", "withoutHeaders", "queryParams", "method")
    return path in ({"prefix": "/"}, {"regex": ".*"}) and not any(match.get(name) for name in conditions)


def exported(service: Document, space: str) -> bool:
    """B4 and F2."""
    to = service["spec"]["exportTo"]
    return not to or "*" in to or space in to or ("." in to and space == service["namespace"])


def expanded(service: Document, delegates: list[Document]) -> Iterator[tuple[str, list[Document]]]:
    """F1, F2, F3, F9: (name, matches) of each route."""
    space = service["namespace"]
    for route in service["spec"]["http"]:
        own = [with_full_names(match, space) for match in route["match"]]
        if "delegate" not in route:
            yield route["name"], own or [{}]
            continue
        wanted = (route["delegate"]["name"], route["delegate"]["namespace"] or space)
        for delegate in delegates:
            if (delegate["name"], delegate["namespace"]) == wanted and exported(delegate, space):
                for inner in delegate["spec"]["http"]:
                    theirs = [with_full_names(match, delegate["namespace"]) for match in inner["match"]]
                    matches = merged(own, theirs) if "delegate" not in inner else None
                    if matches is not None:
                        yield "-".join(filter(None, [route["name"], inner["name"]])), matches


def with_full_names(match: Document, space: str) -> Document:
    if "gateways" not in match:
        return match
    return match | {"gateways": [full_gateway_name(name, space) for name in match["gateways"]]}


def merged(root: list[Document], leaf: list[Document]) -> list[Document] | None:
    """F4; None: the whole route is dropped."""
    if not root or not leaf:
        return root or leaf or [{}]
    found = []
    for inner in leaf:
        fitting = [outer for outer in root if not conflict(outer, inner)]
        if not fitting:
            return None
        found += [merged_match(outer, inner) for outer in fitting]
    return found


def merged_match(root: Document, leaf: Document) -> Document:
    """F7."""
    maps = ("headers", "withoutHeaders", "queryParams", "sourceLabels")
    both = {name: root.get(name, {}) | leaf.get(name, {}) for name in maps if name in root or name in leaf}
    return root | leaf | both | {"ignoreUriCase": leaf.get("ignoreUriCase", False)}


def conflict(root: Document, leaf: Document) -> bool:
    """F6."""
    pairs = [(root.get(name), leaf.get(name)) for name in ("uri", "method")]
    for name in ("headers", "withoutHeaders", "queryParams"):
        pairs += [(value, leaf.get(name, {}).get(key)) for key, value in root.get(name, {}).items()]
    labels, theirs = root.get("sourceLabels", {}), leaf.get("sourceLabels", {})
    return (
        root.get("ignoreUriCase", False) != leaf.get("ignoreUriCase", False)
        or ("port" in root and "port" in leaf and root["port"] != leaf["port"])
        or ("sourceNamespace" in root and leaf.get("sourceNamespace") != root["sourceNamespace"])
        or any(theirs.get(key, value) != value for key, value in labels.items())
        or ("gateways" in root and "gateways" in leaf and not set(leaf["gateways"]) <= set(root["gateways"]))
        or any(text_conflict(outer, inner) for outer, inner in pairs if outer is not None and inner is not None)
    )


def text_conflict(root: dict[str, str], leaf: dict[str, str]) -> bool:
    """F5. Presence goes with presence only."""
    if not root or not leaf:
        return bool(root) or bool(leaf)
    if "regex" in root or "regex" in leaf:
        return True
    if "exact" in root:
        return leaf != root
    return not next(iter(leaf.values())).startswith(root["prefix"])


def rules_of(service: Document, delegates: list[Document], gateway: str, port: int) -> list[tuple[str, Document]]:
    """E1 and E2: (name, match) in order."""
    rules = []
    for name, matches in expanded(service, delegates):
        for match in matches:
            if concerns(match, gateway, port):
                rules.append((name, match))
                if catches_all(match):
                    return rules
    return rules


def virtual_hosts(
    gateways: list[Document], services: list[Document], delegates: list[Document], port: int
) -> dict[str, list[tuple[str, Document]]]:
    """E4, E5, B9, B11: rules by domain."""
    found: dict[str, list[tuple[str, Document]]] = {}
    for gateway in by_age([each for each in gateways if applies(each)]):
        name = f"{gateway['namespace']}/{gateway['name']}"
        for server in gateway["spec"]["servers"]:
            if server["port"]["number"] != port:
                continue
            for service in visible(services):
                named = [full_gateway_name(each, service["namespace"]) for each in service["spec"]["gateways"]]
                rules = rules_of(service, delegates, name, port) if name in named else []
                for domain in dict.fromkeys(domains(service, server, gateway["namespace"])) if rules else ():
                    found.setdefault(domain, []).extend(rules)
    return {domain: sorted(rules, key=lambda rule: catches_all(rule[1])) for domain, rules in found.items()}


def pick(hosts: dict[str, list[tuple[str, Document]]], authority: str) -> list[tuple[str, Document]]:
    """D1, D2, D8."""
    host = authority.lower().partition(":")[0]
    fitting = [domain for domain in hosts if covers(domain, host)]
    return hosts[max(fitting, key=lambda domain: (domain == host, len(domain)))] if fitting else []


def text_holds(wanted: dict[str, str], value: str) -> bool:
    """G3, G4, G5."""
    if "exact" in wanted:
        return value == wanted["exact"]
    if "prefix" in wanted:
        return value.startswith(wanted["prefix"])
    return "regex" not in wanted or re.fullmatch(wanted["regex"], value) is not None


def path_holds(match: Document, path: str) -> bool:
    uri = match.get("uri", {})
    if match.get("ignoreUriCase") and "regex" not in uri:
        return text_holds({kind: value.lower() for kind, value in uri.items()}, path.lower())
    return text_holds(uri, path)


def holds(match: Document, method: str, path: str, headers: list[tuple[str, str]], query: list[tuple[str, str]]) -> bool:
    """G1, G6 to G10, G13."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    first = dict(reversed(query))
    return (
        path_holds(match, path)
        and text_holds(match.get("method", {}), method)
        and all(name in joined and text_holds(wanted, joined[name]) for name, wanted in match.get("headers", {}).items())
        and all(name in first and text_holds(wanted, first[name]) for name, wanted in match.get("queryParams", {}).items())
        and all(
            name not in joined if not wanted else not text_holds(wanted, joined.get(name, ""))
            for name, wanted in match.get("withoutHeaders", {}).items()
        )
    )


# --- comparing ---


def some_request(chance: Random) -> tuple[int, str, str, str, list[tuple[str, str]], list[tuple[str, str]]]:
    headers = [(chance.choice("xy"), chance.choice(VALUES)) for _ in range(chance.randint(0, 3))]
    query = [("q", chance.choice(VALUES)) for _ in range(chance.randint(0, 2))]
    return chance.choice(PORTS), chance.choice(HOSTS), chance.choice(["GET", "POST"]), chance.choice(PATHS), headers, query


class Opinions:
    """One configuration, compiled and as written."""

    def __init__(self, chance: Random) -> None:
        gateways = [some_gateway(chance, number) for number in range(3)]
        services = [some_service(chance, number) for number in range(chance.randint(2, 9))]
        delegates = [some_delegate(chance, number, space) for number, space in product(range(3), SPACES)]
        listed = [("Gateway", each) for each in gateways] + [("VirtualService", each) for each in services + delegates]
        chance.shuffle(listed)
        resources = [resource_of(kind, document, order) for order, (kind, document) in enumerate(listed)]
        plan = compile_plan(resources, CompileOptions(labels=LABELS, namespace=OURS)).plan
        self._decider = Decider(plan, write_image(plan, StateNumbers(), 1))
        self._hosts = {port: virtual_hosts(gateways, services, delegates, port) for port in PORTS}

    def compare(self, chance: Random) -> bool:
        """Does a rule match a random request? Both have to name the same."""
        port, host, method, path, headers, query = some_request(chance)
        rules = pick(self._hosts[port], host)
        expected = next((name for name, match in rules if holds(match, method, path, headers, query)), None)
        words = f"{path}?{'&'.join('='.join(pair) for pair in query)}" if query else path
        answer = self._decider.decide(ask(method, f"http://{host}{words}", headers), port)
        found = answer["matched"]["name"] if answer["matched"] else None
        assert found == expected, (port, host, method, words, headers, answer["virtualHost"])
        return found is not None


@pytest.mark.parametrize("block", range(4))
def test_the_image_answers_as_the_statements_say(block: int) -> None:
    matched = 0
    for seed in range(block * 20, block * 20 + 20):
        chance = Random(seed)
        opinions = Opinions(chance)
        matched += sum(opinions.compare(chance) for _ in range(60))
    assert matched > 150, "most requests meet nothing"
