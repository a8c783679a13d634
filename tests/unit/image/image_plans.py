"""Random plans and requests from small pools, so that matches are frequent; and a naive matcher that works on the Plan itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import msgspec

from fastgw.image.matcher import RouteRequest
from fastgw.model.origin import Origin
from fastgw.model.plan import (
    Action,
    Chain,
    Cluster,
    Edits,
    Endpoint,
    Guards,
    HeaderEdit,
    Listener,
    ObjectRef,
    PathMatch,
    Plan,
    Predicate,
    RateKey,
    RateLimit,
    RouteTable,
    Rule,
    SourceList,
    Sticky,
    TlsContext,
    VirtualHost,
    WeightedDestination,
)
from fastgw.model.values import Part

LISTENER = "0.0.0.0_80"
LONG = "a-name-of-a-host-that-does-not-fit-into-a-slot-of-the-table"
DOMAINS = [
    "a.com", "b.a.com", "c.b.a.com", "com", "x.org", f"{LONG}.a.com", f"{LONG}.{LONG}.org",
    "*", "*.a.com", "*.b.a.com", "*.com", "*a.com", "*.org", "*-table.org", f"*.{LONG}.org",
]  # fmt: skip
HOSTS = [
    "a.com", "A.Com", "b.a.com", "c.b.a.com", "d.c.b.a.com", "xa.com", ".a.com", "com", "x.com", "x.org", "org", "", "a", "a.com.",
    f"{LONG}.a.com", f"{LONG.upper()}.a.com", f"{LONG}.{LONG}.org", f"q.{LONG}.org", "y" * 505 + ".a.com", "z." * 400 + "b.a.com",
]  # fmt: skip
CHALLENGE = b"/.well-known/acme-challenge/"
SEGMENTS = ["", "a", "ab", "A", "b", "foo", "foobar", "a-segment-longer-than-a-label"]
REGEXES = [
    ".*", "/.*", "/a.*", "/a/b", "/a|/b", "(/a|/foo)/.*", "/(a|ab)(/.*)?", "/[ab]+", "/foo[^/]*", "(?i)/foo.*", "/fo{1,2}bar?/.*",
    "/a\\.b", "/[a-z]+/[a-z]*", "", "/ab?", "(?:/foo)+", "[^a]*", "/a*",
]  # fmt: skip
OPEN_REGEXES = [
    "[^a]*", ".*b", ".*/a", ".*foo.*", "[/ab]*", ".*/(a|ab)/?", "(/a|b)?.*", ".*r", ".{4}", ".{2,6}", "[^b]*b[^b]*", ".*[A-Z].*",
    ".?.?", "", ".*(/foo){1,3}", "(?i).*/A/.*",
]  # fmt: skip
HEADERS = ["x-one", "x-one", "x-two", "user-agent", "cookie", "x-envoy-custom"]
VALUES = ["", "a", "b", "ab", "a,b", "a,", ",", "b,a"]
STICKY = [None, Sticky("cookie", "cookie"), Sticky("cookie", "a", 60), Sticky("header", "x-one"), Sticky("source_ip")]
EDITS = [
    Edits(),
    Edits(
        (HeaderEdit("set", "x-a", (Part("request_header", "x-one?b", 8), Part("text", "t"))),), (HeaderEdit("remove", "b"),), "h"
    ),
]
METHODS = ["GET", "POST", "get", "OPTIONS"]
PSEUDO_REGEXES = {
    "method": ["GET|POST", "[A-Z]+", ".*T", "P.*"],
    "scheme": ["https?", ".*s"],
    "authority": ["[a-z.]+", ".*:80", "(.*\\.)?a\\.com(:.*)?", ""],
    "raw_path": [".*\\?.*", "/[^?]*", ".*a=.*"],
}
VALUE_REGEXES = [".*", "a.*", "[ab,]+", "v[0-9]", "v.*[13579]", "(a|v1.)?", ".*,.*", "", "[^a]*", "v(1|2)+"]


GUARDS = (
    None,
    Guards((SourceList("default/edge", "10.0.0.0/8, 2001:db8::/32", "10.1.2.3/32", closed=True),), 1000),
    None,
    Guards(
        (SourceList("default/edge", deny="192.0.2.0/24"), SourceList("default/more", "10.0.0.0/8", closed=True)),
        rate_limits=(
            RateLimit("default/edge", "VirtualService a", "all", 100, 1_000_000_000, 200),
            RateLimit(
                "default/edge", "VirtualService a", "each", 3, 60_000_000_000, 3, (RateKey("source"), RateKey("header", "x-one"))
            ),
        ),
    ),
)


def some_path(random: Random) -> str:
    path = "".join("/" + random.choice(SEGMENTS) for _ in range(random.randint(1, 3)))
    return path + random.choice(["", "", "", "/"])


def some_predicate(random: Random, values: list[str]) -> Predicate:
    target = random.choice(["header", "header", "header", "query", "query", "method", "scheme", "authority", "raw_path", "never"])
    if target in PSEUDO_REGEXES and random.random() < 0.3:
        return Predicate(target, "regex", value=random.choice(PSEUDO_REGEXES[target]))
    if target == "method":
        return Predicate(target, random.choice(["exact", "prefix"]), value=random.choice(METHODS))
    if target == "scheme":
        return Predicate(target, "exact", value=random.choice(["http", "https"]))
    if target == "authority":
        return Predicate(target, random.choice(["exact", "prefix"]), value=random.choice(["a.com", "a.com:80", "b", ""]))
    if target == "raw_path":
        return Predicate(target, random.choice(["exact", "prefix"]), value=some_path(random) + random.choice(["", "?", "?a"]))
    if target == "never":
        return Predicate(target, "present")
    op = random.choice(["exact", "exact", "prefix", "regex", "present"])
    value = random.choice(values) if op != "regex" else random.choice(["a|b", "[ab,]+", ".*", "a.*", ""])
    name = random.choice(HEADERS) if target == "header" else random.choice(["a", "b", "version"])
    return Predicate(target, op, name, value if op != "present" else "", target == "header" and random.random() < 0.3)


def some_path_match(random: Random) -> PathMatch | None:
    kind = random.choice(["none", "exact", "exact", "prefix", "prefix", "prefix", "segment", "regex"])
    if kind == "none":
        return None
    if kind == "regex":
        return PathMatch(kind, random.choice(REGEXES))
    value = some_path(random) if random.random() < 0.9 else random.choice(["", "/"])
    return PathMatch(kind, value, kind != "segment" and random.random() < 0.25)


def some_rule(random: Random, index: int, values: list[str], bare: float) -> Rule:
    count = 0 if random.random() < bare else random.randint(1, 3)
    predicates = tuple(some_predicate(random, values) for _ in range(count))
    owner = ObjectRef("VirtualService", f"default/vs-{index % 3}", Origin("a.yaml", 1 + index % 3, 1))
    destinations = (WeightedDestination(f"cluster-{index % 4}", 1), WeightedDestination("cluster-0", 2, edits=EDITS[index % 2]))
    guards = GUARDS[index % len(GUARDS)]
    action = Action("route", destinations[: 1 + index % 2], sticky=random.choice(STICKY), edits=random.choice(EDITS), guards=guards)
    return Rule(f"rule-{index}", owner, index, 0, action, some_path_match(random), predicates, Origin("a.yaml", 10 + index, 3))


def tenant_rule(random: Random, index: int, values: list[str]) -> Rule:
    """One of many rules that differ in the value of a header or query parameter, sometimes with a further condition."""
    target, name = random.choice([("header", "x-one"), ("header", "x-one"), ("query", "version")])
    predicates = [Predicate(target, "exact", name, random.choice(values))]
    if random.random() < 0.2:
        predicates.append(some_predicate(random, values))
    path = random.choice([None, PathMatch("prefix", "/"), PathMatch("prefix", "/a"), PathMatch("exact", "/foo")])
    rule = some_rule(random, index, values, 0.0)
    return msgspec.structs.replace(rule, path=path, predicates=tuple(predicates))


def open_rule(random: Random, index: int, values: list[str]) -> Rule:
    """One of many rules whose regexes have no beginning in common, often with a further condition."""
    rule = some_rule(random, index, values, 0.4)
    return msgspec.structs.replace(rule, path=PathMatch("regex", random.choice(OPEN_REGEXES)))


def pattern_rule(random: Random, index: int, values: list[str]) -> Rule:
    """One of many rules with regexes on the same header, query parameter or other text."""
    target, name = random.choice(
        [("header", "x-one"), ("header", "x-one"), ("header", "x-two"), ("query", "version"), ("authority", "")]
    )
    patterns = VALUE_REGEXES if target != "authority" else PSEUDO_REGEXES[target]
    predicates = [Predicate(target, "regex", name, random.choice(patterns)) for _ in range(1 + (random.random() < 0.1))]
    if random.random() < 0.3:
        predicates.insert(random.randint(0, len(predicates)), some_predicate(random, values))
    path = random.choice(
        [None, PathMatch("prefix", "/"), PathMatch("prefix", "/a"), PathMatch("regex", random.choice(OPEN_REGEXES))]
    )
    return msgspec.structs.replace(some_rule(random, index, values, 0.0), path=path, predicates=tuple(predicates))


def some_plan(random: Random, crowded: bool = False) -> Plan:
    """``crowded``: many conditional rules on a host, many values of a header, many regexes: long lists, chains, groups, sets."""
    domains = random.sample(DOMAINS, random.randint(1, len(DOMAINS)))
    values = VALUES + [f"v{i}" for i in range(40)] if crowded else VALUES
    vhosts = []
    while domains:
        own, domains = domains[: random.randint(1, 3)], domains[3:]
        size = random.randint(10, 90) if crowded else random.randint(0, 8)
        special = random.choice([None, tenant_rule, tenant_rule, open_rule, pattern_rule]) if crowded else None
        rules = [
            special(random, i, values)
            if special is not None and random.random() < 0.9
            else some_rule(random, i, values, 0.03 if crowded else 0.4)
            for i in range(size)
        ]
        vhosts.append(
            VirtualHost(f"{own[0]}:80", own, rules, random.random() < 0.1, Origin("a.yaml", 5, 1), guards=GUARDS[len(rules) % 2])
        )
    clusters = {f"cluster-{i}": Cluster(f"cluster-{i}", f"svc-{i}", 80, endpoints=[Endpoint(f"10.0.0.{i}", 80)]) for i in range(3)}
    listener = Listener(LISTENER, "", 80, "HTTP", [], [Chain("http.80", route_table="http.80")])
    return Plan([listener], {"http.80": RouteTable("http.80", vhosts)}, clusters)


CREDENTIALS = ["kubernetes://istio-system/a", "kubernetes://istio-system/b", "file-cert:/a~/b"]
CHAIN_ACTION = Action("route", (WeightedDestination("cluster-0", 1), WeightedDestination("cluster-9", 3)))


def some_context(random: Random, name: str) -> TlsContext:
    auth = random.choice(["none", "none", "require", "optional"])
    pins = tuple("0123456789abcdef" * 4 for _ in range(random.randint(0, 1))) if auth != "none" else ()
    return TlsContext(
        name,
        tuple(random.sample(CREDENTIALS, 2)) if random.random() < 0.2 else (random.choice(CREDENTIALS[:2]),),
        "kubernetes://istio-system/a-cacert" if auth != "none" else "",
        auth,
        sans=("client.a.com",) if auth == "require" else (),
        spki=pins,
        hashes=pins,
    )


def some_secure_plan(random: Random) -> Plan:
    """A listener whose chains are told apart by server name, each name in one of them; sometimes one for plain text."""
    names = random.sample(DOMAINS, random.randint(1, len(DOMAINS)))
    chains: list[Chain] = []
    while names:
        own, names = tuple(names[: random.randint(1, 4)]), names[4:]
        name = f"chain.{len(chains)}.{random.choice('abc')}"
        kind = random.choice(["http", "http", "http", "bytes", "pass"])
        if kind == "pass":
            chains.append(Chain(name, "tcp", "passthrough", own, action=random.choice([CHAIN_ACTION, None])))
        else:
            chain = Chain(name, "http", "terminate", own, name, tls_context=some_context(random, name))
            if kind == "bytes":
                chain.kind, chain.route_table, chain.action = "tcp", "", CHAIN_ACTION
            chains.append(chain)
    if random.random() < 0.5:
        chains.append(random.choice([Chain("http.443", route_table="http.443"), Chain("tcp.443", "tcp", action=CHAIN_ACTION)]))
    owner = ObjectRef("VirtualService", "default/vs", Origin("a.yaml", 2, 1))
    for chain in chains:
        chain.virtual_service = owner if chain.kind == "tcp" else None
    random.shuffle(chains)
    tables = {
        chain.route_table: RouteTable(
            chain.route_table, [VirtualHost("a.com:443", random.sample(DOMAINS, 2), [some_rule(random, 0, VALUES, 0.5)])]
        )
        for chain in chains
        if chain.route_table
    }
    clusters = {f"cluster-{i}": Cluster(f"cluster-{i}", f"svc-{i}", 80, endpoints=[Endpoint(f"10.0.0.{i}", 80)]) for i in range(4)}
    plain = Listener(LISTENER, "", 80, "HTTP", [], [Chain("http.80", route_table="http.80")])
    tables["http.80"] = RouteTable("http.80", [VirtualHost("a.com:80", ["*"], [])])
    return Plan([plain, Listener("0.0.0.0_443", "", 443, "TLS", [], chains)], tables, clusters)


def plan_chain(listener: Listener, sni: str) -> Chain | None:
    """The chain that a naive reading of P1 and P2 gives for a server name."""
    names = {name: chain for chain in listener.chains if chain.tls != "none" for name in chain.server_names}
    host = sni.lower()
    if host and host in names and not host.startswith("*"):
        return names[host]
    for start in range(1, len(host)):
        if f"*{host[start:]}" in names:
            return names[f"*{host[start:]}"]
    return names.get("*")


def _aim(random: Random, plan: Plan) -> tuple[str, str]:
    """A host that some domain of the plan covers, and a path near that of one of its rules."""
    vhost = random.choice(plan.route_tables["http.80"].virtual_hosts)
    host = random.choice(vhost.domains).replace("*", "q")
    paths = [rule.path.value for rule in vhost.rules if rule.path is not None and rule.path.kind != "regex"]
    path = random.choice([*paths, "/", CHALLENGE.decode()]) + random.choice(["", "", "/", "/a", "b"])
    return host, path.upper() if random.random() < 0.15 else path


def some_request(random: Random, plan: Plan, crowded: bool = False) -> RouteRequest:
    host, path = random.choice(HOSTS), some_path(random) if random.random() < 0.95 else random.choice(["*", "", "/"])
    if random.random() < 0.7:
        host, path = _aim(random, plan)
    values = VALUES + [f"v{i}" for i in range(40)] if crowded else VALUES
    names = [name.upper() if random.random() < 0.3 else name for name in HEADERS]
    headers = tuple((random.choice(names).encode(), random.choice(values).encode()) for _ in range(random.randint(0, 4)))
    pairs = [
        random.choice(["a", "b", "version", "a=", "=a", ""]) + random.choice(["", "=a", "=b", "=" + random.choice(values)])
        for _ in range(3)
    ]
    return RouteRequest(
        host=host.encode(),
        path=path.encode(),
        query=random.choice([None, b"", "&".join(pairs[: random.randint(0, 3)]).encode()]),
        method=random.choice(METHODS).encode(),
        scheme=random.choice([b"http", b"https"]),
        authority=(host + random.choice(["", ":80"])).encode(),
        headers=headers,
        secure=random.random() < 0.5,
    )


# --- the naive matcher ---


def plan_match(plan: Plan, request: RouteRequest) -> tuple[str, VirtualHost | None, Rule | None]:
    vhost = _plan_host(plan.route_tables["http.80"], request.host.decode().lower())
    if vhost is None:
        return "no_virtual_host", None, None
    redirects = vhost.require_tls and not request.secure
    if redirects and not (request.path.startswith(CHALLENGE) and request.path != CHALLENGE):
        return "require_tls", vhost, None
    for rule in vhost.rules:
        if rule_matches(rule, request):
            return "match", vhost, rule
    return "require_tls" if redirects else "no_rule", vhost, None


def _plan_host(table: RouteTable, host: str) -> VirtualHost | None:
    by_domain = {domain: vhost for vhost in reversed(table.virtual_hosts) for domain in vhost.domains}
    if host in by_domain and host:
        return by_domain[host]
    for start in range(1, len(host)):
        if f"*{host[start:]}" in by_domain:
            return by_domain[f"*{host[start:]}"]
    return by_domain.get("*")


def rule_matches(rule: Rule, request: RouteRequest) -> bool:
    return _path_matches(rule.path, request.path.decode()) and all(_holds(p, request) for p in rule.predicates)


def _path_matches(match: PathMatch | None, path: str) -> bool:
    if match is None:
        return True
    want = match.value
    if match.ignore_case and match.kind != "regex":
        want, path = want.lower(), path.lower()
    if match.kind == "segment":
        stem = want.rstrip("/") if want.endswith("/") and not want.endswith("//") else want.removesuffix("/")
        return path == stem or path.startswith(f"{stem}/")
    return {
        "exact": lambda: path == want,
        "prefix": lambda: path.startswith(want),
        "regex": lambda: re.fullmatch(want, path) is not None,
    }[match.kind]()


def _query_pairs(query: bytes | None) -> Iterator[tuple[str, str]]:
    rest = (query or b"").decode()
    while rest:
        pair, _, rest = rest.partition("&")
        key, _, value = pair.partition("=")
        yield key, value


def _holds(p: Predicate, request: RouteRequest) -> bool:
    values = {
        "header": [v.decode() for k, v in request.headers if k.decode().lower() == p.name],
        "query": [v for k, v in _query_pairs(request.query) if k == p.name][:1],
        "method": [request.method.decode()],
        "scheme": [request.scheme.decode()],
        "authority": [request.authority.decode()],
        "raw_path": [request.raw_path.decode()],
        "never": None,
    }[p.target]
    if values is None:
        return False
    if p.op == "present":
        return bool(values) != p.invert
    if not values and not p.invert:
        return False
    value = ",".join(values)
    held = {
        "exact": value == p.value,
        "prefix": value.startswith(p.value),
        "regex": p.op == "regex" and re.fullmatch(p.value, value) is not None,
    }[p.op]
    return held != p.invert
