"""Sets of networks as flat bytes, for ``ext/src/cidr.c`` to look addresses up in (layout: ext/include/fgw/cidr.h).

An address that is mapped into IPv6 (``::ffff:10.0.0.1``) is an IPv4 address, and so is a network of such.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

import msgspec

_MAGIC = int.from_bytes(b"FGWC", "little")
_MAPPED = 0xFFFF << 32
_MAPPED_BITS = 96
_HALF = (1 << 64) - 1


class Network(msgspec.Struct, frozen=True, order=True):
    """``bits``: 32 or 128, of its family. ``first``: its lowest address as a number. ``length``: of the prefix."""

    bits: int
    first: int
    length: int

    def __str__(self) -> str:
        address = ipaddress.IPv4Address(self.first) if self.bits == 32 else ipaddress.IPv6Address(self.first)
        return f"{address}/{self.length}"

    @property
    def last(self) -> int:
        """Its highest address."""
        return self.first + (1 << (self.bits - self.length)) - 1


def parse_network(text: str) -> Network:
    """Of ``10.0.0.0/8``, ``2001:db8::/32``, or a single address. Bits behind the prefix are dropped. Raises ValueError."""
    if "%" in text:
        raise ValueError(f'"{text}" has a zone, which means something on one machine only')
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text}" is neither an IP address nor a network such as 10.0.0.0/8') from None
    bits, first, length = found.max_prefixlen, int(found.network_address), found.prefixlen
    if bits == 128 and length >= _MAPPED_BITS and first >> 32 == 0xFFFF:
        return Network(32, first - _MAPPED, length - _MAPPED_BITS)
    return Network(bits, first, length)


def cidr_set(networks: Iterable[tuple[Network, int]]) -> bytes:
    """Networks with their values (1 to 2**32 - 1) as a set. Of the same network with several values the greatest counts."""
    given = sorted(networks)
    v4 = _ranges([each for each in given if each[0].bits == 32], 32)
    v6 = _ranges([each for each in given if each[0].bits == 128], 128)
    halves = [half for begin, _ in v6 for half in (begin >> 64, begin & _HALF)]
    return b"".join(
        (
            struct.pack("<4I", _MAGIC, len(v4), len(v6), 0),
            struct.pack(f"<{len(v4)}I", *(begin for begin, _ in v4)),
            struct.pack(f"<{len(v4)}I", *(value for _, value in v4)),
            struct.pack(f"<{len(halves)}Q", *halves),
            struct.pack(f"<{len(v6)}I", *(value for _, value in v6)),
        )
    )


def _ranges(given: list[tuple[Network, int]], bits: int) -> list[tuple[int, int]]:
    """(begin, value) of all ranges of a family in order, neighbours with different values; none when nothing is given.

    Networks lie within one another or apart, so those that are open at any time are a stack, whose top is the longest prefix.
    """
    found: list[tuple[int, int]] = []
    open_networks = [((1 << bits) - 1, 0)]
    if given:
        found.append((0, 0))
    for network, value in given:
        _close(found, open_networks, network.first)
        _begin(found, network.first, value)
        open_networks.append((network.last, value))
    _close(found, open_networks, 1 << bits)
    return found


def _close(found: list[tuple[int, int]], open_networks: list[tuple[int, int]], until: int) -> None:
    """End the networks that end before ``until``."""
    while len(open_networks) > 1 and open_networks[-1][0] < until:
        last, _ = open_networks.pop()
        if last + 1 < until:
            _begin(found, last + 1, open_networks[-1][1])


def _begin(found: list[tuple[int, int]], begin: int, value: int) -> None:
    if found and found[-1][0] == begin:
        found.pop()
    if not found or found[-1][1] != value:
        found.append((begin, value))
