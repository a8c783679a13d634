"""sd_notify: what is sent, to which kinds of address, and that nothing is lost by a manager that does not listen."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastgw.supervisor.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@fastgw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(5)
        yield sock, name


def test_messages(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("serving\n1 listener")
    assert sock.recv(999) == b"READY=1\nSTATUS=serving 1 listener"
    notifier.status("serving\n1 listener")
    notifier.status("other")
    assert sock.recv(999) == b"STATUS=other", "the same status is not told twice"
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = sock.recv(999).split(b"\n")
    assert first == b"RELOADING=1" and before <= int(second.removeprefix(b"MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.stopping("drain")
    assert sock.recv(999) == b"STOPPING=1\nSTATUS=drain"
    notifier.watchdog()
    assert sock.recv(999) == b"WATCHDOG=1"
    notifier.close()


def test_descriptors_go_in_messages_that_the_kernel_takes(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.store("fastgw.x", [0] * 300)
    counts = []
    for _ in range(2):
        data, fds, _, _ = socket.recv_fds(sock, 999, 253)
        assert data == b"FDSTORE=1\nFDNAME=fastgw.x\nFDPOLL=0"
        counts.append(len(fds))
        for fd in fds:
            os.close(fd)
    assert counts == [200, 100]
    notifier.unstore("fastgw.x")
    assert sock.recv(999) == b"FDSTOREREMOVE=1\nFDNAME=fastgw.x"
    notifier.close()


def test_a_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other, pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"STATUS=full", str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        notifier.ready("never heard")
        notifier.close()


def test_nobody_there() -> None:
    quiet = Notifier({})
    quiet.ready("x")
    assert not quiet.on and quiet.watchdog_s == 0
    gone = Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"})
    gone.ready("x")
    gone.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [({}, 0), ({"WATCHDOG_USEC": "3000000"}, 3), ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3),
     ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, 0), ({"WATCHDOG_USEC": "soon"}, 0)],
)  # fmt: skip
def test_watchdog_interval(variables: dict[str, str], seconds: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **variables}, pid=7).watchdog_s == seconds
    assert Notifier(variables, pid=7).watchdog_s == 0
