"""The user at the other end, as the kernel tells it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fastgw.admin import peer_user
from fastgw.admin.peer_user import address_of, user_of_peer


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_of_a_loopback_connection(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server, socket.create_connection(server.getsockname()[:2]):
        accepted, _ = server.accept()
        with accepted:
            assert user_of_peer(accepted) == os.geteuid()


def test_of_a_unix_socket(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert user_of_peer(ours) == os.geteuid()


def test_the_form_of_the_kernels_tables() -> None:
    assert address_of("127.0.0.1", 8080) == "0100007F:1F90"
    assert address_of("::1", 80) == "00000000000000000000000001000000:0050"
    assert address_of("fe80::1%eth0", 1) == "000080FE000000000000000001000000:0001"


def test_nobody_when_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peer_user, "Path", lambda name: tmp_path / "nothing")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert user_of_peer(accepted) is None
