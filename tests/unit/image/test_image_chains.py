"""Chains by server name and by the host of a request: the C matcher and the independent reader, statement by statement."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_builders import rule, vhost
from image_plans import HOSTS, plan_chain, some_secure_plan

from fastgw.image.matcher import Matcher
from fastgw.image.numbers import StateNumbers
from fastgw.image.reader import ImageReader
from fastgw.image.writer import write_image
from fastgw.model.plan import Action, Chain, Listener, Plan, RouteTable, TlsContext, WeightedDestination

PAIR = TlsContext("default/gw#0", ("kubernetes://istio-system/pair",))
MUTUAL = TlsContext("default/gw#2", ("kubernetes://istio-system/pair",), "kubernetes://istio-system/pair-cacert", "require")
OTHER = TlsContext("default/gw#3", ("kubernetes://istio-system/other",))
TO_A = Action("route", (WeightedDestination("outbound|443||a.example", 1),))


def http(name: str, context: TlsContext, *server_names: str) -> Chain:
    return Chain(name, "http", "terminate", server_names, name, tls_context=context)


CHAINS = [
    http("https.shop", PAIR, "shop.com", "*.shop.com"),
    http("https.api", PAIR, "api.com"),
    http("https.admin", MUTUAL, "admin.com", "admin.shop.com"),
    http("https.other", OTHER, "other.com"),
    Chain("tls.pass", "tcp", "passthrough", ("pass.com", "*.pass.com"), action=TO_A),
    Chain("tls.tcp", "tcp", "terminate", ("tcp.com",), action=TO_A, tls_context=PAIR),
    Chain("http.443", "http", "none", route_table="http.443"),
]


def written(chains: list[Chain]) -> bytes:
    tables = {c.route_table: RouteTable(c.route_table, [vhost(["*"], rule(c.name))]) for c in chains if c.route_table}
    return write_image(Plan([Listener("0.0.0.0_443", "", 443, "TLS", [], chains)], tables), StateNumbers(), 1)


@pytest.fixture(scope="module")
def data() -> bytes:
    return written(CHAINS)


@pytest.mark.parametrize(
    ("sni", "chain"),
    [
        ("shop.com", "https.shop"),
        ("SHOP.com", "https.shop"),
        ("a.b.shop.com", "https.shop"),
        ("admin.shop.com", "https.admin"),
        ("x.admin.shop.com", "https.shop"),
        ("q.pass.com", "tls.pass"),
        ("nobody.com", None),
        ("", None),
    ],
)
def test_p1_p2_chains_by_server_name(data: bytes, sni: str, chain: str | None) -> None:
    matcher, reader = Matcher(data), ImageReader(data)
    found = matcher.chain_of_sni(0, sni.encode())
    assert found == reader.chain_of_sni(0, sni.encode())
    assert (None if found is None else reader.text(reader.row("chains", found), "name")) == chain


@pytest.mark.parametrize(
    ("host", "owner", "table"),
    [
        ("shop.com", "self", "https.shop"),
        ("X.shop.com", "self", "https.shop"),
        ("api.com", "twin", "https.api"),
        ("admin.com", "other", None),
        ("admin.shop.com", "other", None),
        ("other.com", "other", None),
        ("pass.com", "other", None),
        ("tcp.com", "other", None),
        ("nobody.com", "none", None),
        ("shop.com.", "none", None),
        ("", "none", None),
    ],
)
def test_g5_whose_a_host_is(data: bytes, host: str, owner: str, table: str | None) -> None:
    matcher, reader = Matcher(data), ImageReader(data)
    chain = matcher.chain(0, "https.shop")
    assert chain is not None
    found = matcher.request_table(0, chain, host.encode())
    assert found == reader.request_table(0, chain, host.encode())
    name = None if found[1] is None else reader.text(reader.row("route_tables", found[1]), "name")
    assert (found[0], name) == (owner, table)


def test_g5_nothing_leads_to_or_from_a_server_that_asks_for_certificates(data: bytes) -> None:
    matcher = Matcher(data)
    chain = matcher.chain(0, "https.admin")
    assert chain is not None
    owners = [matcher.request_table(0, chain, host)[0] for host in (b"admin.com", b"shop.com", b"api.com")]
    assert owners == ["self", "other", "other"]


def test_g5_requests_in_plain_text_are_not_misdirected(data: bytes) -> None:
    matcher = Matcher(data)
    chain = matcher.chain(0, "http.443")
    assert chain is not None
    assert matcher.request_table(0, chain, b"admin.com") == ("self", matcher.plain_table(0))


def test_g5_a_server_for_every_host_owns_what_no_other_owns() -> None:
    chains = [http("https.any", PAIR, "*"), http("https.shop", PAIR, "shop.com"), http("https.x", OTHER, "x.com")]
    matcher = Matcher(written(chains))
    own = matcher.chain(0, "https.any")
    assert own is not None
    owners = [matcher.request_table(0, own, host)[0] for host in (b"", b"nobody.com", b"shop.com", b"x.com")]
    assert owners == ["self", "self", "twin", "other"]


def compare(random: Random) -> Counter[str]:
    """One random plan: C, the independent reader and a naive reading of the Plan say the same of each name."""
    plan = some_secure_plan(random)
    data = write_image(plan, StateNumbers(), 1)
    matcher, reader = Matcher(data), ImageReader(data)
    index = matcher.listener("0.0.0.0_443")
    assert index is not None and index == reader.listener("0.0.0.0_443")
    listener, seen = plan.listeners[1], Counter[str]()
    for name in HOSTS:
        found = matcher.chain_of_sni(index, name.encode())
        assert found == reader.chain_of_sni(index, name.encode())
        wanted = plan_chain(listener, name)
        assert found == (None if wanted is None else matcher.chain(index, wanted.name))
    for own in listener.chains:
        number = matcher.chain(index, own.name)
        assert number is not None and reader.text(reader.row("chains", number), "name") == own.name
        for host in HOSTS if own.kind == "http" else ():
            whose = matcher.request_table(index, number, host.encode())
            assert whose == reader.request_table(index, number, host.encode())
            assert whose[0] == naive_owner(listener, own, host)
            seen[whose[0]] += 1
    return seen


def naive_owner(listener: Listener, own: Chain, host: str) -> str:
    if own.tls == "none":
        return "self"
    owner = plan_chain(listener, host)
    if owner is None or owner is own:
        return "none" if owner is None else "self"
    one, other = own.tls_context, owner.tls_context
    if one is None or other is None or owner.kind != "http":
        return "other"
    asked = ("certificates", "client_auth", "ca", "sans", "spki", "hashes")
    return "twin" if all(getattr(one, field) == getattr(other, field) for field in asked) else "other"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_random_chains_agree(random: Random) -> None:
    compare(random)


def test_seeded_chains_agree_and_cover_every_owner() -> None:
    random, seen = Random(7), Counter[str]()
    for _ in range(60):
        seen += compare(random)
    assert set(seen) == {"self", "twin", "other", "none"}
