"""Redirects, direct responses and rewrites (section M), over both versions on both sides."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import StartTls
from .support.bench import CLIENTS, LEGS, Bench, Leg, both, rule, running_bench, to
from .support.certificates import Authority, mount
from .support.config import Document, gateway_of, http_server, https_server, virtual_service
from .support.curl import curl
from .support.poll import eventually
from .support.scripted import ScriptedOrigin
from .support.tls_world import PLAIN, upstreams

every_leg = pytest.mark.parametrize("leg", LEGS, ids=str)
every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)
ABORT = {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}
BODY = "0123456789abcdef" * 2000

# id -> redirect, Host, target, Location; "~" is the path of the rule
REDIRECTS: dict[str, tuple[Document, str, str, str]] = {
    "M6 another scheme": ({"scheme": "https"}, "one.test", "~?q", "https://one.test~?q"),
    "M6 it takes the default port away": ({"scheme": "https"}, "one.test:80", "~", "https://one.test~"),
    "M6 and no other": ({"scheme": "https"}, "one.test:8080", "~", "https://one.test:8080~"),
    "M6 the same scheme keeps it": ({"scheme": "http", "uri": "/x"}, "one.test:80", "~", "http://one.test:80/x"),
    "M6 another host": ({"authority": "b.test"}, "one.test:8080", "~/x", "http://b.test~/x"),
    "M6 with a port of its own": ({"authority": "b.test:81"}, "one.test", "~", "http://b.test:81~"),
    "M7 a port": ({"port": 8443}, "one.test:8080", "~", "http://one.test:8443~"),
    "M7 a port after the host": ({"port": 8443, "authority": "b.test"}, "one.test", "~", "http://b.test:8443~"),
    "M7 80 under http": ({"port": 80, "authority": "b.test"}, "one.test", "~", "http://b.test~"),
    "M7 443 under https": ({"port": 443, "authority": "b.test", "scheme": "https"}, "one.test", "~", "https://b.test~"),
    "M7 80 under https": ({"port": 80, "authority": "b.test", "scheme": "https"}, "one.test", "~", "https://b.test:80~"),
    "M7 of the protocol": (
        {"derivePort": "FROM_PROTOCOL_DEFAULT", "authority": "b.test", "scheme": "https"}, "one.test", "~", "https://b.test~",
    ),
    "M8 another path": ({"uri": "/new"}, "one.test", "~/x?q=1", "http://one.test/new?q=1"),
    "M8 with a query of its own": ({"uri": "/new?own"}, "one.test", "~/x?q=1", "http://one.test/new?own"),
    "M8 without a slash": ({"uri": "new"}, "one.test", "~", "http://one.test/new"),
    "M8 another prefix": ({"prefixRewrite": "/new"}, "one.test", "~/x?q=1", "http://one.test/new/x?q=1"),
    "M8 an empty query": ({"uri": "/new"}, "one.test", "~?", "http://one.test/new?"),
}  # fmt: skip
CODES = (302, 303, 307, 308)

# id -> match, rewrite, target, what the upstream sees
REWRITES: dict[str, tuple[Document, Document, str, str]] = {
    "M11 a prefix": ({"prefix": "/m11/a"}, {"uri": "/new"}, "/m11/a/x?q=1", "/new/x?q=1"),
    "M11 nothing but it": ({"prefix": "/m11/b"}, {"uri": "/new"}, "/m11/b?q", "/new?q"),
    "M11 within a segment": ({"prefix": "/m11/c"}, {"uri": "/new"}, "/m11/cx", "/newx"),
    "M11 to the root": ({"prefix": "/m11/d"}, {"uri": "/"}, "/m11/d/bar", "/bar"),
    "M11 to the root with a slash": ({"prefix": "/m11/e/"}, {"uri": "/"}, "/m11/e/bar", "/bar"),
    "M11 the path as it was normalised": ({"prefix": "/m11/f"}, {"uri": "/new"}, "/m11/./f/%61", "/new/a"),
    "M12 exact": ({"exact": "/m12/a"}, {"uri": "/new"}, "/m12/a?q", "/new?q"),
    "M12 regex": ({"regex": "/m12/b/.*"}, {"uri": "/new"}, "/m12/b/x/y?q", "/new?q"),
    "M13 whatever the case": ({"prefix": "/m13/Any"}, {"uri": "/new"}, "/M13/aNy/X", "/new/X"),
    "M14 every match": (
        {"prefix": "/m14/a"}, {"uriRegexRewrite": {"match": "o", "rewrite": "0"}}, "/m14/a/foo/o?o=o", "/m14/a/f00/0?o=o",
    ),
    "M14 groups": (
        {"prefix": "/m14/b"}, {"uriRegexRewrite": {"match": "^/m14/b/([^/]+)/([^/]+)$", "rewrite": r"/\2/of/\1"}},
        "/m14/b/x/y?q", "/y/of/x?q",
    ),
    "M14 nothing matches": ({"prefix": "/m14/c"}, {"uriRegexRewrite": {"match": "^/x$", "rewrite": "/y"}}, "/m14/c", "/m14/c"),
    "M14 nothing is left": (
        {"prefix": "/m14/d"}, {"uriRegexRewrite": {"match": "^/m14/d/x(.*)$", "rewrite": r"\1"}}, "/m14/d/x?q", "/m14/d/x?q",
    ),
}  # fmt: skip


def path_of(number: int) -> str:
    return f"/redirect/{number}n"


def rules(service: str) -> list[Document]:
    target = to(service)
    moved = [rule(path_of(number), redirect=case[0]) for number, case in enumerate(REDIRECTS.values())]
    text, binary = {"string": BODY}, {"bytes": base64.b64encode(bytes(range(256))).decode()}
    mirror = {"host": "mirror", "port": {"number": 8080}}
    changed = {"headers": {"response": {"set": {"content-type": "application/json"}, "add": {"x-more": "1"}}}}
    return [
        *moved,
        *(rule(f"/code/{code}", redirect={"uri": "/x", "redirectCode": code}) for code in CODES),
        rule("/code/305", redirect={"uri": "/x", "redirectCode": 305}),
        rule("/direct/text", directResponse={"status": 418, "body": text}),
        rule("/direct/bytes", directResponse={"status": 200, "body": binary}, **changed),
        rule("/direct/empty", directResponse={"status": 503}),
        *({"match": [match_of(case[0])], "rewrite": case[1], "route": target} for case in REWRITES.values()),
        rule("/host", rewrite={"authority": "direct.test", "uri": "/elsewhere"}, route=target, mirror=mirror),
        rule("/", route=target),
    ]


def match_of(uri: Document) -> Document:
    return {"uri": uri, **({"ignoreUriCase": True} if "/m13/" in str(uri) else {})}


def documents(_: dict[str, ScriptedOrigin]) -> list[Document]:
    secure = {"httpsRedirect": True}
    hosts = ["secure.test", "bare.test", "*.wild.test", "default/named.test"]
    mixed = gateway_of("mixed", [http_server(["mixed.test", "plain.test"], port=82)])
    return [
        *both(rules),
        virtual_service("direct", ["direct.test"], [rule("/", directResponse={"status": 410})]),
        gateway_of("secure", [http_server(hosts, port=81, tls=secure)]),
        mixed,
        gateway_of("mixed-secure", [http_server(["mixed.test"], port=82, tls=secure)]),
        virtual_service("aborted", ["secure.test"], [rule("/", fault=ABORT, route=to("one"))], gateways=["secure"]),
        virtual_service("mixed", ["mixed.test", "plain.test"], [rule("/", route=to("one"))], gateways=["mixed", "mixed-secure"]),
    ]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("actions"), documents, "mirror", ports=(80, 81, 82)) as running:
        yield running


# --- httpsRedirect


@every_client
@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("secure.test", "https://secure.test/a/b?c=d&e"),
        ("Secure.test:8080", "https://Secure.test:8080/a/b?c=d&e"),
        ("bare.test", "https://bare.test/a/b?c=d&e"),
    ],
    ids=["M1-no-rule-is-looked-at", "M1-the-host-as-sent", "M1-without-a-VirtualService"],
)
def test_to_https(bench: Bench, client: Leg, host: str, location: str) -> None:
    answer = bench.ask(client, "/a/b?c=d&e", host=host, port=81)
    assert (answer.status, answer.values("location"), answer.body) == (301, [location], b"")


@every_client
def test_m3_one_server_that_redirects_is_enough(bench: Bench, client: Leg) -> None:
    assert bench.ask(client, "/", host="mixed.test", port=82).status == 301
    assert bench.ask(client, "/", host="plain.test", port=82).status == 200


@every_client
@pytest.mark.parametrize("host", ["any.wild.test", "a.b.wild.test", "named.test"])
def test_m4_wildcards_and_namespaces(bench: Bench, client: Leg, host: str) -> None:
    """A namespace before a host only says whose routes count; Istio never redirects such a host without a route."""
    assert bench.ask(client, "/", host=host, port=81).values("location") == [f"https://{host}/"]
    assert bench.ask(client, "/", host="wild.test", port=81).status == 404


def test_m5_https_itself_does_not_redirect(start_tls: StartTls, origin: Any, authority: Authority) -> None:
    documents = [gateway_of("gw", [https_server([PLAIN], "web", httpsRedirect=True)]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", authority.issue(PLAIN)))
    known = ["--cacert", world.ca_file(), "--resolve", f"{PLAIN}:{world.port}:127.0.0.1", f"https://{PLAIN}:{world.port}/"]
    for version in ("--http1.1", "--http2"):
        assert curl(version, *known).status == 200


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A proxy that may have ended TLS stands in front."""

    def documents(_: dict[str, ScriptedOrigin]) -> list[Document]:
        hosts = ["one.test", "two.test"]
        secure = gateway_of("secure", [http_server(hosts, port=81, tls={"httpsRedirect": True})])
        return [secure, *both(lambda service: [rule("/", route=to(service))], gateways=["gw", "secure"])]

    folder = tmp_path_factory.mktemp("behind")
    with running_bench(folder, documents, ports=(80, 81), settings={"trusted-hops": 1}) as running:
        yield running


@every_leg
def test_m2_what_a_trusted_proxy_says_of_the_scheme_counts(behind: Bench, leg: Leg) -> None:
    assert behind.ask(leg, "/", "X-Forwarded-Proto: https", port=81).status == 200
    for fields in ([], ["X-Forwarded-Proto: http"]):
        assert behind.ask(leg, "/", *fields, port=81).value("location") == f"https://{leg.host}/"


@every_client
def test_m2_which_nobody_else_may_say(bench: Bench, client: Leg) -> None:
    assert bench.ask(client, "/", "X-Forwarded-Proto: https", host="secure.test", port=81).status == 301


# --- redirect


@every_client
@pytest.mark.parametrize("number", range(len(REDIRECTS)), ids=[name.replace(" ", "-") for name in REDIRECTS])
def test_redirect(bench: Bench, client: Leg, number: int) -> None:
    _, host, target, location = list(REDIRECTS.values())[number]
    path = path_of(number)
    answer = bench.ask(client, target.replace("~", path), host=host)
    assert (answer.status, answer.values("location"), answer.body) == (301, [location.replace("~", path)], b"")


@every_client
def test_m7_the_port_that_was_asked(bench: Bench, client: Leg) -> None:
    """FROM_REQUEST_PORT is in test_local_actions.py. Here: nothing is appended unless a port is asked for."""
    path = path_of(list(REDIRECTS).index("M6 another host"))
    assert bench.ask(client, path, host="one.test:9999").value("location") == f"http://b.test{path}"


@every_client
def test_m9_statuses(bench: Bench, client: Leg) -> None:
    assert [bench.ask(client, f"/code/{code}").status for code in CODES] == list(CODES)
    answer = bench.ask(client, "/code/305")
    assert (answer.status, answer.values("location")) == (503, []), "Istio serves nothing there, either"


# --- directResponse


@every_client
def test_m10_answers_without_an_upstream(bench: Bench, client: Leg) -> None:
    text, binary, empty = (bench.ask(client, f"/direct/{name}") for name in ("text", "bytes", "empty"))
    assert (text.status, text.body.decode(), text.values("content-type")) == (418, BODY, ["text/plain"])
    assert (binary.status, binary.body, binary.values("content-type")) == (200, bytes(range(256)), ["application/json"])
    assert (empty.status, empty.body, empty.values("content-type"), binary.value("x-more")) == (503, b"", [], "1")
    bare = bench.ask(client, "/direct/text", method="HEAD")
    assert (bare.status, bare.body, bare.value("content-length")) == (418, b"", str(len(BODY)))


# --- rewrite


@every_leg
@pytest.mark.parametrize("name", REWRITES, ids=[name.replace(" ", "-") for name in REWRITES])
def test_rewrite(bench: Bench, leg: Leg, name: str) -> None:
    _, _, target, wanted = REWRITES[name]
    asked = bench.seen(leg, target)
    assert asked.target == wanted
    original = {"/m11/./f/%61": "/m11/f/a", "/m14/d/x?q": None}.get(target, target)
    assert asked.value("x-envoy-original-path") == original, "the path that was matched, unless nothing was rewritten"


@every_leg
def test_m15_m16_another_host_and_what_a_mirror_sees(bench: Bench, leg: Leg) -> None:
    """M15: direct.test has a route of its own, which is not asked."""
    mirror = bench.others["mirror"]
    mark = mirror.mark()
    asked = bench.seen(leg, "/host/x?q")
    eventually(lambda: len(mirror.since(mark)) == 1, "the copy")
    for message in (asked, *mirror.since(mark)):
        assert (message.target, message.value("host")) == ("/elsewhere/x?q", "direct.test")
