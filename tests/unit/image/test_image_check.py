"""A damaged image is refused, or, where the damage cannot be seen, harmless: matching stays in bounds and ends.

The image lies directly before a page that cannot be touched, so that a read behind its end kills the test.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import struct
from random import Random

import msgspec
import pytest
from image_builders import image, rule, vhost
from image_plans import HOSTS, some_plan, some_request, some_secure_plan

from fastgw.image.layout import HEADER, TABLES, ImageError, Record, ffi, lib
from fastgw.image.matcher import Matcher, c_request_of
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.plan import (
    Action,
    Cors,
    DirectResponse,
    Edits,
    ErrorPage,
    Fault,
    Guards,
    HeaderEdit,
    MirrorTarget,
    PathMatch,
    Plan,
    Predicate,
    RateKey,
    RateLimit,
    Redirect,
    Retries,
    Rewrite,
    RoutePolicy,
    SourceList,
    WeightedDestination,
)
from fastgw.model.values import Part

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


_HEADER_OF_STATE = ffi.new("char[]", ffi.offsetof("fgw_state", "cells"))
STATE = ffi.cast("fgw_state *", _HEADER_OF_STATE)
"""Keys of rate limits want the seed alone."""


class Guarded:
    """Room for ``size`` bytes whose end is the beginning of an inaccessible page."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = size
        self._start = -size % page
        total = self._start + size + page
        self._map = mmap.mmap(-1, total)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        assert _libc.mprotect(base + total - page, page, 0) == 0
        self.address = base + self._start

    def fill(self, data: bytes) -> object:
        self._map[self._start : self._start + self.size] = data
        return ffi.cast("char *", self.address)


def damaged(random: Random, data: bytes) -> bytes:
    """One to four fields changed to values that hurt: off by one, huge, NONE, a neighbour's."""
    out = bytearray(data)
    for _ in range(random.randint(1, 4)):
        width = random.choice([1, 1, 2, 4, 4, 4, 8])
        at = random.randrange(0, len(out) - width) // width * width
        if random.random() < 0.3:
            at = random.randrange(0, HEADER.size - width) // width * width
        old = int.from_bytes(out[at : at + width], "little")
        other = random.randrange(0, len(out) - width)
        values = [0, old + 1, old - 1, old ^ (1 << random.randrange(8 * width)), -1, random.getrandbits(8 * width), 1 << 31]
        values += [int.from_bytes(out[other : other + width], "little"), len(data), 0x80000000 | (old & 0xFF)]
        out[at : at + width] = (random.choice(values) % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(out)


def use(pointer: object, random: Random, plan: Plan) -> None:
    """Match requests on a checked image, and ask for every rule."""
    regexes = lib.fgw_regexes_open(pointer, ffi.NULL)
    result = ffi.new("fgw_route_result *")
    calls = lib.fgw_regexes_calls()
    header = ffi.cast("fgw_image_header *", pointer)
    address, named = ffi.new("fgw_ip *", [0, 0xFFFF0A000001]), ffi.new("int *")
    for _ in range(6):
        request, _alive = c_request_of(some_request(random, plan))
        for table in (*range(min(header.route_tables.count, 2)), lib.FGW_NONE):
            verdict = lib.fgw_route_match(pointer, table, request, 0, regexes, calls, result)
            assert verdict == result.verdict
            if verdict == lib.FGW_ROUTE_MATCH:
                assert result.rule < header.rules.count and result.action < header.actions.count
                keep_destination(pointer, result.action, request)
        for guard in range(header.guards.count):
            lib.fgw_guard_denies(pointer, guard, address, named)
        for limit in range(header.rate_limits.count):
            lib.fgw_rate_key(pointer, STATE, limit, request, address)
        for rule_index in range(min(header.rules.count, 30)):
            lib.fgw_rule_check(pointer, rule_index, request, regexes, calls)
    lib.fgw_listener_find(pointer, b"x", 1)
    lib.fgw_regexes_close(regexes)


def keep_destination(pointer: object, action: int, request: object) -> None:
    """What the data plane does with an action that has destinations to choose from."""
    table = ffi.cast("fgw_image_header *", pointer).actions
    record = ffi.cast("fgw_img_action *", ffi.cast("char *", pointer) + table.off) + action
    if record.kind != lib.FGW_ACTION_ROUTE:
        return
    key, out = ffi.new("uint64_t *"), ffi.new("char[]", lib.FGW_SET_COOKIE_MAX)
    lib.fgw_sticky_key(pointer, action, request, b"10.0.0.1", 8, key)
    assert lib.fgw_sticky_pick(pointer, action, key[0]) < record.destinations.count
    assert lib.fgw_sticky_set_cookie(pointer, action, key[0], out) <= lib.FGW_SET_COOKIE_MAX


@pytest.mark.parametrize("crowded", [False, True])
def test_damaged_images_are_refused_or_harmless(crowded: bool) -> None:
    random = Random(4)
    accepted = refused = 0
    for _ in range(25):
        plan = some_plan(random, crowded)
        data = write_image(plan, StateNumbers(), 1)
        room = Guarded(len(data))
        for _ in range(200):
            pointer = room.fill(damaged(random, data))
            if lib.fgw_image_check(pointer, len(data)) == 1:
                accepted += 1
                use(pointer, random, plan)
            else:
                refused += 1
    assert accepted > 100 and refused > 100, (accepted, refused)


def test_every_truncation_is_refused() -> None:
    data = image(vhost(["a.com"], rule("r")))
    for size in range(0, len(data), 8):
        room = Guarded(size)
        assert lib.fgw_image_check(room.fill(data[:size]), size) < 0


def put(data: bytes, field: str, value: int) -> bytes:
    record, names = HEADER, HEADER.names
    values = list(record.unpack_from(data))
    values[names.index(field)] = value
    return bytes(record.pack(*values)) + data[record.size :]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("magic", 1, "image_magic"),
        ("version", 99, "image_version"),
        ("header_bytes", 8, "image_version"),
        ("total_bytes", 1 << 40, "image_size"),
        ("rules.count", 1 << 20, "image_bounds"),
        ("strings.off", 4, "image_bounds"),
        ("rules.count", 0, "image_content"),
    ],
)
def test_the_reason_for_a_refusal(field: str, value: int, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        Matcher(put(image(vhost(["a.com"], rule("r"))), field, value))


MUST_BE_CHECKED = {
    "listeners": "name.off name.len bind.len port plain sni origin chains.off chains.count",
    "chains": "name.len kind tls tls_context route_table action virtual_service origin guard",
    "route_tables": "name.len vhosts.off vhosts.count pages.off pages.count hosts.exact.off hosts.exact.count"
    " hosts.suffix.off hosts.suffix.count hosts.default_value hosts.suffix_max",
    "vhosts": "name.len rules.off rules.count flags own_pages pages.off pages.count origin root_fold guard",
    "rules": "name.len path.len path_kind ignore_case predicate_count predicates regex action virtual_service origin",
    "predicates": "name.len value.len target op invert header_id regex",
    "actions": "kind sticky sticky_header_id total_weight destinations.off destinations.count sticky_name.len answer policy guard"
    " edits.request.off"
    " edits.request.count edits.response.off edits.response.count edits.authority.len",
    "destinations": "cluster weight cumulative_weight cluster_name.len edits.request.off edits.request.count edits.response.off"
    " edits.response.count edits.authority.len",
    "answers": "text.off text.len scheme.off scheme.len authority.off authority.len status new_path",
    "route_policies": "rewrite_text.len regex rewrite abort_status delay_per_million abort_per_million retry cors mirrors.off"
    " mirrors.count pages.off pages.count",
    "retries": "on avoid_tried other_localities",
    "cors": "origins.off origins.count allow_methods.len allow_headers.len expose_headers.len max_age.len credentials"
    " ignore_unmatched",
    "mirrors": "cluster per_million",
    "pages": "content_type.len body.len high",
    "guards": "sources.off sources.count rate_limits.off rate_limits.count rate_policies.len",
    "rate_limits": "name.len burst number keys.off keys.count",
    "rate_keys": "name.len kind header_id v4_bits v6_bits",
    "source_lists": "networks.off networks.len policy.len otherwise",
    "edits": "name.off name.len value.off value.count kind header_id",
    "parts": "code header_id other_id text.off text.len other.len",
    "clusters": "name.len host.len service_name.len service_namespace.len subset.len port discovery lb protocol weighted"
    " endpoints.off endpoints.count dns_slot ping_interval_ms ping_timeout_ms origin",
    "endpoints": "family flags cell path.len",
    "regexes": "pattern.len literal_prefix.len flags",
    "origins": "file.len kind.len name.len",
    "nodes": "first_child below at_end label_len children[0]",
    "lists": "first count group regex_set next",
    "groups": "target header_id name.len slots.off slots.count",
    "regex_sets": "members.off members.count target header_id name.off name.len",
}


SET_A = Edits(request=(HeaderEdit("set", "x-a", (Part("request_header", "a?b"), Part("text", "text"))),), authority="b.com")
KEYS = (RateKey("header", "x-key"), RateKey("source"))
GUARDS = Guards((SourceList("default/a", "10.0.0.0/8", "::1/128"),), 5, (RateLimit("default/a", "t", "limit", 1, 10**18, 1, KEYS),))
EDITED = Action("route", (WeightedDestination("outbound|80||a.example", 100, edits=SET_A),), edits=SET_A, guards=GUARDS)
POLICY = RoutePolicy(
    Rewrite("path", "/b"),
    1000,
    Retries(2, ("5xx",), ("UNAVAILABLE",), (409,)),
    Fault(1, 1, 503, None, 1),
    Cors((Predicate("header", "exact", "origin", "http://a"),), "GET"),
    (MirrorTarget("outbound|80||a.example", 1),),
    (ErrorPage(503, 503, "text/html", "<p>Busy"),),
)
WITH_POLICY = Action("route", EDITED.destinations, policy=POLICY)
REDIRECT = Action("redirect", redirect=Redirect(302, "https", "b.com", 8443, "replace", "/b"))
DIRECT = Action("direct_response", answer=DirectResponse(200, b"hello"))
CHECKED_FIELDS = [(table, field) for table, fields in MUST_BE_CHECKED.items() for field in fields.split()]


@pytest.mark.parametrize(("table", "field"), CHECKED_FIELDS)
def test_a_value_out_of_range_is_refused(table: str, field: str) -> None:
    tenants = [rule(f"{i}", PathMatch("prefix", "/abc"), Predicate("header", "exact", "x", str(i))) for i in range(20)]
    pattern = rule("re", PathMatch("regex", "/a.*"), Predicate("query", "regex", "q", "b.*"))
    regexes = [rule(f"{i}", PathMatch("regex", f".*{i}")) for i in range(20)]
    actions = [rule("x", PathMatch("prefix", "/b"), action=action) for action in (REDIRECT, DIRECT, WITH_POLICY, EDITED)]
    data = image(vhost(["a.com", "*.b.com"], pattern, *tenants, *regexes, *actions))
    assert lib.fgw_image_check(ffi.from_buffer(data), len(data)) == 1
    record = TABLES[table]
    at = dict(zip(HEADER.names, HEADER.unpack_from(data), strict=True))[f"{table}.off"]
    values = list(record.unpack_from(data, at))
    broken = data[:at] + packed_with_a_huge_value(record, values, record.names.index(field)) + data[at + record.size :]
    assert lib.fgw_image_check(ffi.from_buffer(broken), len(broken)) < 0


def test_only_a_name_has_no_cell() -> None:
    record = TABLES["endpoints"]
    data = image(vhost(["a.com"], rule("r")))
    at = dict(zip(HEADER.names, HEADER.unpack_from(data), strict=True))["endpoints.off"]
    row = dict(zip(record.names, record.unpack_from(data, at), strict=True))

    def verdict(**changed: int) -> int:
        broken = data[:at] + record.pack(*(row | changed).values()) + data[at + record.size :]
        return int(lib.fgw_image_check(ffi.from_buffer(broken), len(broken)))

    assert verdict(family=lib.FGW_FAMILY_NAME, cell=lib.FGW_NONE) == 1
    assert verdict(family=lib.FGW_FAMILY_NAME) < 0
    assert verdict(cell=lib.FGW_NONE) < 0


MUST_BE_CHECKED_OF_TLS = {
    "listeners": "plain sni chains.off chains.count",
    "chains": "name.off name.len kind tls tls_context route_table action virtual_service origin",
    "sni_tables": "hosts.exact.off hosts.exact.count hosts.suffix.off hosts.suffix.count hosts.default_value hosts.suffix_max",
    "tls_contexts": "name.len certificates[0].len certificates[1].len ca.len client_auth min_version max_version ciphers.len"
    " curves.len sans.off sans.count spki.off spki.count hashes.off hashes.count origin",
    "texts": "off len",
}


@pytest.mark.parametrize(
    ("table", "field"), [(table, field) for table, fields in MUST_BE_CHECKED_OF_TLS.items() for field in fields.split()]
)
def test_a_value_out_of_range_in_what_is_known_of_tls_is_refused(table: str, field: str) -> None:
    data = write_image(some_secure_plan(Random(1)), StateNumbers(), 1)
    assert lib.fgw_image_check(ffi.from_buffer(data), len(data)) == 1
    record = TABLES[table]
    at = dict(zip(HEADER.names, HEADER.unpack_from(data), strict=True))[f"{table}.off"]
    values = list(record.unpack_from(data, at))
    broken = data[:at] + packed_with_a_huge_value(record, values, record.names.index(field)) + data[at + record.size :]
    assert lib.fgw_image_check(ffi.from_buffer(broken), len(broken)) < 0


def test_damaged_chains_are_refused_or_harmless() -> None:
    random = Random(5)
    accepted = refused = 0
    for _ in range(15):
        data = write_image(some_secure_plan(random), StateNumbers(), 1)
        room = Guarded(len(data))
        for _ in range(200):
            pointer = room.fill(damaged(random, data))
            if lib.fgw_image_check(pointer, len(data)) == 1:
                accepted += 1
                use_chains(pointer)
            else:
                refused += 1
    assert accepted > 100 and refused > 100, (accepted, refused)


def use_chains(pointer: object) -> None:
    header = ffi.cast("fgw_image_header *", pointer)
    chains = ffi.cast("fgw_img_chain *", ffi.cast("char *", pointer) + header.chains.off)
    table = ffi.new("uint32_t *")
    for listener in range(header.listeners.count):
        for name in (b"", *(host.encode() for host in HOSTS)):
            chain = lib.fgw_chain_of_sni(pointer, listener, name, len(name))
            assert chain == lib.FGW_NONE or chain < header.chains.count
        for chain in range(header.chains.count):
            if chains[chain].kind == lib.FGW_CHAIN_HTTP:
                lib.fgw_request_table(pointer, listener, chain, b"a.com", 5, table)
                assert table[0] == lib.FGW_NONE or table[0] < header.route_tables.count


def packed_with_a_huge_value(record: Record, values: list[int | bytes], index: int) -> bytes:
    for bits in (32, 16, 8):
        with contextlib.suppress(struct.error):
            return bytes(record.pack(*values[:index], (1 << bits) - 2, *values[index + 1 :]))
    raise AssertionError(record.names[index])


@pytest.mark.parametrize(
    ("name", "value", "authority"),
    [
        ("connection", "close", ""),
        ("content-length", "0", ""),
        ("host", "b.com", ""),
        ("x a", "v", ""),
        ("x-a:", "v", ""),
        ("x\r\ny", "v", ""),
        ("", "v", ""),
        ("x-a", "v\r\nx-b: w", ""),
        ("x-a", "v\0", ""),
        ("x-a", "v", "b.com\nx: y"),
    ],
)
def test_edits_that_would_break_a_head_are_refused(name: str, value: str, authority: str) -> None:
    edits = Edits(response=(HeaderEdit("add", name, (Part("text", value),)),), authority=authority)
    with pytest.raises(ImageError, match="image_content"):
        Matcher(image(vhost(["a.com"], rule("r", action=msgspec.structs.replace(EDITED, edits=edits)))))
