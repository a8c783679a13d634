"""What is passed at the start: whose it is, which listener it is for, and that nothing of it is lost or left open."""

from __future__ import annotations

import os
import socket

import pytest

from fastgw.native._native import lib
from fastgw.supervisor.handed import Handed, from_systemd, listener_name
from fastgw.supervisor.listeners import ListenerSet, Wanted
from fastgw.supervisor.state import StateSegment


def listening(port: int = 0, reuseport: bool = False, address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    if reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    sock.listen(8)
    return sock


def given(*named: tuple[str, socket.socket]) -> Handed:
    return Handed([(name, sock.detach()) for name, sock in named])


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_only_the_process_that_is_meant_takes_them() -> None:
    assert from_systemd({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, pid=2) == []
    assert from_systemd({"LISTEN_PID": "2"}, pid=2) == []


def test_names_in_the_store_are_printable_and_short() -> None:
    assert listener_name("0.0.0.0_80") == "fastgw.listener.0.0.0.0_80"
    assert ":" not in listener_name("unix:///run/ü.sock_0") and listener_name("::_80") != listener_name("%_80")
    assert len(listener_name("x" * 999)) == 255


def test_a_name_goes_before_a_port() -> None:
    named, by_port = listening(), listening()
    port = by_port.getsockname()[1]
    found = ListenerSet(2, ["127.0.0.1"], {80: port}, given(("web", named), ("other", by_port)))
    wanted_port = named_port = 0
    found.open_wanted([Wanted("a", "", 80, ("web",))])
    named_port = found.of_slot(0)[0][0].port
    assert named_port != port
    found.open_wanted([Wanted("b", "", 81, ("x",)), Wanted("c", "127.0.0.1", port, ("y",))])
    wanted_port = found.of_slot(0)[0][-1].port
    assert wanted_port == port and "c" in found.open
    found.close()


def test_a_bind_address_has_to_be_the_sockets() -> None:
    sock = listening()
    port = sock.getsockname()[1]
    handed = given(("web", sock))
    found = ListenerSet(1, ["127.0.0.1"], {}, handed)
    found.open_wanted([Wanted("a", "127.0.0.2", port)])
    assert found.of_slot(0)[0][0].address == "127.0.0.2" and len(handed.unused()) == 1
    found.close()
    handed.close()


def test_slots_share_a_socket_without_reuseport_and_get_their_own_with_it() -> None:
    for reuseport, inodes in ((False, 1), (True, 3)):
        found = ListenerSet(3, ["0.0.0.0"], {}, given(("web", listening(reuseport=reuseport))))
        found.open_wanted([Wanted("a", "", 80, ("web",))])
        fds = [fd for slot in range(3) for fd in found.of_slot(slot)[1]]
        assert len(fds) == 3 and len({os.fstat(fd).st_ino for fd in fds}) == inodes
        assert len(found.open["a"].own) == inodes - 1, "the unit's own is not ours to store"
        found.close()


def test_more_sockets_than_slots_are_all_served() -> None:
    first = listening(reuseport=True)
    port = first.getsockname()[1]
    name = listener_name("a")
    socks = [first, *(listening(port, reuseport=True) for _ in range(4))]
    found = ListenerSet(2, ["127.0.0.1"], {80: 0}, given(*((name, sock) for sock in socks)))
    found.open_wanted([Wanted("a", "", 80)])
    assert [len(found.of_slot(slot)[1]) for slot in range(2)] == [3, 2] and len(found.open["a"].own) == 5
    assert found.open["a"].addresses == [f"127.0.0.1:{port}"]
    found.close()


def test_own_sockets_of_another_port_or_address_are_closed() -> None:
    before = open_fds()
    wrong_port, wrong_address = listening(), listening(address="127.0.0.3")
    right = wrong_address.getsockname()[1]
    name = listener_name("a")
    handed = given((name, wrong_port), (name, wrong_address))
    found = ListenerSet(1, ["127.0.0.1"], {80: right}, handed)
    found.open_wanted([Wanted("a", "", 80)])
    assert [spec.address for spec in found.of_slot(0)[0]] == ["127.0.0.1"]
    found.close()
    handed.close()
    assert open_fds() == before


def test_nothing_stays_open_when_a_listener_cannot_be() -> None:
    with listening(address="127.0.0.1") as taken:
        before = open_fds()
        ours = listening(address="127.0.0.2", port=taken.getsockname()[1])
        handed = given((listener_name("a"), ours))
        found = ListenerSet(2, ["127.0.0.2", "127.0.0.1"], {80: taken.getsockname()[1]}, handed)
        assert not found.open_wanted([Wanted("a", "", 80)]) and "in use" in found.failures["a"][1]
        handed.close()
        assert open_fds() == before


def test_what_is_no_listening_socket_is_closed() -> None:
    before = open_fds()
    with socket.socket() as plain:
        Handed([("web", os.dup(plain.fileno())), ("file", os.memfd_create("x"))])
    assert open_fds() == before


def test_blobs_are_taken_once_and_the_rest_dropped_by_name() -> None:
    before = open_fds()
    handed = Handed([("fastgw.state.9", os.memfd_create("a")), ("fastgw.old", os.memfd_create("b"))])
    os.close(handed.blob("fastgw.state.9"))
    assert handed.blob("fastgw.state.9") == -1
    assert handed.drop_own() == ["fastgw.old"]
    assert open_fds() == before


def test_a_segment_is_gone_on_with() -> None:
    first = StateSegment(2)
    fd = os.dup(first.fd)
    first.write_dns(5, 1, [])
    first.close()
    second = StateSegment(3, fd, busy=[0])
    assert second.adopted and second.stripes == [1, 2, 3] and second.workers == 4
    assert second.read_dns(5)[0] == 1
    assert StateSegment(3, os.dup(second.fd)).workers == 4, "it does not shrink"
    second.close()


@pytest.mark.parametrize("content", [b"", b"FGWSTATE" + bytes(56), b"FGWSTATE" + b"\2\0\0\0\1\0\0\0" + bytes(48)])
def test_what_is_no_segment_of_this_version_is_not_used(content: bytes) -> None:
    before = open_fds()
    fd = os.memfd_create("x")
    os.write(fd, content)
    made = StateSegment(1, fd)
    assert not made.adopted and made.stripes == [0]
    made.close()
    assert open_fds() == before


def test_a_flag_is_taken_away_wherever_it_is_set_and_no_other() -> None:
    made = StateSegment(1)
    for cell in (0, 63, 64, 100_000, lib.FGW_STATE_CELLS - 1):
        made.mark_cell(cell, lib.FGW_CELL_UNHEALTHY | lib.FGW_CELL_EJECTED, True)
    made.unmark_cells(lib.FGW_CELL_UNHEALTHY, {64})
    assert {made.cell(cell).flags for cell in (0, 63, 100_000, lib.FGW_STATE_CELLS - 1)} == {lib.FGW_CELL_EJECTED}
    assert made.cell(64).flags == lib.FGW_CELL_UNHEALTHY | lib.FGW_CELL_EJECTED
    assert made.cell(1).flags == 0
    made.close()


def test_upper_cells_are_wiped_without_touching_holes() -> None:
    made = StateSegment(1)
    from fastgw.supervisor.state import UPPER_CELLS_FROM

    made._state.cells[UPPER_CELLS_FROM + 3].requests = 7
    made._state.cells[UPPER_CELLS_FROM - 1].requests = 8
    blocks = os.fstat(made.fd).st_blocks
    made.clear_upper_cells()
    assert made.cell(UPPER_CELLS_FROM + 3).requests == 0 and made.cell(UPPER_CELLS_FROM - 1).requests == 8
    assert os.fstat(made.fd).st_blocks <= blocks
    made.close()
