"""The client's address in x-forwarded-for: case by case, and against a plain reading of the same rules."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.native import ffi, lib

from fastgw.model.cidr import cidr_set, parse_network

TRUSTED = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32")
SET = cidr_set((parse_network(text), 1) for text in TRUSTED)


def client_of(value: str, hops: int = 0) -> str | None:
    out = ffi.new("fgw_ip *")
    raw = value.encode("latin-1")
    if not lib.fgw_forwarded_client(ffi.from_buffer(raw), len(raw), hops, ffi.from_buffer(SET), out):
        return None
    address = ipaddress.IPv6Address(int(out.high) << 64 | int(out.low))
    return str(address.ipv4_mapped or address)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("6.6.6.6,198.51.100.7 , 10.1.2.3,\t192.0.2.1", "198.51.100.7"),
        ("2001:DB9::1, 2001:db8::5", "2001:db9::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, ::ffff:10.0.0.1", "6.6.6.6"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("6.6.6.6,, 10.0.0.2", "10.0.0.2"),
        ("6.6.6.6, 10.0.0.2,", None),
        ("6.6.6.6:80", None),
        ("[2001:db9::1]", None),
        ("fe80::1%eth0", None),
        ("010.0.0.1", None),
        ("", None),
        (" ", None),
        (",", None),
    ],
)
def test_from_the_right_over_trusted_addresses(value: str, client: str | None) -> None:
    assert client_of(value) == client


@pytest.mark.parametrize(
    ("hops", "value", "client"),
    [
        (1, "1.1.1.1, 2.2.2.2", "2.2.2.2"),
        (2, "1.1.1.1, 2.2.2.2", "1.1.1.1"),
        (2, "1.1.1.1,bad", "1.1.1.1"),
        (3, "1.1.1.1, 2.2.2.2", None),
        (1, "1.1.1.1, bad", None),
        (1, "", None),
    ],
)
def test_by_place(hops: int, value: str, client: str | None) -> None:
    """K15."""
    assert client_of(value, hops) == client


def test_a_long_list_costs_a_bounded_time() -> None:
    """Only the last addresses are looked at; a proxy chain of that length is none."""
    most = lib.FGW_FORWARDED_MAX
    assert client_of("6.6.6.6," + "10.0.0.2," * (most - 2) + "10.0.0.3") == "6.6.6.6"
    assert client_of("6.6.6.6,10.9.9.9," + "10.0.0.2," * (most - 2) + "10.0.0.3") == "10.9.9.9"


ADDRESSES = st.sampled_from(["10.0.0.1", "10.255.0.9", "192.0.2.1", "192.0.2.2", "8.8.8.8", "::1", "2001:db8::9", "x", "", "1.2.3"])


def plainly(value: str) -> str | None:
    """The rules once more."""
    networks = [ipaddress.ip_network(text) for text in TRUSTED]
    found = None
    for part in reversed(value.split(",")):
        try:
            address = ipaddress.ip_address(part.strip(" \t"))
        except ValueError:
            return found
        found = str(address)
        if not any(address in network for network in networks if network.version == address.version):
            return found
    return found


@given(st.lists(ADDRESSES, max_size=8), st.sampled_from([",", ", ", " ,\t"]))
def test_as_a_plain_reading_says(parts: list[str], comma: str) -> None:
    assert client_of(comma.join(parts)) == plainly(comma.join(parts))
