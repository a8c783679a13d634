"""Which DestinationRule counts for a service (section R), and services and subsets that have nobody, on live traffic.

Each rule gives a cookie of its own to clients that have none, so that answers tell which one was found.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .support.bench import CLIENTS, Answer, Bench, Leg, both, rule, running_bench
from .support.config import NETWORKING, Document, destination, service_entry
from .support.scripted import ScriptedOrigin

every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)

ROOT, HOME, EDGE, THIRD = "istio-system", "default", "edge", "third"


def marking(word: str) -> Document:
    """A policy that answers tell of."""
    return {"loadBalancer": {"consistentHash": {"httpCookie": {"name": word, "ttl": "0s"}}}}


def found(answer: Answer) -> str:
    """The rule that was found; "" for none."""
    assert answer.status == 200, answer
    return (answer.value("set-cookie") or "").partition("=")[0]


def destination_rule(
    host: str,
    word: str = "",
    namespace: str = HOME,
    *export_to: str,
    created: int = 1,
    subsets: list[Document] | None = None,
    policy: Document | None = None,
    selector: dict[str, str] | None = None,
) -> Document:
    """``word``: its name, and what it marks answers with unless it has another policy."""
    spec: Document = {"host": host, "subsets": subsets or []}
    if policy is not None or word:
        spec["trafficPolicy"] = policy if policy is not None else marking(word)
    if export_to:
        spec["exportTo"] = list(export_to)
    if selector is not None:
        spec["workloadSelector"] = {"matchLabels": selector}
    named = word or "plain"
    stamp = f"2026-01-{created:02}T00:00:00Z"
    metadata = {"name": f"{named}-{host.replace('.', '-').replace('*', 'any')}", "namespace": namespace, "creationTimestamp": stamp}
    return {"apiVersion": NETWORKING, "kind": "DestinationRule", "metadata": metadata, "spec": spec}


def subset(name: str, version: str | None = None, word: str = "") -> Document:
    made: Document = {"name": name, "labels": {"version": version} if version else {}}
    return {**made, "trafficPolicy": marking(word)} if word else made


FIRST = {"istio": "ingressgateway"}
# statement and case -> the rules of its host ("~"), and who wins in a gateway of the root namespace and in one of another
CASES: dict[str, tuple[list[Document], str, str]] = {
    "R1 private in the root namespace": (
        [destination_rule("~", "home"), destination_rule("~", "root", ROOT, ".")],
        "root",
        "home",
    ),
    "R1 exported from the root namespace": (
        [destination_rule("~", "home"), destination_rule("~", "root", ROOT)],
        "home",
        "home",
    ),
    "R1 of the gateway's namespace": (
        [destination_rule("~", "home"), destination_rule("~", "edge", EDGE), destination_rule("~", "root", ROOT)],
        "home",
        "edge",
    ),
    "R1 the root namespace alone": ([destination_rule("~", "root", ROOT)], "root", "root"),
    "R1 not exported to the gateway": (
        [destination_rule("~", "home", HOME, "."), destination_rule("~", "root", ROOT)],
        "root",
        "root",
    ),
    "R1 exported to one of them": (
        [destination_rule("~", "home", HOME, EDGE), destination_rule("~", "root", ROOT)],
        "root",
        "home",
    ),
    "R1 of a third namespace": ([destination_rule("~", "third", THIRD)], "", ""),
    "R1 a namespace without a match is passed": (
        [destination_rule("other.test", "edge", EDGE), destination_rule("~", "root", ROOT)],
        "root",
        "root",
    ),
    "R2 exact before wildcard": (
        [destination_rule("*.services.test", "any"), destination_rule("~", "exact", created=2)],
        "exact",
        "exact",
    ),
    "R2 the oldest": (
        [destination_rule("~", "newer", HOME, "*", ROOT, created=9), destination_rule("~", "older", created=2)],
        "older",
        "older",
    ),
    "R2 one for this gateway": (
        [destination_rule("~", "all", EDGE), destination_rule("~", "own", EDGE, created=9, selector=FIRST)],
        "",
        "own",
    ),
    "R2 one for another gateway": (
        [destination_rule("~", "all", EDGE), destination_rule("~", "own", EDGE, created=9, selector={"istio": "other"})],
        "",
        "all",
    ),
    "R3 the first policy": (
        [
            destination_rule("~", "", created=1),
            destination_rule("~", "second", created=2),
            destination_rule("~", "third", created=3),
        ],
        "second",
        "second",
    ),
}
PORT_LEVEL = {
    **marking("rule"),
    "portLevelSettings": [{"port": {"number": 8080}, "connectionPool": {"http": {"maxRequestsPerConnection": 1}}}],
}
POOLED = {**marking("rule"), "connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
SUBSETS = [
    destination_rule(
        "sets.test",
        policy=POOLED,
        subsets=[subset("v1", "1", "first"), subset("none", "9"), subset("all"), subset("plain", "1")],
    ),
    destination_rule("sets.test", "later", created=2, subsets=[subset("v1", "2", "second"), subset("v2", "2")]),
    destination_rule("ports.test", policy=PORT_LEVEL),
    destination_rule("wild.deep.services.test", "", policy={}),
    destination_rule("*.deep.services.test", "deep", created=3),
]


def host_of(number: int) -> str:
    return f"case{number}.services.test" if list(CASES)[number] == "R2 exact before wildcard" else f"case{number}.test"


def service(host: str, origins: dict[str, ScriptedOrigin], ports: tuple[int, ...] = (8080,)) -> Document:
    """Two versions, a and b, at every port."""
    made = service_entry(host, [("127.0.0.1", origins["a"].port), ("127.0.0.1", origins["b"].port)], namespace=HOME)
    made["spec"]["ports"] = [{"number": port, "name": f"http-{port}", "protocol": "HTTP"} for port in ports]
    for endpoint, name, version in zip(made["spec"]["endpoints"], "ab", "12", strict=True):
        endpoint["ports"] = {f"http-{port}": origins[name].port for port in ports}
        endpoint["labels"] = {"version": version}
    return made


def rules(_: str) -> list[Document]:
    names = ("v1", "v2", "none", "all", "plain", "unknown")
    return [
        *(rule(f"/case/{number}/", route=[destination(host_of(number), 8080)]) for number in range(len(CASES))),
        *(rule(f"/set/{name}/", route=[destination("sets.test", 8080, subset=name)]) for name in names),
        rule("/set/", route=[destination("sets.test", 8080)]),
        *(rule(f"/port/{port}/", route=[destination("ports.test", port)]) for port in (8080, 8081)),
        rule("/deep/", route=[destination("x.deep.services.test", 8080)]),
    ]


def documents(origins: dict[str, ScriptedOrigin]) -> list[Document]:
    found = [*both(rules, gateways=["default/gw"]), *SUBSETS]
    for number, (listed, *_) in enumerate(CASES.values()):
        found.append(service(host_of(number), origins))
        for one in listed:
            host = one["spec"]["host"].replace("~", host_of(number))
            metadata = {**one["metadata"], "name": f"{one['metadata']['name'].replace('~', '')}{number}"}
            found.append({**one, "metadata": metadata, "spec": {**one["spec"], "host": host}})
    found += [service("sets.test", origins), service("ports.test", origins, (8080, 8081)), service("x.deep.services.test", origins)]
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway of the root namespace, which is the default."""
    with running_bench(tmp_path_factory.mktemp("root"), documents, "a", "b") as running:
        yield running


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("edge"), documents, "a", "b", options=["--namespace", EDGE]) as running:
        yield running


@every_client
@pytest.mark.parametrize("number", range(len(CASES)), ids=[name.replace(" ", "-") for name in CASES])
def test_the_rule_of_a_service(root: Bench, edge: Bench, client: Leg, number: int) -> None:
    _, of_root, of_edge = list(CASES.values())[number]
    assert [found(bench.ask(client, f"/case/{number}/")) for bench in (root, edge)] == [of_root, of_edge]


@every_client
def test_r2_the_longest_wildcard(root: Bench, client: Leg) -> None:
    assert found(root.ask(client, "/deep/")) == "deep"


def drawn(bench: Bench, client: Leg, target: str) -> set[str | None]:
    """Who answers 40 clients: of two that are drawn one never comes once in 5e11 runs."""
    answers = [bench.ask(client, target) for _ in range(40)]
    assert {answer.status for answer in answers} == {200}
    return {answer.value("x-origin") for answer in answers}


@every_client
def test_r3_subsets_of_all_rules_the_first_of_a_name(root: Bench, client: Leg) -> None:
    assert (drawn(root, client, "/set/v1/"), drawn(root, client, "/set/v2/")) == ({"a"}, {"b"})
    assert found(root.ask(client, "/set/v1/")) == "first"


@every_client
def test_r4_a_subset_replaces_what_it_names(root: Bench, client: Leg) -> None:
    """Its own cookie, the rule's limit of a connection; without a policy the rule's."""
    for target, word in (("/set/v1/", "first"), ("/set/plain/", "rule"), ("/set/", "rule")):
        origins = [root.others[name] for name in "ab"]
        marks = [origin.mark() for origin in origins]
        assert found(root.ask(client, target)) == word
        (asked,) = [one for origin, mark in zip(origins, marks, strict=True) for one in origin.since(mark)]
        assert asked.value("connection") == "close"


@every_client
def test_r4_settings_of_a_port_replace_the_block(root: Bench, client: Leg) -> None:
    """Whole: what they do not name is the default there, not the rule's."""
    assert found(root.ask(client, "/port/8080/")) == ""
    assert found(root.ask(client, "/port/8081/")) == "rule"


@every_client
def test_r5_subsets_without_endpoints_and_without_labels(root: Bench, client: Leg) -> None:
    answer, line = root.ask_logged(client, "/set/none/")
    assert (answer.status, answer.body, line.flags) == (503, b"no healthy upstream", {"UH"})
    assert drawn(root, client, "/set/all/") == {"a", "b"}
    answer, line = root.ask_logged(client, "/set/unknown/")
    assert (answer.status, answer.body, line.flags) == (503, b"", {"NC"})
