"""Unix sockets as listeners: one for all slots, left-over files replaced, nobody's socket taken away."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

from fastgw.supervisor.listeners import ListenerSet, OpenListener, Wanted


def open_one(bind: str, slots: int = 2) -> tuple[ListenerSet, OpenListener | None]:
    found = ListenerSet(slots, ["127.0.0.1"], {})
    found.open_wanted([Wanted(f"{bind}_0", bind, 0)])
    return found, found.open.get(f"{bind}_0")


def failure(found: ListenerSet) -> str:
    [(_, reason)] = found.failures.values()
    return reason


def connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def test_all_slots_accept_from_one_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    found, one = open_one(f"unix://{path}", slots=3)
    assert one is not None and one.addresses == [f"unix://{path}"]
    rows = [found.of_slot(slot) for slot in range(3)]
    assert [(spec.address, spec.port) for specs, _ in rows for spec in specs] == [(f"unix://{path}", 0)] * 3
    assert len({fd for _, fds in rows for fd in fds}) == 3
    assert len({os.fstat(fd).st_ino for _, fds in rows for fd in fds}) == 1
    assert not any(os.get_inheritable(fd) for _, fds in rows for fd in fds)
    assert connects(str(path))
    found.close()
    assert not path.exists()


def test_an_abstract_name_leaves_no_file() -> None:
    name = f"fastgw-{uuid.uuid4()}"
    found, one = open_one(f"unix://@{name}")
    assert one is not None and one.addresses == [f"unix://@{name}"]
    assert connects(f"\0{name}")
    again, none = open_one(f"unix://@{name}")
    assert none is None and "in use" in failure(again)
    found.close()
    assert not connects(f"\0{name}")


def test_a_file_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    found, one = open_one(f"unix://{path}")
    assert one is not None and connects(str(path))
    found.close()


def test_a_socket_in_use_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        found, one = open_one(f"unix://{path}")
        assert one is None and "is in use" in failure(found)
        assert connects(str(path))


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("precious")
    found, one = open_one(f"unix://{path}")
    assert one is None and "no socket" in failure(found)
    assert path.read_text() == "precious"


def test_the_socket_of_a_successor_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    found, _ = open_one(f"unix://{path}")
    path.unlink()
    successor, one = open_one(f"unix://{path}")
    assert one is not None
    found.close()
    assert connects(str(path))
    successor.close()


def test_a_missing_directory_is_named_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "later" / "a.sock"
    found, one = open_one(f"unix://{path}")
    assert one is None and "no such directory" in failure(found)
    path.parent.mkdir()
    assert found.retry_failed()
    assert connects(str(path))
    found.close()
