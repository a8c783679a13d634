"""The short way through a compilation comes out where the long one does, over random edits; and it is taken where it can be."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from made_resources import gateway, resource, to, virtual_service

from fastgw.compiler import compile as compiling
from fastgw.compiler.compile import CompileCache, CompileResult, compile_plan
from fastgw.compiler.exchange import exchange
from fastgw.model.kinds.virtual_service import VirtualService
from fastgw.model.origin import Origin
from fastgw.model.resource import Resource

HOSTS = ["one.com", "two.com", "*.com", "*"]
DESTINATIONS = ["web", "web.default.svc.cluster.local", "10.1.2.3", "nowhere.example", "secure", "gone"]


def some_rule(random: Random) -> dict[str, Any]:
    rule = to(random.choice(DESTINATIONS), random.choice([80, 80, 81]))
    if random.random() < 0.2:
        rule["route"][0]["destination"]["subset"] = random.choice(["v1", "none"])
    if random.random() < 0.2:
        del rule["route"][0]["destination"]["port"]
    match: dict[str, Any] = {"uri": {"prefix": random.choice(["/", "/a", "/b"])}}
    if random.random() < 0.2:
        match |= random.choice([{"port": 80}, {"port": 8080}, {"gateways": ["gw"]}, {"gateways": ["other"]}])
    if random.random() < 0.1:
        match["uri"] = {"regex": random.choice(["(", "/x.*"])}
    if random.random() < 0.8:
        rule["match"] = [match]
    return rule


def some_service(random: Random, number: int) -> Resource:
    hosts = random.sample(HOSTS, random.randint(1, 2)) if random.random() < 0.3 else [HOSTS[number % len(HOSTS)]]
    spec: dict[str, Any] = {"hosts": hosts, "gateways": [["gw"], ["gw", "other"], ["gw", "secure"], ["secure"]][number % 4]}
    spec["http"] = [some_rule(random) for _ in range(random.randint(1, 3))]
    if random.random() < 0.05:
        spec["gateways"] = ["missing"]
    if random.random() < 0.05:
        spec["tcp"] = [{"route": [{"destination": {"host": random.choice(["web", "10.1.2.3", "gone"])}}]}]
    if random.random() < 0.05:
        names = random.sample(["one.com", "x.one.com", "two.com", "*.com"], 2)
        spec["tls"] = [{"match": [{"sniHosts": names}], "route": [{"destination": {"host": "web", "port": {"number": 80}}}]}]
    if random.random() < 0.1:
        spec["http"].insert(0, {"name": "d", "delegate": {"name": "inner"}})
    metadata = {"annotations": {"gateway.fastgw.io/priority": str(random.randint(0, 2))}} if random.random() < 0.1 else {}
    return resource("VirtualService", f"s{number}", spec, **metadata)


def edited(random: Random, service: Resource, number: int) -> Resource:
    """Mostly other http rules and nothing else; sometimes anything."""
    if service.kind != "VirtualService" or random.random() < 0.2:
        return some_service(random, number)
    http = [some_rule(random) for _ in range(random.randint(1, 3))]
    typed = msgspec.convert({"hosts": ["x"], "http": http}, VirtualService)
    spec = msgspec.structs.replace(service.spec, http=typed.http)
    return msgspec.structs.replace(service, spec=spec, origin=Origin(service.origin.file, random.randint(1, 5), 1))


def secure_gateway(random: Random) -> Resource:
    """A Gateway with a table or chains of its own for each server."""
    servers = [
        secure_server("one", "HTTPS", ["one.com"], "SIMPLE"),
        secure_server("two", "HTTPS", ["two.com", "*.com"], "MUTUAL"),
        secure_server("bytes", "TLS", ["bytes.com"], "SIMPLE"),
        secure_server("pass", "TLS", ["x.one.com", "two.com.org"], "PASSTHROUGH"),
        {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]},
    ]
    random.shuffle(servers)
    return resource("Gateway", "secure", {"servers": servers})


def secure_server(name: str, protocol: str, hosts: list[str], mode: str) -> dict[str, Any]:
    tls = {"mode": mode} | ({} if mode == "PASSTHROUGH" else {"credentialName": "pair"})
    return {"port": {"number": 443, "name": name, "protocol": protocol}, "hosts": hosts, "tls": tls}


FIXED = 9


def some_policy(random: Random, number: int) -> Resource:
    """For a Gateway or a VirtualService, or some hosts or routes of it; of services that do not exist, too."""
    if random.random() < 0.4:
        target: dict[str, Any] = {"kind": "Gateway", "name": random.choice(["gw", "other", "secure", "gone"])}
    else:
        target = {"kind": "VirtualService", "name": random.choice(["s0", "s1", "inner", "gone"])}
        target |= {"routes": ["d"]} if random.random() < 0.2 else {}
    target |= {"hosts": random.sample([*HOSTS, "x.one.com", "a.com", "*.two.com"], 2)} if random.random() < 0.5 else {}
    if number == 1:
        page = [{"contentType": "text/html", "body": str(random.randint(1, 3))}]
        return resource("ErrorPages", f"pages-{number}", {"targetRefs": [target], "pages": {random.choice(["404", "5xx"]): page}})
    spec: dict[str, Any] = {"targetRefs": [target], "maxRequestBytes": random.randint(0, 3)}
    if random.random() < 0.5:
        spec["sources"] = {"deny": [f"10.0.0.{random.randint(1, 3)}"]}
    if random.random() < 0.5:
        spec["rateLimits"] = [{"name": "limit", "requests": random.randint(1, 3), "per": "1s"}]
    return resource("EdgePolicy", f"policy-{number}", spec)


def world(random: Random) -> list[Resource]:
    inner = {"http": [some_rule(random)]}
    tls = {"host": "secure", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}
    return [
        gateway("gw"),
        gateway("other", port=8080),
        gateway("third", "one.com", port=8080),
        secure_gateway(random),
        resource("Service", "web", {"ports": [{"name": "http", "port": 80}]}),
        resource("Service", "secure", {"ports": [{"name": "http", "port": 80}]}),
        resource("DestinationRule", "secure", tls),
        resource("DestinationRule", "web", {"host": "web", "subsets": [{"name": "v1"}]}),
        resource("VirtualService", "inner", inner),
        *(some_service(random, number) for number in range(6)),
    ]


def numbered(resources: list[Resource]) -> list[Resource]:
    for order, one in enumerate(resources):
        one.order = order
    return resources


def essence(result: CompileResult) -> object:
    plan = result.plan
    return plan, list(plan.clusters), list(plan.route_tables), result.diagnostics


@pytest.mark.parametrize("policies", [0, 3], ids=["no policies", "policies"])
@pytest.mark.parametrize("seed", range(25))
def test_random_edits_compile_as_afresh(seed: int, policies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    short = 0

    def counting(*arguments: Any) -> CompileResult | None:
        nonlocal short
        result = exchange(*arguments)
        short += result is not None
        return result

    monkeypatch.setattr(compiling, "exchange", counting)
    random, cache = Random(seed), CompileCache()
    resources = world(random)
    first = FIXED + policies
    resources[FIXED:FIXED] = [some_policy(random, number) for number in range(policies)]
    resources = numbered(resources)
    compile_plan(resources, cache=cache)
    for _ in range(40):
        for place in random.sample(range(first, len(resources)), random.randint(1, 2)):
            resources[place] = edited(random, resources[place], place - first)
        if policies and random.random() < 0.2:
            resources[FIXED] = some_policy(random, 0)
        if random.random() < 0.1:
            resources.append(resources.pop(first))
        resources = numbered(list(resources))
        assert essence(compile_plan(resources, cache=cache)) == essence(compile_plan(resources))
    assert short > 0


def test_the_short_way_makes_new_only_what_has_changed() -> None:
    resources = numbered([gateway(), *(virtual_service(f"s{i}", f"h{i}.com", to("web")) for i in range(5))])
    cache = CompileCache()
    before = compile_plan(resources, cache=cache)
    resources[3] = msgspec.structs.replace(virtual_service("s2", "h2.com", to("web", uri={"prefix": "/x"})), order=3)
    after = compile_plan(resources, cache=cache)
    pairs = zip(before.plan.route_tables["http.80"].virtual_hosts, after.plan.route_tables["http.80"].virtual_hosts, strict=True)
    assert [one is other for one, other in pairs] == [True, True, False, True, True]
    assert before.plan.route_tables["http.80"].virtual_hosts[2].rules[0].path is None


@pytest.mark.parametrize("change", [{"labels": {"a": "b"}}, {"creation_timestamp": "2020-01-01T00:00:00Z"}, {"namespace": "other"}])
def test_other_metadata_takes_the_long_way(change: dict[str, Any]) -> None:
    resources = numbered([gateway(), virtual_service("a", "a.com"), virtual_service("b", "b.com")])
    cache = CompileCache()
    compile_plan(resources, cache=cache)
    whole = cache.whole
    assert whole is not None
    other = [*resources[:2], msgspec.structs.replace(resources[2], **change)]
    assert exchange(whole, other, cache) is None
    assert compile_plan(other, cache=cache) == compile_plan(other)


def test_rules_under_the_policy_of_a_gateway_take_the_short_way() -> None:
    """What is not concerned stays the same object; what a policy names by itself takes the long way."""
    limit = {"targetRefs": [{"kind": "Gateway", "name": "gw"}], "maxRequestBytes": 5}
    named = {"targetRefs": [{"kind": "VirtualService", "name": "s1"}], "maxRequestBytes": 6}
    services = [virtual_service(f"s{i}", f"h{i}.com") for i in range(3)]
    resources = numbered([gateway(), resource("EdgePolicy", "a", limit), resource("EdgePolicy", "b", named), *services])
    cache = CompileCache()
    before = compile_plan(resources, cache=cache)
    whole = cache.whole
    assert whole is not None
    changed = [to("web", uri={"prefix": "/x"})]
    other = numbered([*resources[:3], virtual_service("s0", "h0.com", *changed), *resources[4:]])
    after = exchange(whole, other, cache)
    assert after is not None
    hosts = after.plan.route_tables["http.80"].virtual_hosts
    assert [rule.action.guards.max_request_bytes for host in hosts for rule in host.rules if rule.action.guards] == [5, 6, 5]
    assert [one is two for one, two in zip(before.plan.route_tables["http.80"].virtual_hosts, hosts, strict=True)] == [
        False,
        True,
        True,
    ]
    other = numbered([*other[:4], virtual_service("s1", "h1.com", *changed), *other[5:]])
    assert exchange(whole, other, cache) is None
