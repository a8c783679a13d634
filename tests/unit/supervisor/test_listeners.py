"""Listening sockets: one a slot and address, never shared with strangers, each failure alone and explained."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from fastgw.supervisor import listeners
from fastgw.supervisor.listeners import ListenerSet, Wanted
from fastgw.supervisor.port_holder import find_holder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def on_loopback(slots: int = 2, **ports: int) -> ListenerSet:
    return ListenerSet(slots, ["127.0.0.1"], {int(name[1:]): port for name, port in ports.items()})


def test_every_slot_has_a_socket_of_its_own_on_the_same_port() -> None:
    found = on_loopback(3, p80=0)
    assert found.open_wanted([Wanted("0.0.0.0_80", "", 80)])
    rows = [found.of_slot(slot) for slot in range(3)]
    assert len({fd for _, fds in rows for fd in fds}) == 3
    assert len({spec.port for specs, _ in rows for spec in specs}) == 1
    assert rows[0][0][0].name == "0.0.0.0_80" and rows[0][0][0].address == "127.0.0.1"
    assert not any(os.get_inheritable(fd) for _, fds in rows for fd in fds)
    with socket.create_connection(("127.0.0.1", rows[0][0][0].port)):
        pass
    found.close()


def test_the_wildcard_is_both_families_on_one_port() -> None:
    found = ListenerSet(1, ["0.0.0.0", "::"], {80: 0})
    found.open_wanted([Wanted("0.0.0.0_80", "", 80)])
    specs, fds = found.of_slot(0)
    assert {spec.port for spec in specs} == {specs[0].port} and specs[0].address == "0.0.0.0"
    for spec, fd in zip(specs, fds, strict=True):
        if spec.address == "::":
            sock = socket.socket(fileno=os.dup(fd))
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
            sock.close()
    found.close()


def test_a_machine_without_ipv6_is_served_by_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = listeners._new_socket

    def without_ipv6(address: str) -> socket.socket:
        if ":" in address:
            raise OSError(97, "Address family not supported by protocol")
        return real(address)

    monkeypatch.setattr(listeners, "_new_socket", without_ipv6)
    found = ListenerSet(1, ["0.0.0.0", "::"], {80: 0})
    assert found.open_wanted([Wanted("a", "", 80)])
    assert [spec.address for spec in found.of_slot(0)[0]] == ["0.0.0.0"]
    found.close()
    alone = ListenerSet(1, ["::"], {80: 0})
    assert not alone.open_wanted([Wanted("a", "", 80)])
    assert "Address family" in alone.failures["a"][1]


def test_a_port_in_use_fails_alone_and_names_its_holder(taken: int) -> None:
    found = on_loopback(2, p80=taken, p81=0)
    assert found.open_wanted([Wanted("a", "", 80), Wanted("b", "", 81)])
    assert list(found.open) == ["b"]
    reason = found.failures["a"][1]
    assert f"port {taken} (for the Gateway's 80) on 127.0.0.1 is in use by " in reason
    assert f"(pid {os.getpid()})" in reason and "--listen-map 80=" in reason
    found.close()


def test_so_reuseport_does_not_let_two_gateways_share_a_port() -> None:
    first = on_loopback(2, p80=0)
    first.open_wanted([Wanted("a", "", 80)])
    port = first.of_slot(0)[0][0].port
    second = on_loopback(2, p80=port)
    assert not second.open_wanted([Wanted("a", "", 80)])
    assert "in use" in second.failures["a"][1]
    first.close()
    assert second.retry_failed() and second.failures == {}
    second.close()


def test_a_failed_listener_leaves_no_socket_behind(taken: int) -> None:
    before = set(os.listdir("/proc/self/fd"))
    found = ListenerSet(2, ["127.0.0.2", "127.0.0.1"], {80: taken})
    assert not found.open_wanted([Wanted("a", "", 80)])
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_port_without_permission_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, port: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(listeners, "_probe", refuse)
    found = ListenerSet(1, ["127.0.0.1"], {})
    found.open_wanted([Wanted("a", "", 80)])
    assert "--listen-map 80=8080" in found.failures["a"][1] and "setcap" in found.failures["a"][1]


def test_an_address_that_is_not_here_is_named() -> None:
    found = ListenerSet(1, ["127.0.0.1"], {80: 0})
    found.open_wanted([Wanted("a", "192.0.2.1", 80)])
    assert "192.0.2.1" in found.failures["a"][1]


def test_listeners_that_are_not_wanted_are_closed_and_the_others_kept() -> None:
    found = on_loopback(1, p80=0, p81=0)
    both = [Wanted("a", "", 80), Wanted("b", "", 81)]
    found.open_wanted(both)
    kept = found.of_slot(0)[1][1]
    gone = found.of_slot(0)[0][0].port
    assert found.close_unwanted(both[1:]) and not found.close_unwanted(both[1:])
    assert found.of_slot(0)[1] == [kept]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gone))
    assert not found.open_wanted(both[1:])
    found.close()


def test_more_sockets_than_one_packet_carries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "MAX_PER_WORKER", 2)
    found = on_loopback(1, **{f"p{port}": 0 for port in (80, 81, 82)})
    found.open_wanted([Wanted(str(port), "", port) for port in (80, 81, 82)])
    assert list(found.open) == ["80", "81"] and "more than 2" in found.failures["82"][1]
    found.close()


def test_the_holder_of_a_free_port_is_nobody(taken: int) -> None:
    assert str(os.getpid()) in find_holder(taken)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert find_holder(sock.getsockname()[1]) == ""
