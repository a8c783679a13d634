"""Keys of TLS session tickets: the same in all workers, so that a session resumes wherever its next connection lands.

Without a file they are made here and live in memory alone: a new one every few hours, tickets of the two before are still accepted.
With ``--ticket-keys FILE`` they are the file's, which several machines and restarts can share; whoever writes the file rotates
them. Nobody logs them, and no part of the supervisor but this holds them.
"""

from __future__ import annotations

import os

from fastgw.credentials.stamped_files import StampedFiles
from fastgw.supervisor.settings import SettingsError

KEY_BYTES = 80
MOST = 16
KEPT_BEFORE = 2


class TicketKeys:
    """``keys``: the first makes tickets, all are accepted. Raises SettingsError for a file that cannot be used."""

    def __init__(self, path: str = "", inherited: bytes = b"") -> None:
        """``inherited``: keys that an earlier start made, which are used on when there is no file."""
        self._path = path
        self._files = StampedFiles()
        if path:
            self.keys = read_keys(self._files, path)
        else:
            self.keys = split_keys(inherited[: (KEPT_BEFORE + 1) * KEY_BYTES]) or [os.urandom(KEY_BYTES)]

    @property
    def made_here(self) -> bool:
        """Nobody else has them."""
        return not self._path

    def rotate(self) -> bool:
        """Make a new one, unless they come from a file; True when the list has changed."""
        if self._path:
            return False
        self.keys = [os.urandom(KEY_BYTES), *self.keys[:KEPT_BEFORE]]
        return True

    def reread(self) -> bool:
        """Look at the file again; True when the list has changed. Raises SettingsError, and the old list stays."""
        if not self._path:
            return False
        keys = read_keys(self._files, self._path)
        changed, self.keys = keys != self.keys, keys
        return changed


def read_keys(files: StampedFiles, path: str) -> list[bytes]:
    """Raises SettingsError."""
    try:
        data = files.read(path)
    except OSError as error:
        raise SettingsError(f"--ticket-keys {path}: {error.strerror}") from None
    if not data or len(data) % KEY_BYTES or len(data) > MOST * KEY_BYTES:
        raise SettingsError(
            f"--ticket-keys {path}: wanted 1 to {MOST} keys of {KEY_BYTES} bytes one after the other, got {len(data)} bytes; "
            f"make one with: head -c {KEY_BYTES} /dev/urandom"
        )
    return split_keys(data)


def split_keys(data: bytes) -> list[bytes]:
    """Whole keys; a rest is left out."""
    return [data[at : at + KEY_BYTES] for at in range(0, len(data) - KEY_BYTES + 1, KEY_BYTES)]
