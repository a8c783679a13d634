"""Who is believed about the client's address: peers within --trusted-proxies, and what follows from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, Message, Upstream, make_plan

from fastgw.model.cidr import cidr_set, parse_network
from fastgw.model.plan import Cluster, Endpoint, HashKey, Policy
from fastgw.supervisor.log_format import compile_format

LOGGED = (
    "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT% "
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\n"
)
MakeGateway = Callable[..., Gateway]


def networks(*texts: str) -> bytes:
    return cidr_set((parse_network(text), 1) for text in texts)


def trusting(make: MakeGateway, *texts: str, hops: int = 0, **options: Any) -> Gateway:
    return make(limits={"trusted_proxies": networks(*texts), "trusted_hops": hops}, **options)


def seen_of(gateway: Gateway, *fields: str, header: bytes = b"", proxied: bool = False) -> Message:
    """What the upstream gets of a request with these fields, on a connection that begins with ``header``."""
    up = gateway.upstream()
    plan = make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", up.port)])])
    plan.listeners[0].proxy_protocol = proxied
    gateway.attach(plan)
    lines = "".join(f"{field}\r\n" for field in fields).encode()
    client = gateway.client().send(header + GET[:-2] + lines + b"\r\n")
    far = up.accept(gateway)
    request = far.request()
    far.send(OK)
    assert client.response().status == 200
    return request


FORWARDED = ("X-Forwarded-For: 6.6.6.6, 198.51.100.7, 10.0.0.9", "X-Forwarded-Proto: https")


@pytest.mark.parametrize(
    ("trusted", "hops", "address", "proto"),
    [
        (("127.0.0.0/8", "10.0.0.0/8"), 0, "198.51.100.7", "https"),
        (("127.0.0.1",), 0, "10.0.0.9", "https"),
        (("127.0.0.0/8", "10.0.0.0/8", "198.51.100.0/24", "6.0.0.0/8"), 0, "6.6.6.6", "https"),
        (("10.0.0.0/8",), 0, "127.0.0.1", "http"),
        (("127.0.0.2", "::/1"), 0, "127.0.0.1", "http"),
        # both: by place, and from trusted peers only
        (("127.0.0.0/8",), 3, "6.6.6.6", "https"),
        (("10.0.0.0/8",), 3, "127.0.0.1", "http"),
    ],
)
def test_who_is_believed(make_gateway: MakeGateway, trusted: tuple[str, ...], hops: int, address: str, proto: str) -> None:
    seen = seen_of(trusting(make_gateway, *trusted, hops=hops), *FORWARDED)
    assert (seen["x-envoy-external-address"], seen["x-forwarded-proto"]) == (address, proto)
    assert seen["x-forwarded-for"] == "6.6.6.6, 198.51.100.7, 10.0.0.9,127.0.0.1", "the peer is added in any case"


def test_several_fields_are_one_list(make_gateway: MakeGateway) -> None:
    gateway = trusting(make_gateway, "127.0.0.1", "10.0.0.0/8")
    seen = seen_of(gateway, "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 198.51.100.7,10.0.0.1")
    assert seen["x-envoy-external-address"] == "198.51.100.7"


def test_a_malformed_element_ends_the_walk(make_gateway: MakeGateway) -> None:
    seen = seen_of(trusting(make_gateway, "127.0.0.1", "10.0.0.0/8"), "X-Forwarded-For: 6.6.6.6, who, 10.0.0.1")
    assert seen["x-envoy-external-address"] == "10.0.0.1"


LINE = b"PROXY TCP4 192.0.2.7 198.51.100.3 4711 443\r\n"


@pytest.mark.parametrize(
    ("trusted", "address", "proto"),
    [
        (("127.0.0.1",), "192.0.2.7", "http"),
        (("127.0.0.1", "192.0.2.0/24"), "10.0.0.9", "https"),
    ],
)
def test_behind_the_proxy_protocol_its_source_is_the_peer(
    make_gateway: MakeGateway, trusted: tuple[str, ...], address: str, proto: str
) -> None:
    """K17: whether it is a proxy that is believed is asked of the address that the header tells."""
    seen = seen_of(trusting(make_gateway, *trusted), *FORWARDED, header=LINE, proxied=True)
    assert (seen["x-envoy-external-address"], seen["x-forwarded-proto"]) == (address, proto)
    assert seen["x-forwarded-for"] == "6.6.6.6, 198.51.100.7, 10.0.0.9,192.0.2.7"


def test_headers_of_others_are_not_believed(make_gateway: MakeGateway) -> None:
    gateway = trusting(make_gateway, "10.0.0.0/8")
    plan = make_plan([Cluster("c", "c", 80)])
    plan.listeners[0].proxy_protocol = True
    gateway.attach(plan)
    client = gateway.client()
    assert client.until_end() and not client.data
    assert gateway.rejected() == {"proxy_header_untrusted": 1}
    assert gateway.counter("FGW_C_CLIENT_CONNECTIONS") == gateway.counter("FGW_C_CLIENT_CONNECTIONS_CLOSED") == 1


def test_hashing_by_the_address_that_is_trusted(make_gateway: MakeGateway) -> None:
    gateway = trusting(make_gateway, "127.0.0.1")
    ups = [gateway.upstream() for _ in range(4)]
    endpoints = [Endpoint("127.0.0.1", up.port) for up in ups]
    policy = Policy(hash_key=HashKey("source_ip"))
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=endpoints, policy=policy, lb="ring_hash")]))
    chosen: dict[str, set[int]] = {}
    for text in ("2001:db9::1", "2001:DB9:0::1", "1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6"):
        client = gateway.client().send(GET[:-2] + f"X-Forwarded-For: {text}\r\n\r\n".encode())
        chosen.setdefault(text.lower().replace(":0:", ":"), set()).add(who_answers(gateway, ups))
        assert client.response().status == 200
    assert all(len(found) == 1 for found in chosen.values()) and len(set.union(*chosen.values())) > 1


def who_answers(gateway: Gateway, ups: list[Upstream]) -> int:
    found: list[int] = []
    gateway.until(
        lambda: bool(found) or bool(found.extend(i for i, up in enumerate(ups) if up.has_connection(gateway))) or bool(found)
    )
    far = gateway.peers[-1]
    far.request()
    far.send(OK)
    far.close()
    return found[0]


@pytest.fixture
def log_fd() -> Iterator[int]:
    fd = os.memfd_create("log")
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("X-Forwarded-For: 198.51.100.7", "198.51.100.7:0 198.51.100.7 0"),
        ("X-Forwarded-For: 2001:db9::1", "[2001:db9::1]:0 2001:db9::1 0"),
        ("X-Forwarded-For: nobody", "127.0.0.1:PORT 127.0.0.1 PORT"),
        ("X-Other: 1", "127.0.0.1:PORT 127.0.0.1 PORT"),
    ],
)
def test_the_log_shows_the_trusted_address(make_gateway: MakeGateway, log_fd: int, field: str, text: str) -> None:
    gateway = trusting(make_gateway, "127.0.0.1", log=compile_format(LOGGED), log_fd=log_fd)
    seen_of(gateway, field)
    port = next(peer.sock.getsockname()[1] for peer in gateway.peers if peer.sock.getpeername() == gateway.addresses[LISTENER])
    gateway.log.flush()
    assert os.pread(log_fd, 1000, 0).decode().strip() == f"{text} 127.0.0.1".replace("PORT", str(port))


def test_what_is_no_set_of_networks_is_refused() -> None:
    with pytest.raises(ValueError, match="networks"):
        Gateway(limits={"trusted_proxies": b"10.0.0.0/8"})
