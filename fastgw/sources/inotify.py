"""Linux's inotify, as far as watching directories for configuration needs it. Knows nothing of what is watched."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

import msgspec

IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
IN_Q_OVERFLOW, IN_IGNORED = 0x4000, 0x8000
IN_ONLYDIR, IN_ISDIR = 0x1000000, 0x40000000

_CHANGES = (
    IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
)
_HEADER = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Event(msgspec.Struct, frozen=True):
    """Something happened to ``name`` in the directory ``watch``; "" is the directory itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify descriptor. Not thread-safe; ``descriptor`` becomes readable when events wait."""

    def __init__(self) -> None:
        """Raises OSError when the kernel has none left (fs.inotify.max_user_instances)."""
        self.descriptor = _checked(_LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")

    def add(self, directory: str) -> int:
        """The watch number of a directory, the same one when it is watched already. Raises OSError."""
        return _checked(_LIBC.inotify_add_watch(self.descriptor, os.fsencode(directory), _CHANGES | IN_ONLYDIR), directory)

    def remove(self, watch: int) -> None:
        """Nothing happens when the watch is gone already."""
        _LIBC.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> list[Event]:
        """All events that wait, [] when none does."""
        events: list[Event] = []
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return events
            events += _parse(data)

    def close(self) -> None:
        os.close(self.descriptor)


def _parse(data: bytes) -> list[Event]:
    events = []
    at = 0
    while at < len(data):
        watch, mask, _, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        events.append(Event(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
        at += length
    return events


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno() or errno.EIO
        raise OSError(code, os.strerror(code), what)
    return result
