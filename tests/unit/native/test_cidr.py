"""Addresses and sets of networks against Python's own ``ipaddress``."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire.native import ffi, lib

from fastgw.model.cidr import Network, cidr_set, parse_network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAPPED = 0xFFFF << 32

# few distinct bits, so that networks lie within one another and addresses hit their edges
v4_numbers = st.one_of(
    st.integers(0, 2**32 - 1), st.builds(lambda n, bits: n << bits & 0xFFFFFFFF, st.integers(0, 7), st.integers(0, 31))
)
v6_numbers = st.one_of(
    st.integers(0, 2**128 - 1),
    st.builds(lambda n, bits: (n << bits) & (2**128 - 1), st.integers(0, 7), st.integers(0, 127)),
    st.builds(lambda n: MAPPED + n, v4_numbers),
)
addresses = st.one_of(st.builds(ipaddress.IPv4Address, v4_numbers), st.builds(ipaddress.IPv6Address, v6_numbers))


@st.composite
def networks(draw: st.DrawFn) -> str:
    address = draw(addresses)
    return str(ipaddress.ip_network(f"{address}/{draw(st.integers(0, address.max_prefixlen))}", strict=False))


def plain(address: Address) -> Address:
    """IPv4 where it is mapped."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def longest(entries: list[tuple[str, int]], address: Address) -> int:
    """The definition."""
    address = plain(address)
    best = (-1, 0)
    for text, value in entries:
        network = ipaddress.ip_network(text)
        length = network.prefixlen
        if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped and length >= 96:
            network, length = ipaddress.IPv4Network((int(network.network_address) - MAPPED, length - 96)), length - 96
        if network.version == address.version and address in network:
            best = max(best, (length, value))
    return best[1]


def parsed(text: str) -> int | None:
    """The 128 bits that the C code makes of text."""
    out = ffi.new("fgw_ip *")
    raw = text.encode()
    return (out.high << 64 | out.low) if lib.fgw_ip_parse(ffi.from_buffer(raw), len(raw), out) else None


def found(raw: bytes, address: Address) -> int:
    out = ffi.new("fgw_ip *")
    text = str(address).encode()
    assert lib.fgw_ip_parse(text, len(text), out)
    # a set may begin at any byte
    odd = ffi.from_buffer(b"x" + raw)
    assert lib.fgw_cidr_check(odd + 1, len(raw))
    value: int = lib.fgw_cidr_find(odd + 1, out[0])
    return value


@given(addresses)
def test_addresses_are_read_as_python_reads_them(address: Address) -> None:
    expected = int(address) if address.version == 6 else MAPPED + int(address)
    assert parsed(str(address)) == expected
    if isinstance(address, ipaddress.IPv6Address):
        assert parsed(address.exploded.upper()) == expected


@given(st.text(alphabet="0123456789abfF.:", max_size=24))
@example("1.2.3")
@example("1.2.3.4.5")
@example("01.2.3.4")
@example("1.2.3.256")
@example("::")
@example(":::")
@example("1::2::3")
@example("1:2:3:4:5:6:7:8:9")
@example("1:2:3:4:5:6:7::")
@example("::1:2:3:4:5:6:7:8")
@example("::ffff:1.2.3.4")
@example("::ffff:1.2.3")
@example("1:2:3:4:5:6:7:1.2.3.4")
@example("1.2.3.4:5")
@example("12345::")
@example(":1")
@example("1:")
def test_what_is_no_address_is_refused(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        assert parsed(text) is None
    else:
        assert parsed(text) == (int(address) if address.version == 6 else MAPPED + int(address))


def test_a_text_that_is_too_long_is_refused() -> None:
    assert parsed("0000:0000:0000:0000:0000:ffff:255.255.255.255") is not None
    assert parsed("0" * 46) is None
    assert parsed("") is None


@settings(max_examples=300)
@given(st.lists(st.tuples(networks(), st.integers(1, 3)), max_size=12), st.lists(addresses, max_size=8))
def test_the_longest_prefix_is_found(entries: list[tuple[str, int]], asked: list[Address]) -> None:
    raw = cidr_set((parse_network(text), value) for text, value in entries)
    edges: list[Address] = []
    for text, _ in entries:
        network = ipaddress.ip_network(text)
        kind = type(network.network_address)
        for number in (int(network.network_address) - 1, int(network.network_address), int(network.broadcast_address)):
            edges += [kind(each) for each in (number, number + 1) if 0 <= each < 1 << network.max_prefixlen]
    for address in [*asked, *edges]:
        assert found(raw, address) == longest(entries, address)


def test_mapped_addresses_are_ipv4_and_no_ipv6_network_holds_them() -> None:
    raw = cidr_set([(parse_network("10.0.0.0/8"), 1), (parse_network("::/0"), 2), (parse_network("::ffff:11.0.0.0/104"), 3)])
    asked = ["10.1.2.3", "::ffff:10.1.2.3", "12.0.0.1", "11.0.0.1", "::1", "2001:db8::1"]
    assert [found(raw, ipaddress.ip_address(each)) for each in asked] == [1, 1, 0, 3, 2, 2]


def test_the_same_network_twice_has_its_greatest_value() -> None:
    raw = cidr_set([(parse_network("10.0.0.0/8"), 2), (parse_network("10.9.9.9/8"), 1)])
    assert found(raw, ipaddress.ip_address("10.0.0.1")) == 2


@pytest.mark.parametrize("text", ["", "10", "10.0.0.0/33", "::/129", "fe80::1%eth0", "example.com", "10.0.0.0/-1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|zone"):
        parse_network(text)


def test_networks_are_written_as_they_are_read() -> None:
    assert [str(parse_network(each)) for each in ("10.1.2.3/8", "2001:db8::1", "::ffff:1.2.3.4")] == [
        "10.0.0.0/8",
        "2001:db8::1/128",
        "1.2.3.4/32",
    ]
    assert parse_network("10.0.0.0/8") == Network(32, 10 << 24, 8)


@given(st.lists(st.tuples(networks(), st.integers(1, 3)), max_size=6), st.data())
def test_a_damaged_set_is_refused_or_stays_within_itself(entries: list[tuple[str, int]], data: st.DataObject) -> None:
    raw = bytearray(cidr_set((parse_network(text), value) for text, value in entries))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    out = ffi.new("fgw_ip *", [0, MAPPED + 5])
    block = ffi.from_buffer(raw)
    if lib.fgw_cidr_check(block, len(raw)):
        lib.fgw_cidr_find(block, out[0])
    assert not lib.fgw_cidr_check(block, len(raw) - 1)


def test_ranges_out_of_order_are_refused() -> None:
    good = struct.pack("<4I2I2I", lib.FGW_CIDR_MAGIC, 2, 0, 0, 0, 9, 0, 1)
    assert lib.fgw_cidr_check(good, len(good))
    for begins in ((1, 9), (0, 0)):
        bad = struct.pack("<4I2I2I", lib.FGW_CIDR_MAGIC, 2, 0, 0, *begins, 0, 1)
        assert not lib.fgw_cidr_check(bad, len(bad))


@given(addresses, st.integers(0, 32), st.integers(0, 128))
def test_prefixes_of_addresses(address: Address, v4_bits: int, v6_bits: int) -> None:
    out = ffi.new("fgw_ip *")
    text = str(address).encode()
    assert lib.fgw_ip_parse(text, len(text), out)
    cut = lib.fgw_ip_prefix(out[0], v4_bits, v6_bits)
    address = plain(address)
    bits = v4_bits if address.version == 4 else v6_bits
    expected = int(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)
    assert (cut.high << 64 | cut.low) == expected + (MAPPED if address.version == 4 else 0)
