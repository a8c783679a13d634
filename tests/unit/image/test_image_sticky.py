"""Sticky destinations: the hash, the key in a request, the choice, and how few clients move when weights change."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_builders import image, request, rule, vhost

from fastgw.image.layout import ImageError, ffi, lib
from fastgw.image.matcher import Matcher, RouteRequest
from fastgw.model.plan import Action, Sticky, WeightedDestination

KEYS = [Random(i).getrandbits(64) for i in range(4000)]
BY_COOKIE = Sticky("cookie", "version")


def sticky_image(weights: dict[str, int] | list[tuple[str, int]], sticky: Sticky = BY_COOKIE) -> bytes:
    pairs = weights.items() if isinstance(weights, dict) else weights
    destinations = tuple(WeightedDestination(name, weight) for name, weight in pairs)
    return image(vhost(["a.com"], rule("split", action=Action("route", destinations, sticky=sticky))))


def choices(weights: dict[str, int], keys: list[int]) -> list[str]:
    """The destination of each key."""
    data, names = ffi.from_buffer(sticky_image(weights)), [name for name, weight in weights.items() if weight]
    return [names[lib.fgw_sticky_pick(data, 0, key)] for key in keys]


def key_of(data: bytes, wanted: RouteRequest, source_ip: str = "10.0.0.1") -> int | None:
    return Matcher(data).sticky_key(0, wanted, source_ip)


# --- the hash ---


@pytest.mark.parametrize(
    ("text", "seed", "value"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"", 1, 0xD5AFBA1336A3BE4B),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"abcdefgh", 7, 0x1561B8F75328FE71),
        (b"x" * 31, 0, 0x60DD0D01083B99F0),
        (b"y" * 32, 0, 0x64DA1F1D3495CE66),
        (bytes(range(65, 97)) + b"12345", 2654435761, 0xE6ADC316E4EE9137),
        (b"z" * 100, 0, 0xD30E21C99C2A766D),
    ],
)
def test_the_hash_is_xxh64(text: bytes, seed: int, value: int) -> None:
    assert lib.fgw_hash64(text, len(text), seed) == value


# --- the choice ---


@pytest.mark.parametrize("weights", [{"v1": 50, "v2": 50}, {"v1": 90, "v2": 10}, {"v1": 1, "v2": 2, "v3": 7}, {"v1": 999, "v2": 1}])
def test_each_destination_gets_its_share(weights: dict[str, int]) -> None:
    keys = [Random(i).getrandbits(64) for i in range(20_000)]
    found, total = Counter(choices(weights, keys)), sum(weights.values())
    for name, weight in weights.items():
        share = weight / total
        deviation = (share * (1 - share) / len(keys)) ** 0.5
        assert abs(found[name] / len(keys) - share) < 5 * deviation, found


def test_the_choice_never_changes() -> None:
    """Clients live through releases of the gateway and move between machines: these answers are a promise."""
    keys = [0, 1, 2, 3, 0xFFFFFFFFFFFFFFFF, 0x0123456789ABCDEF]
    found = choices({"outbound|80|v1|a.example": 70, "outbound|80|v2|a.example": 30}, keys)
    assert [name.split("|")[2] for name in found] == ["v1", "v1", "v2", "v2", "v2", "v1"]


def test_the_smallest_logarithm_by_weight_wins() -> None:
    """The same in floating point."""
    weights = {"v1": 5, "v2": 300, "v3": 70_000}

    def draw(name: str, key: int) -> float:
        seed = lib.fgw_hash64(name.encode(), len(name), 0)
        return -math.log2((lib.fgw_hash64(key.to_bytes(8, "little"), 8, seed) + 1) / 2**64) / weights[name]

    assert choices(weights, KEYS) == [min(weights, key=lambda name: draw(name, key)) for key in KEYS]


def test_the_order_of_destinations_is_of_no_account() -> None:
    weights = {"v1": 5, "v2": 3, "v3": 2}
    assert choices(weights, KEYS) == choices(dict(reversed(weights.items())), KEYS)


def test_two_entries_with_one_name_add_up() -> None:
    data = ffi.from_buffer(sticky_image([("v1", 1), ("v1", 1), ("v2", 2)]))
    found = Counter(lib.fgw_sticky_pick(data, 0, key) for key in KEYS)
    assert all(abs(found[i] / len(KEYS) - share) < 0.05 for i, share in enumerate((0.25, 0.25, 0.5))), found


WEIGHTS = st.dictionaries(st.sampled_from(["v1", "v2", "v3", "v4", "v5"]), st.integers(0, 1000), min_size=2).filter(
    lambda weights: sum(1 for weight in weights.values() if weight) >= 2
)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.data())
def test_raising_a_weight_moves_clients_to_it_only(weights: dict[str, int], data: st.DataObject) -> None:
    raised = data.draw(st.sampled_from(sorted(weights)))
    after = {**weights, raised: weights[raised] + data.draw(st.integers(1, 1000))}
    keys = KEYS[:1500]
    moved = [(old, new) for old, new in zip(choices(weights, keys), choices(after, keys), strict=True) if old != new]
    assert {new for _, new in moved} <= {raised}
    needed = after[raised] / sum(after.values()) - weights[raised] / sum(weights.values())
    assert abs(len(moved) / len(keys) - needed) < 0.07


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.integers(0, 100))
def test_a_canary_moves_no_more_clients_than_its_share_changes(before: int, after: int) -> None:
    """Percentages as people write them: both weights change, and still everybody who moves goes the same way."""
    old, new = (choices({"stable": 100 - share, "canary": share}, KEYS[:1500]) for share in (before, after))
    moved = Counter(pair for pair in zip(old, new, strict=True) if pair[0] != pair[1])
    assert len(moved) <= 1
    assert abs(sum(moved.values()) / 1500 - abs(after - before) / 100) < 0.07


@settings(max_examples=40, deadline=None)
@given(WEIGHTS, WEIGHTS)
def test_any_change_of_weights_moves_little_more_than_it_must(old: dict[str, int], new: dict[str, int]) -> None:
    """At most twice the least possible, whatever the change: draws of others do not depend on it."""
    keys = KEYS[:1500]
    moved = sum(a != b for a, b in zip(choices(old, keys), choices(new, keys), strict=True)) / len(keys)
    shares = [{name: weight / sum(weights.values()) for name, weight in weights.items()} for weights in (old, new)]
    least = sum(abs(shares[0].get(name, 0) - shares[1].get(name, 0)) for name in {*old, *new}) / 2
    assert moved < 2 * least + 0.07


# --- the key ---


@pytest.mark.parametrize(
    ("cookie", "key"),
    [
        ("version=0123456789abcdef", 0x0123456789ABCDEF),
        ("a=b; version=00000000000000ff; c=d", 0xFF),
        ("a=b;version=00000000000000ff ;c", 0xFF),
        ("version=v2; version=0000000000000001", 1),
        ("version=; version=0000000000000001", 1),
        ("", None),
        ("version", None),
        ("version=", None),
        ("version=v2", None),
        ("version=0123456789ABCDEF", None),
        ("version=0123456789abcdef0", None),
        ("version=0123456789abcdeg", None),
        ("xversion=0123456789abcdef", None),
        ("Version=0123456789abcdef", None),
        ('version="0123456789abcdef"', None),
        (";;; ;=; version=", None),
    ],
)
def test_only_a_value_of_the_gateways_making_is_a_key(cookie: str, key: int | None) -> None:
    assert key_of(sticky_image({"v1": 1, "v2": 1}), request(cookie=cookie)) == key


def test_a_header_is_known_by_all_its_values() -> None:
    data = sticky_image({"v1": 1, "v2": 1}, Sticky("header", "x-user"))
    fields = [(), (b"a",), (b"b",), (b"",), (b"a", b"b"), (b"b", b"a"), (b"ab",), (b"a", b"")]
    keys = [key_of(data, RouteRequest(b"a.com", b"/", headers=tuple((b"X-User", value) for value in values))) for values in fields]
    assert keys[0] is None
    assert None not in keys[1:] and len(set(keys)) == len(fields)


def test_a_known_header_and_one_that_looks_like_it() -> None:
    data = sticky_image({"v1": 1, "v2": 1}, Sticky("header", "user-agent"))
    assert key_of(data, request(user_agent="x")) is not None
    assert key_of(data, request(user_agen="x")) is None


def test_the_source_address_is_the_key() -> None:
    data = sticky_image({"v1": 1, "v2": 1}, Sticky("source_ip"))
    assert key_of(data, request(), "10.0.0.1") == key_of(data, request("/other"), "10.0.0.1") != key_of(data, request(), "10.0.0.2")
    assert key_of(data, request(), "") is None


def test_no_key_without_the_wish() -> None:
    data = image(vhost(["a.com"], rule("plain")))
    assert key_of(data, request(cookie="version=0123456789abcdef")) is None


# --- the cookie ---


@pytest.mark.parametrize(
    ("ttl_s", "text"),
    [
        (None, "version=00000000000000ff; Path=/; HttpOnly; SameSite=Lax"),
        (3600, "version=00000000000000ff; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_what_a_client_is_given(ttl_s: int | None, text: str) -> None:
    assert set_cookie(sticky_image({"v1": 1, "v2": 1}, Sticky("cookie", "version", ttl_s)), 0xFF) == text


def test_the_longest_cookie_fits() -> None:
    longest = set_cookie(sticky_image({"v1": 1, "v2": 1}, Sticky("cookie", "n" * 128, 0xFFFFFFFE)), 2**64 - 1)
    assert len(longest) <= lib.FGW_SET_COOKIE_MAX


def test_a_longer_name_is_refused() -> None:
    with pytest.raises(ImageError, match="129 bytes"):
        sticky_image({"v1": 1, "v2": 1}, Sticky("cookie", "n" * 129))


@given(st.integers(0, 2**64 - 1))
def test_the_cookie_brings_its_key_back(key: int) -> None:
    data = sticky_image({"v1": 1, "v2": 1})
    assert key_of(data, request(cookie=set_cookie(data, key).partition(";")[0])) == key


def set_cookie(data: bytes, key: int) -> str:
    out = ffi.new("char[]", lib.FGW_SET_COOKIE_MAX + 1)
    out[lib.FGW_SET_COOKIE_MAX] = b"\x7f"
    length = lib.fgw_sticky_set_cookie(ffi.from_buffer(data), 0, key, out)
    assert out[lib.FGW_SET_COOKIE_MAX] == b"\x7f"
    return bytes(ffi.buffer(out, length)).decode()


# --- with the matcher ---


def test_matcher_says_which_destination_a_client_keeps() -> None:
    data = sticky_image({"v1": 1, "v2": 1})
    matcher = Matcher(data)
    kept = [matcher.sticky_destination(0, request(cookie=f"version={key:016x}"), "") for key in KEYS[:50]]
    assert set(kept) == {0, 1}
    assert matcher.sticky_destination(0, request(), "") is None
