"""The last KEPT configurations that were served: to look at, to go back to, and to start with when the sources are broken.

What is kept is the Plan as JSON, by the hash of its content: it holds no keys, it does not depend on the format of images, and
equal plans are one. With a directory (``--state-dir``) it outlives the process: ``history/index.json``, ``history/HASH.json.gz``;
without one it is kept in memory.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import zlib
from pathlib import Path

import msgspec

from fastgw.supervisor.settings import SettingsError

KEPT = 20
MEMORY_BYTES = 64 << 20
"""Compressed plans that are kept without a directory."""


class Entry(msgspec.Struct, rename="camel"):
    """A generation that was served. ``plan``: the hash of its Plan, "" when that is not kept; ``source``: where it came from."""

    generation: int
    served_at: float
    source: str
    plan: str = ""
    listeners: int = 0
    hosts: int = 0
    rules: int = 0
    clusters: int = 0


class NotKept(LookupError):
    """There is no such generation, or not its plan any more."""


class History:
    """``directory`` "": in memory. Raises SettingsError when it cannot be used, or another gateway uses it."""

    def __init__(self, directory: str = "") -> None:
        self._directory = Path(directory) / "history" if directory else None
        self._blobs: dict[str, bytes] = {}
        self._lock_fd = -1
        self.entries: list[Entry] = []
        """Oldest first."""
        if self._directory is not None:
            self._open(self._directory)

    @property
    def last_generation(self) -> int:
        return max((entry.generation for entry in self.entries), default=0)

    def last_good(self) -> Entry | None:
        """The last that was served whose plan is kept."""
        return next((entry for entry in reversed(self.entries) if entry.plan), None)

    def find(self, generation: int) -> Entry:
        """Raises NotKept."""
        for entry in self.entries:
            if entry.generation == generation:
                return entry
        kept = ", ".join(str(entry.generation) for entry in self.entries) or "none"
        raise NotKept(f"generation {generation} is not kept; these are: {kept}")

    def plan(self, entry: Entry) -> bytes:
        """As JSON. Raises NotKept, also for one that is damaged."""
        try:
            packed = self._blobs[entry.plan] if self._directory is None else self._file(entry.plan).read_bytes()
            data = gzip.decompress(packed)
        except (KeyError, OSError, EOFError, zlib.error):
            raise NotKept(f"the plan of generation {entry.generation} is not kept any more") from None
        if hash_of(data) != entry.plan:
            raise NotKept(f"the plan of generation {entry.generation} is damaged")
        return data

    def add(self, entry: Entry, plan: bytes | None) -> None:
        """``plan`` None: it could not be had. Raises OSError when it cannot be written; then it is not kept."""
        if plan is not None:
            entry.plan = hash_of(plan)
            if entry.plan not in {known.plan for known in self.entries}:
                self._put(entry.plan, gzip.compress(plan, 1, mtime=0))
        self.entries = latest([*(known for known in self.entries if known.generation != entry.generation), entry])
        self._forget_unused()
        if self._directory is not None:
            write_whole(self._directory / "index.json", msgspec.json.encode(self.entries))

    def close(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _open(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise SettingsError(f"--state-dir {directory.parent}: another gateway uses it") from None
        except OSError as error:
            self.close()
            raise SettingsError(f"--state-dir {directory.parent}: {error.strerror}") from None
        try:
            self.entries = msgspec.json.decode((directory / "index.json").read_bytes(), type=list[Entry])[-KEPT:]
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError):
            self.entries = []  # damaged: what is served from now on is kept

    def _file(self, plan: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{plan}.json.gz"

    def _put(self, plan: str, packed: bytes) -> None:
        if self._directory is None:
            self._blobs[plan] = packed
        else:
            write_whole(self._file(plan), packed)

    def _forget_unused(self) -> None:
        """Plans that no entry has, and in memory the oldest of those that are too many."""
        if self._directory is not None:
            used = {f"{entry.plan}.json.gz" for entry in self.entries}
            for path in self._directory.glob("*.json.gz"):
                if path.name not in used:
                    path.unlink(missing_ok=True)
            return
        for entry in (*self.entries[:-1], None):
            used = {kept.plan for kept in self.entries}
            self._blobs = {plan: packed for plan, packed in self._blobs.items() if plan in used}
            if entry is None or sum(map(len, self._blobs.values())) <= MEMORY_BYTES:
                return
            entry.plan = ""


def latest(entries: list[Entry]) -> list[Entry]:
    """KEPT of them, oldest first. Those whose content was served again later go first: however often files are read again or
    certificates renewed, what was served before stays to go back to."""
    entries = list(entries)
    while len(entries) > KEPT:
        again = (i for i, entry in enumerate(entries) if entry.plan in {later.plan for later in entries[i + 1 :]})
        del entries[next(again, 0)]
    return entries


def hash_of(plan: bytes) -> str:
    return hashlib.sha256(plan).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """The file has the old content or the new one, whenever the machine stops. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
