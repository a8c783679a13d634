"""Header fields that routes edit and that the gateway says itself (section K), over both versions on both sides."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterator

import pytest

from .support.bench import CLIENTS, LEGS, Answer, Bench, Leg, both, rule, running_bench, to
from .support.cases import REQUEST_ID
from .support.config import Document, service_entry
from .support.scripted import Asked, Say, ScriptedOrigin

every_leg = pytest.mark.parametrize("leg", LEGS, ids=str)
every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


def request(**operations: object) -> Document:
    return {"request": operations}


def response(**operations: object) -> Document:
    return {"response": operations}


def edits(word: str) -> Document:
    """The same for requests and answers: every operation on a field of its own, and all on one."""
    operations = {
        "remove": ["x-gone", "x-all"],
        "set": {"X-Set": word, "x-new": word, "x-all": "set"},
        "add": {"x-add": word, "x-all": "added"},
    }
    return {"request": operations, "response": operations}


def split(service: str, *headers: Document) -> list[Document]:
    """Weighted destinations at one upstream."""
    return [{**to(service, headers=one)[0], "weight": 50} for one in headers]


def whose(word: str, **more: object) -> Document:
    operations = {"set": {"x-who": word}, "add": {"x-list": word}}
    return {"request": operations, "response": operations}


def host_rules(service: str) -> list[Document]:
    """K7: by the path, what stands where; /host/<route>/<destinations>."""
    by_route, by_destination = request(set={"Host": "route.internal"}), request(set={":authority": "destination.internal"})
    other = request(add={"host": "other.internal"})
    return [
        rule("/host/twice", rewrite={"authority": "rewrite.internal"}, headers=by_route, route=to(service)),
        rule("/host/rewrite/one", rewrite={"authority": "rewrite.internal"}, route=to(service, headers=by_destination)),
        rule("/host/route/one", headers=by_route, route=to(service, headers=by_destination)),
        rule("/host/none/one", route=to(service, headers=by_destination)),
        rule("/host/route/two", headers=by_route, route=split(service, by_destination, other)),
        rule("/host/none/two", route=split(service, by_destination, other)),
    ]


OPERATORS = {
    "x-address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "x-protocol": "%PROTOCOL%",
    "x-req": "%REQ(x-mine?x-other)%/%REQ(:METHOD)%/%REQ(:PATH)%/%REQ(x-mine):2%",
    "x-else": "%REQ(x-mine?:authority)%/%REQ(x-none?:method)%/%REQ(x-none?:path):5%/%REQ(x-none?host)%/%REQ(x-none?:scheme)%",
    "x-percent": "100%%",
    "x-time": "%START_TIME(%Y)%",
    "x-name": "%ROUTE_NAME%",
}


PSEUDO = [
    request(set={":path": "/other"}),
    request(add={":method": "DELETE"}),
    request(remove=[":path"]),
    request(remove=["host"]),
    response(set={":status": "201"}),
    response(remove=[":status"]),
]


def rules(service: str) -> list[Document]:
    target = to(service)
    return [
        rule("/edit", headers=edits("edited"), route=target),
        rule("/gone", headers=response(set={"x-why": "%RESPONSE_FLAGS%"}), route=to("empty")),
        rule("/moved", headers=response(set={"x-why": "%RESPONSE_CODE%"}), redirect={"uri": "/new"}),
        rule("/text", headers=response(add={"x-why": "direct"}), directResponse={"status": 202, "body": {"string": "text"}}),
        rule("/order", headers=request(add={"x-c": "1", "X-A": "2", "x-b": "3"}, set={"x-z": "4", "x-y": "5"}), route=target),
        rule("/empty", headers={**request(set={"x-set": "%REQ(x-none)%"}, add={"x-add": "%REQ(x-none)%"})}, route=target),
        rule("/one", headers=whose("route"), route=to(service, headers=whose("destination"))),
        rule("/two", headers=whose("route"), route=split(service, whose("a"), whose("b"))),
        *host_rules(service),
        *(rule(f"/pseudo/{number}/", headers=headers, route=target) for number, headers in enumerate(PSEUDO)),
        {**rule("/operators", headers=request(set=OPERATORS), route=target), "name": "named"},
        rule("/said", headers=response(set={"x-code": "%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"}), route=target),
        rule("/path", rewrite={"uri": "/other"}, route=target),
        rule("/", route=target),
    ]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("headers"), lambda _: [*both(rules), service_entry("empty", [])]) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_before(bench: Bench) -> Iterator[None]:
    yield
    for origin in bench.origins.values():
        origin.reset()


def both_ways(bench: Bench, leg: Leg, target: str, *fields: str) -> tuple[Asked, Answer]:
    """What the upstream sees, and the answer to it."""
    mark = bench.origin(leg).mark()
    answer = bench.ask(leg, target, *fields)
    (asked,) = bench.origin(leg).since(mark)
    return asked, answer


# --- edits of routes and destinations


@every_leg
def test_k1_k2_removed_then_set_then_added(bench: Bench, leg: Leg) -> None:
    given = {"x-gone": "1", "x-set": "1", "x-add": "1", "x-all": "1"}
    bench.origin(leg).always(fields=list(given.items()))
    asked, answer = both_ways(bench, leg, "/edit", *(f"{name}: {value}" for name, value in given.items()))
    for message in (asked, answer):
        found = {name: message.values(name) for name in ("x-gone", "x-set", "x-new", "x-add", "x-all")}
        assert found == {
            "x-gone": [],
            "x-set": ["edited"],
            "x-new": ["edited"],
            "x-add": ["1", "edited"],
            "x-all": ["set", "added"],
        }


@every_client
def test_k1_answers_of_the_gateway_are_edited(bench: Bench, client: Leg) -> None:
    wanted = {"/gone": (503, "UH"), "/moved": (301, "301"), "/text": (202, "direct")}
    for target, (status, why) in wanted.items():
        answer = bench.ask(client, target)
        assert (answer.status, answer.value("x-why")) == (status, why)


@every_leg
def test_k3_in_the_order_of_names(bench: Bench, leg: Leg) -> None:
    asked = bench.seen(leg, "/order")
    ours = [name for name, _ in asked.fields if re.fullmatch("x-[a-z]", name)]
    assert ours == ["x-y", "x-z", "x-a", "x-b", "x-c"]


@every_leg
def test_k4_an_empty_value_is_no_operation(bench: Bench, leg: Leg) -> None:
    asked = bench.seen(leg, "/empty", "x-set: mine", "x-add: mine")
    assert (asked.values("x-set"), asked.values("x-add")) == (["mine"], ["mine"])
    assert not bench.seen(leg, "/empty").values("x-set")


@every_leg
def test_k5_a_lone_destination_has_the_last_word(bench: Bench, leg: Leg) -> None:
    for message in both_ways(bench, leg, "/one"):
        assert (message.values("x-who"), message.values("x-list")) == (["destination"], ["route", "destination"])


@every_leg
def test_k6_of_several_destinations_the_route_has_it(bench: Bench, leg: Leg) -> None:
    """One of the two never comes in 40 requests: once in 5e11 runs."""
    drawn = set()
    for _ in range(40):
        for message in both_ways(bench, leg, "/two"):
            assert message.values("x-who") == ["route"]
            first, last = message.values("x-list")
            assert last == "route"
            drawn.add(first)
    assert drawn == {"a", "b"}


@every_leg
@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        ("/host/rewrite/one", {"rewrite.internal"}),
        ("/host/route/one", {"route.internal"}),
        ("/host/none/one", {"destination.internal"}),
        ("/host/route/two", {"route.internal"}),
        ("/host/none/two", {"destination.internal", "other.internal"}),
    ],
)
def test_k7_the_host_that_the_upstream_sees(bench: Bench, leg: Leg, target: str, hosts: set[str]) -> None:
    """40 requests where there are two: one of them never comes once in 5e11 runs."""
    assert {bench.seen(leg, target).value("host") for _ in range(40 if len(hosts) > 1 else 2)} == hosts


@every_leg
def test_k7_two_words_about_the_host_are_a_mistake(bench: Bench, leg: Leg) -> None:
    """As for Istio's webhook. The rule keeps what it matches, and is closed."""
    mark = bench.origin(leg).mark()
    assert bench.ask(leg, "/host/twice").status == 503
    assert bench.origin(leg).since(mark) == []


@every_leg
def test_k8_what_is_no_field_cannot_be_edited(bench: Bench, leg: Leg) -> None:
    """Nothing comes of a rule that asks for it."""
    mark = bench.origin(leg).mark()
    assert [bench.ask(leg, f"/pseudo/{number}/").status for number in range(len(PSEUDO))] == [503] * len(PSEUDO)
    assert bench.origin(leg).since(mark) == []


@every_leg
def test_k9_operators(bench: Bench, leg: Leg) -> None:
    asked, _ = both_ways(bench, leg, "/operators?q", "x-other: other", "x-mine: mine")
    year = email.utils.localtime().year
    assert {name: asked.value(name) for name in OPERATORS} == {
        "x-address": "127.0.0.1",
        "x-protocol": leg.client,
        "x-req": "mine/GET//operators?q/mi",
        "x-else": f"mine/GET//oper/{leg.host}/http",
        "x-percent": "100%",
        "x-time": str(year),
        "x-name": "named",
    }
    bench.origin(leg).always(201)
    assert bench.ask(leg, "/said").value("x-code") == "201 1"


# --- what belongs to one connection


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg.client == "HTTP/1.1"], ids=str)
def test_k10_fields_of_one_connection_end_here(bench: Bench, leg: Leg) -> None:
    fields = [
        "Connection: x-mine, keep-alive",
        "X-Mine: 1",
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "Upgrade: h2c",
        "TE: gzip",
    ]
    names = {name for name, _ in bench.seen(leg, "/", *fields).fields}
    assert not names & {"x-mine", "keep-alive", "proxy-connection", "upgrade", "te", "connection"}


@every_leg
def test_k10_trailers_are_asked_for(bench: Bench, leg: Leg) -> None:
    """TE is the one field of its kind that HTTP/2 has, with this one value."""
    assert bench.seen(leg, "/", "te: trailers").values("te") == ["trailers"]


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg.upstream == "HTTP/1.1"], ids=str)
def test_k10_fields_of_the_upstreams_connection_end_here(bench: Bench, leg: Leg) -> None:
    bench.origin(leg).always(
        fields=[("Connection", "x-mine"), ("X-Mine", "1"), ("Keep-Alive", "5"), ("Proxy-Connection", "x"), ("X-Kept", "1")]
    )
    answer = bench.ask(leg, "/")
    assert not {name for name, _ in answer.fields} & {"x-mine", "keep-alive", "proxy-connection", "connection"}
    assert answer.value("x-kept") == "1"


REFERERS = {
    "http://a.test/page?q=1": True,
    "https://a.test": True,
    "android-app://com.example/": True,
    "/page": False,
    "a.test/page": False,
    "http://": False,
    "http:///page": False,
    "://a.test": False,
    "http://a.test/a b": False,
    "": False,
}


@every_leg
def test_k11_a_referer_that_is_no_url(bench: Bench, leg: Leg) -> None:
    kept = {referer: bench.seen(leg, "/", f"Referer: {referer}").values("referer") == [referer] for referer in REFERERS}
    assert kept == REFERERS
    assert bench.seen(leg, "/", "Referer: http://a.test/", "Referer: http://b.test/").values("referer") == []


# --- the gateway's own fields


@every_leg
def test_k12_what_answers_say(bench: Bench, leg: Leg) -> None:
    """Where Istio has istio-envoy stands this gateway's name; --server-header changes it."""
    answer = bench.ask(leg, "/")
    assert answer.value("server") == "fastgw"
    assert email.utils.parsedate_to_datetime(answer.value("date") or "")
    assert re.fullmatch(r"\d+", answer.value("x-envoy-upstream-service-time") or "")
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    bench.origin(leg).always(fields=[("server", "secret/1"), ("date", date), ("x-envoy-upstream-service-time", "99999")])
    answer = bench.ask(leg, "/")
    assert (answer.value("server"), answer.value("date")) == ("fastgw", date)
    assert answer.value("x-envoy-upstream-service-time") != "99999"


@every_leg
def test_k13_every_request_has_an_id_of_its_own(bench: Bench, leg: Leg) -> None:
    mine = "11111111-2222-4333-8444-555555555555"
    bench.origin(leg).say = lambda asked: Say(fields=[("x-id", asked.value("x-request-id") or "")])
    answers = bench.many(leg, ["/"] * 20, f"x-request-id: {mine}")
    ids = {answer.value("x-id") or "" for answer in answers}
    assert len(ids) == 20 and mine not in ids
    assert all(REQUEST_ID.fullmatch(one) for one in ids)
    assert {answer.value("x-request-id") for answer in answers} == {None}


@every_leg
def test_k14_k16_who_the_client_is(bench: Bench, leg: Leg) -> None:
    """K16: a client on this machine is told as it is, since a worker has no address of its own that would say more."""
    asked = bench.seen(leg, "/")
    assert (asked.value("x-forwarded-for"), asked.value("x-envoy-external-address")) == ("127.0.0.1", "127.0.0.1")
    fields = [
        "X-Forwarded-For: 1.2.3.4",
        "x-forwarded-for: 5.6.7.8",
        "X-Forwarded-Proto: https",
        "x-envoy-external-address: 9.9.9.9",
    ]
    asked = bench.seen(leg, "/", *fields)
    assert asked.value("x-forwarded-for") == "1.2.3.4,5.6.7.8,127.0.0.1"
    assert (asked.value("x-forwarded-proto"), asked.value("x-envoy-external-address")) == ("http", "127.0.0.1")


@every_leg
def test_k18_no_more_is_said_of_the_clients_host(bench: Bench, leg: Leg) -> None:
    """Istio says x-forwarded-host and -port only where its proxyHeaders ask for them."""
    names = {name for name, _ in bench.seen(leg, "/host/rewrite/one").fields}
    assert not names & {"x-forwarded-host", "x-forwarded-port"}


@every_leg
def test_k19_what_sidecars_tell_each_other_ends_here(bench: Bench, leg: Leg) -> None:
    metadata = {"x-envoy-peer-metadata": "eA==", "x-envoy-peer-metadata-id": "sidecar~1"}
    bench.origin(leg).always(fields=list(metadata.items()))
    for message in both_ways(bench, leg, "/", *(f"{name}: {value}" for name, value in metadata.items())):
        assert not {name for name, _ in message.fields} & metadata.keys()


@every_leg
def test_k20_the_path_before_it_was_rewritten(bench: Bench, leg: Leg) -> None:
    asked = bench.seen(leg, "/path/x?q", "x-envoy-original-path: /forged")
    assert (asked.target, asked.values("x-envoy-original-path")) == ("/other/x?q", ["/path/x?q"])
    assert bench.seen(leg, "/", "x-envoy-original-path: /forged").values("x-envoy-original-path") == []


def test_k21_names_are_in_lower_case(bench: Bench) -> None:
    leg = Leg("HTTP/1.1")
    bench.origin(leg).always(fields=[("X-Upper", "1")])
    asked = bench.seen(leg, "/edit", "X-MINE: 1")
    assert "x-mine" in asked.names and all(name == name.lower() for name in asked.names), asked.names
    with bench.gateway.client() as client:
        answer = client.get("/edit", leg.host)
    names = [name.decode() for name, _ in answer.fields]
    assert "x-upper" in names and all(name == name.lower() for name in names), names


# --- behind proxies


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Two proxies stand in front."""

    def documents(_: dict[str, ScriptedOrigin]) -> list[Document]:
        return both(lambda service: [rule("/", route=to(service))])

    with running_bench(tmp_path_factory.mktemp("behind"), documents, settings={"trusted-hops": 2}) as running:
        yield running


@every_leg
@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["10.0.0.1, 10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        (["10.0.0.1", "10.0.0.2,10.0.0.3"], "10.0.0.2"),
        (["10.0.0.1,2001:db8::1 , 10.0.0.3"], "2001:db8::1"),
        (["10.0.0.3"], "127.0.0.1"),
        (["10.0.0.1, nobody, 10.0.0.3"], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_k14_k15_trusted_proxies_say_who_the_client_is(behind: Bench, leg: Leg, forwarded: list[str], client: str) -> None:
    asked = behind.seen(leg, "/", *(f"x-forwarded-for: {value}" for value in forwarded), "x-forwarded-proto: https")
    assert asked.value("x-envoy-external-address") == client
    assert asked.value("x-forwarded-for") == ",".join([*forwarded, "127.0.0.1"])
    assert asked.value("x-forwarded-proto") == "https"
    assert behind.seen(leg, "/").value("x-forwarded-proto") == "http"
