"""Consistent hashing: rings, Maglev tables, rendezvous; who moves when an endpoint leaves; the keys of requests."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from balance_support import World, addresses
from hypothesis import given, settings
from hypothesis import strategies as st
from image_builders import request

from fastgw.image.layout import ffi, lib
from fastgw.image.matcher import RouteRequest, c_request_of
from fastgw.model.plan import Endpoint, HashKey, Policy

KEYS = [Random(i).getrandbits(64) for i in range(20_000)]
BY_HEADER = Policy(hash_key=HashKey("header", "x-user"))
BOTH = pytest.mark.parametrize("lb", ["ring_hash", "maglev"])


def moved(before: list[str | None], after: list[str | None]) -> float:
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)


@BOTH
@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_few_keys_move_when_an_endpoint_leaves(lb: str, count: int) -> None:
    """Of the ring at most 1.3/n of the keys; a Maglev table moves a few of the others as well."""
    endpoints = addresses(count)
    world = World(endpoints, lb, BY_HEADER)
    before = world.places_of(KEYS)
    gone = endpoints.pop(count // 2)
    world.use(endpoints, lb, BY_HEADER)
    after = world.places_of(KEYS)
    assert moved(before, after) <= (1.3 if lb == "ring_hash" else 1.6) / count
    if lb == "ring_hash":
        assert all(a == b for a, b in zip(before, after, strict=True) if a != gone.address)


@BOTH
def test_an_ejected_endpoint_loses_its_keys_only_as_long_as_it_is(lb: str) -> None:
    world = World(addresses(10), lb, BY_HEADER)
    before = world.places_of(KEYS)
    world.cell(3).flags = lib.FGW_CELL_EJECTED
    during = world.places_of(KEYS)
    own = world.endpoints[3].address
    assert own not in during
    assert all(a == b for a, b in zip(before, during, strict=True) if a != own)
    assert len(Counter(b for a, b in zip(before, during, strict=True) if a == own)) == 9, "all others help out"
    world.cell(3).flags = 0
    assert world.places_of(KEYS) == before


@BOTH
def test_shares_are_even_and_follow_weights(lb: str) -> None:
    found = Counter(World(addresses(8), lb, BY_HEADER).places_of(KEYS))
    assert max(found.values()) / min(found.values()) < 1.6
    weighted = [Endpoint("10.0.0.1", 80, 1), Endpoint("10.0.0.2", 80, 2), Endpoint("10.0.0.3", 80, 7)]
    shares = Counter(World(weighted, lb, BY_HEADER).places_of(KEYS))
    assert [shares[each.address] / len(KEYS) for each in weighted] == pytest.approx([0.1, 0.2, 0.7], abs=0.05)


@BOTH
def test_the_order_of_the_list_and_of_generations_is_of_no_account(lb: str) -> None:
    """So workers, restarts and other gateways with the same endpoints agree."""
    world = World(addresses(9), lb, BY_HEADER)
    other = World(list(reversed(addresses(9))), lb, BY_HEADER, seed=99)
    other.use(addresses(30), lb, BY_HEADER)
    other.use(sorted(addresses(9), key=lambda each: each.address[::-1]), lb, BY_HEADER)
    assert world.places_of(KEYS) == other.places_of(KEYS)


@BOTH
def test_without_a_key_any_endpoint_will_do(lb: str) -> None:
    world = World(addresses(5), lb, BY_HEADER)
    found = Counter(world.pick() for _ in range(2000))
    assert set(found) == set(range(5)) and min(found.values()) > 300


def test_minimum_ring_size_makes_a_larger_ring() -> None:
    assert World(addresses(4), "ring_hash", BY_HEADER).cluster.ring.count == 1024
    assert World(addresses(4), "ring_hash", Policy(hash_key=BY_HEADER.hash_key, ring_size=8192)).cluster.ring.count == 8192
    assert World(addresses(50), "ring_hash", BY_HEADER).cluster.ring.count == 50 * 256
    assert World(addresses(5), "maglev", Policy(hash_key=BY_HEADER.hash_key, table_size=101)).cluster.maglev.count == 101


def test_a_ring_never_grows_beyond_a_million_points() -> None:
    huge = Policy(hash_key=BY_HEADER.hash_key, ring_size=8_000_000)
    assert 900_000 < World(addresses(40), "ring_hash", huge).cluster.ring.count <= 1 << 20


@given(st.lists(st.integers(1, 200), min_size=1, max_size=12), st.integers(0, 2**64 - 1))
@settings(max_examples=40, deadline=None)
def test_every_key_has_an_endpoint_as_long_as_one_is_left(weights: list[int], key: int) -> None:
    for lb in ("ring_hash", "maglev"):
        policy = Policy(hash_key=BY_HEADER.hash_key, table_size=1009)
        world = World([Endpoint("10.0.0.1", 80 + i, weight) for i, weight in enumerate(weights)], lb, policy)
        for left in range(len(weights), 0, -1):
            found = world.pick(key)
            assert found is not None and not world.cell(found).flags, left
            world.cell(found).flags = lib.FGW_CELL_EJECTED
        assert world.pick(key) is None


def resolved(world: World, hosts: list[int]) -> None:
    slot = ffi.new("fgw_dns_slot *")
    slot.status, slot.count = lib.FGW_DNS_OK, len(hosts)
    for i, host in enumerate(hosts):
        slot.addresses[i].family, slot.addresses[i].port, slot.addresses[i].weight = lib.FGW_FAMILY_IPV4, 80, 1
        slot.addresses[i].cell, slot.addresses[i].endpoint = 200_000 + host, 0
        slot.addresses[i].ip[0:4] = [10, 1, 0, host]
    lib.fgw_dns_write(ffi.addressof(world.state.dns[world.cluster.dns_slot]), slot)


def test_addresses_of_a_name_keep_their_keys_in_whatever_order_dns_gives_them() -> None:
    world = World([Endpoint("name.example", 80, lookup="all")], "ring_hash", BY_HEADER)
    keys = KEYS[:5000]
    assert world.pick(1) is None

    def hosts(order: list[int]) -> list[int]:
        resolved(world, order)
        return [order[(world.pick(key) or 0) - 1] for key in keys]

    before = hosts([1, 2, 3, 4, 5])
    assert hosts([5, 3, 1, 4, 2]) == before
    after = hosts([5, 3, 1, 4])
    assert all(a == b for a, b in zip(before, after, strict=True) if a != 2)
    assert before.count(2) / len(keys) < 1.3 / 5


# --- keys ---


def key_of(policy: HashKey, wanted: RouteRequest, source_ip: str = "10.9.8.7") -> int | None:
    world = World(addresses(1), "ring_hash", Policy(hash_key=policy))
    described, _alive = c_request_of(wanted)
    key, raw = ffi.new("uint64_t *"), source_ip.encode()
    return int(key[0]) if lib.fgw_hash_key(world.data, world.policy, described, raw, len(raw), key) else None


def xxh(text: bytes, seed: int = 0) -> int:
    return int(lib.fgw_hash64(text, len(text), seed))


def test_a_header_is_the_key() -> None:
    by = HashKey("header", "x-user")
    assert key_of(by, request(X_User="ann")) == xxh(b"ann")
    assert key_of(by, request(X_Other="ann")) is None
    twice = RouteRequest(b"a.com", b"/", None, b"GET", headers=((b"x-user", b"a"), (b"x-user", b"b")))
    assert key_of(by, twice) == xxh(b"b", xxh(b"a"))
    assert key_of(HashKey("header", "user-agent"), request(User_Agent="curl")) == xxh(b"curl")
    assert key_of(HashKey("header", "host"), request(host="a.com")) == xxh(b"a.com")


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ("who=ann", b"ann"),
        ('who="ann"', b"ann"),
        ("a=b;  who=ann ; c=d", b"ann"),
        ("who=", None),
        ("nowho=1; who", None),
        ("who=1; who=2", b"1"),
        ('who="', b'"'),
        ("", None),
    ],
)
def test_a_cookie_is_the_key(cookies: str, value: bytes | None) -> None:
    assert key_of(HashKey("cookie", "who"), request(cookie=cookies)) == (None if value is None else xxh(value))


@pytest.mark.parametrize(("query", "value"), [("u=1&u=2", b"1"), ("a&u=%31&b", b"%31"), ("u", b""), ("uu=1", None), (None, None)])
def test_the_first_query_parameter_is_the_key(query: str | None, value: bytes | None) -> None:
    assert key_of(HashKey("query", "u"), request(query=query)) == (None if value is None else xxh(value))


def test_the_source_address_is_the_key() -> None:
    assert key_of(HashKey("source_ip"), request(), "1.2.3.4") == xxh(b"1.2.3.4")


def test_a_cookie_that_is_given_leads_to_the_same_endpoint_when_it_comes_back() -> None:
    by = HashKey("cookie", "who", "; Max-Age=60; Path=/; HttpOnly")
    world = World(addresses(10), "ring_hash", Policy(hash_key=by))
    text, key = ffi.new("char[]", lib.FGW_HASH_COOKIE_MAX), ffi.new("uint64_t *")
    length = lib.fgw_hash_new_cookie(world.data, world.policy, 0x0123456789ABCDEF, text, key)
    given_text = bytes(ffi.buffer(text, length)).decode()
    assert given_text == 'who="0123456789abcdef"; Max-Age=60; Path=/; HttpOnly'
    assert key_of(by, request(cookie=given_text.partition(";")[0])) == key[0]
