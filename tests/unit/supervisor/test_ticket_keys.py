"""Keys of session tickets: made and rotated here, or read from a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastgw.supervisor.settings import SettingsError
from fastgw.supervisor.ticket_keys import KEY_BYTES, TicketKeys


def test_own_keys_are_rotated_and_two_older_ones_kept() -> None:
    tickets = TicketKeys()
    seen = [tickets.keys[0]]
    for _ in range(4):
        assert tickets.rotate()
        seen.insert(0, tickets.keys[0])
        assert tickets.keys == seen[:3]
    assert len(set(seen)) == 5 and {len(key) for key in seen} == {KEY_BYTES}
    assert not tickets.reread()


def test_keys_of_a_file_are_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "tickets"
    first, second = os.urandom(80), os.urandom(80)
    file.write_bytes(first)
    tickets = TicketKeys(str(file))
    assert tickets.keys == [first] and not tickets.rotate() and not tickets.reread()
    (tmp_path / "new").write_bytes(second + first)
    (tmp_path / "new").rename(file)
    assert tickets.reread() and tickets.keys == [second, first]
    file.write_bytes(b"half")
    with pytest.raises(SettingsError, match="got 4 bytes"):
        tickets.reread()
    file.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        tickets.reread()
    assert tickets.keys == [second, first], "the old ones stay"


@pytest.mark.parametrize("size", [0, 48, 81, 17 * 80])
def test_a_wrong_size_says_what_is_wanted(tmp_path: Path, size: int) -> None:
    file = tmp_path / "tickets"
    file.write_bytes(bytes(size))
    with pytest.raises(SettingsError, match=r"80 bytes.*head -c 80"):
        TicketKeys(str(file))
