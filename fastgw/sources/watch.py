"""Tells, within milliseconds, that configuration has changed on disk. Does not read it.

inotify does the work; every two seconds a look at the files' times catches what it cannot see (network file systems,
exchanged parent directories, a full event queue). Changes are held back until it has been quiet for a moment, so that
a writer is not caught half-way and a burst is one change, but never longer than ``LONGEST_S``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable

from fastgw.sources.files import SUFFIXES, index_files
from fastgw.sources.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVE_SELF,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    Event,
    Inotify,
)
from fastgw.sources.watch_set import WatchSet

QUIET_S = 0.015
QUIET_WHOLE_S = 0.005
"""When the last event said that a file is complete: closed by its writer, or moved to its place."""
LONGEST_S = 0.2
RESCAN_S = 2.0
RESCAN_WITHOUT_INOTIFY_S = 0.25
LOOK_AT_ONCE = 1000
"""Files that are looked at before events are asked for again; some milliseconds."""
SLOW_WATCH_S = 0.05
"""When setting up the watches takes longer, as with thousands of mounted Secrets, it is done once for a burst, at its end."""
_SHAPE = IN_ISDIR | IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_Q_OVERFLOW

_LOG = logging.getLogger(__name__)


class Watcher:
    """Calls ``on_change()`` from its own thread after changes of what is below ``paths``, until ``close``.

    Changes that happen while ``on_change`` runs lead to another call. ``every_name``: files of any name count, not only
    configuration (for directories of certificates). What happened before ``start`` returned is the caller's to read.
    """

    def __init__(self, paths: list[str], on_change: Callable[[], None], *, every_name: bool = False) -> None:
        self._paths = paths
        self._on_change = on_change
        self._every_name = every_name
        self._thread = threading.Thread(target=self._run, name="fastgw-watch", daemon=True)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._inotify: Inotify | None = None
        self._directories: dict[int, str] = {}
        self._set = WatchSet([])
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._listed: dict[str, str] = {}
        self._quiet_s = QUIET_S
        self._watch_took_s = 0.0
        self._has_to_watch = False
        self._lock = threading.Lock()
        self._changed: set[str] | None = set()
        self._closed = False
        self.degraded = ""
        """Why inotify cannot be used ("" when it is): changes are then noticed later."""

    def start(self) -> None:
        """Begins to watch; changes after this call are noticed."""
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._degrade(error)
        self._watch_directories()
        self._look()
        self._thread.start()

    def take_changed(self) -> frozenset[str] | None:
        """The only files that have changed since the last call, as paths without links; None when any may have."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return None if changed is None else frozenset(changed)

    def close(self) -> None:
        """Ends the thread; no call comes after this returned."""
        if not self._closed:
            self._closed = True
            os.write(self._wake_write, b"x")
            if self._thread.is_alive() and self._thread is not threading.current_thread():
                self._thread.join()
            for descriptor in (self._wake_read, self._wake_write):
                os.close(descriptor)
            if self._inotify is not None:
                self._inotify.close()

    def _degrade(self, error: OSError) -> None:
        if not self.degraded:
            self.degraded = f"{error.strerror} ({error.filename})"
            _LOG.warning("changes are noticed late, inotify does not work: %s", self.degraded)

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        if self._inotify is not None:
            poller.register(self._inotify.descriptor, select.POLLIN)
        pause_s = self._pause_s(0.0)
        next_scan = time.monotonic() + pause_s
        while not self._closed:
            ready = poller.poll(max(0.0, next_scan - time.monotonic()) * 1000)
            if self._closed:
                return
            if ready and self._take_events():
                self._tell(poller)
            elif time.monotonic() >= next_scan:
                began = time.monotonic()
                if self._rescan():
                    pause_s = self._pause_s(time.monotonic() - began)
                else:
                    self._tell(poller)
                next_scan = time.monotonic() + pause_s

    def _tell(self, poller: select.poll) -> None:
        """An event that matters has come."""
        if self._hold_off(poller):
            if self._has_to_watch:
                self._watch_directories()
            # what is noted here only serves the next look at all files, so the change is told first
            changed = self._changed_files()
            self._announce()
            self._note_stamps(changed)

    def _pause_s(self, scan_took_s: float) -> float:
        """Between looks at all files: longer when there are so many that looking would cost more than 2 % of a core."""
        return max(RESCAN_WITHOUT_INOTIFY_S if self.degraded else RESCAN_S, scan_took_s * 50)

    def _take_events(self) -> bool:
        """Whether an event that matters came; directories that appeared are watched before anybody reads them."""
        events = self._inotify.read() if self._inotify is not None else []
        relevant = [event for event in events if self._matters(event)]
        if relevant:
            self._quiet_s = QUIET_WHOLE_S if relevant[-1].mask & (IN_CLOSE_WRITE | IN_MOVED_TO) else QUIET_S
        shape = any(self._changes_shape(event) for event in relevant)
        named = not shape and all(event.name and event.watch in self._directories for event in relevant)
        self._note_changed({os.path.join(self._directories[event.watch], event.name) for event in relevant} if named else None)
        if shape and self._watch_took_s < SLOW_WATCH_S:
            self._watch_directories()
        else:
            self._has_to_watch = self._has_to_watch or shape
        return bool(relevant)

    def _note_changed(self, files: set[str] | None) -> None:
        with self._lock:
            self._changed = None if files is None or self._changed is None else self._changed | files

    def _changed_files(self) -> set[str] | None:
        with self._lock:
            return None if self._changed is None else set(self._changed)

    def _note_stamps(self, changed: set[str] | None) -> None:
        """So that the next look at all files does not find again what has been told."""
        if changed is None or not changed <= self._listed.keys():
            self._look()
            return
        for path in changed:
            stamp = _stamp_of(self._listed[path])
            if stamp is None:
                self._look()
                return
            self._stamps[self._listed[path]] = stamp

    def _look(self) -> None:
        self._listed = index_files(self._paths, every_name=self._every_name)[0]
        self._stamps = stamps_of(self._listed.values())

    def _matters(self, event: Event) -> bool:
        name, directory = event.name, self._directories.get(event.watch)
        if not name:
            return True
        if directory is None:
            return bool(event.mask & _SHAPE)
        if directory not in self._set.whole:
            # above or beside the paths: only what leads to them counts, however busy the directory is
            return name in self._set.names.get(directory, ())
        if event.mask & _SHAPE or name in self._set.names.get(directory, ()):
            return True
        return self._every_name or name.endswith(SUFFIXES) or name.startswith("..")

    def _changes_shape(self, event: Event) -> bool:
        """Whether other directories may have to be watched now."""
        directory = self._directories.get(event.watch, "")
        if event.mask & _SHAPE or event.name.startswith("..") or event.name in self._set.names.get(directory, ()):
            return True
        return bool(event.mask & (IN_CREATE | IN_MOVED_TO)) and os.path.islink(os.path.join(directory, event.name))

    def _hold_off(self, poller: select.poll) -> bool:
        """Waits until nothing has come for a moment; False when closed meanwhile."""
        end = time.monotonic() + LONGEST_S
        quiet_until = time.monotonic() + self._quiet_s
        while not self._closed:
            now = time.monotonic()
            left_s = min(end, quiet_until) - now
            if left_s <= 0:
                return True
            if poller.poll(left_s * 1000) and not self._closed and self._take_events():
                quiet_until = time.monotonic() + self._quiet_s
        return False

    def _announce(self) -> None:
        try:
            self._on_change()
        except Exception:
            _LOG.exception("reading changed configuration failed")

    def _rescan(self) -> bool:
        """Look at all files; False when it was given up because an event that matters has come."""
        listed = index_files(self._paths, every_name=self._every_name)[0]
        stamps: dict[str, tuple[int, ...]] = {}
        files = list(listed.values())
        for start in range(0, len(files), LOOK_AT_ONCE):
            if self._has_events() and self._take_events():
                return False
            stamps |= stamps_of(files[start : start + LOOK_AT_ONCE])
        before = self._stamps
        self._listed, self._stamps = listed, stamps
        if stamps != before:
            self._note_changed(None)
            self._watch_directories()
            self._announce()
        return True

    def _has_events(self) -> bool:
        return self._inotify is not None and bool(select.select([self._inotify.descriptor], [], [], 0)[0])

    def _watch_directories(self) -> None:
        began = time.monotonic()
        self._set = WatchSet(self._paths)
        self._follow_set()
        self._has_to_watch = False
        self._watch_took_s = time.monotonic() - began

    def _follow_set(self) -> None:
        if self._inotify is None:
            return
        wanted: dict[int, str] = {}
        for directory in self._set.directories():
            try:
                wanted[self._inotify.add(directory)] = directory
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            except OSError as error:
                self._degrade(error)
        for watch in self._directories.keys() - wanted.keys():
            self._inotify.remove(watch)
        self._directories = wanted


def stamps_of(files: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The files that are there and their times: equal as long as nothing has changed."""
    return {file: stamp for file in files if (stamp := _stamp_of(file)) is not None}


def _stamp_of(file: str) -> tuple[int, ...] | None:
    try:
        info = os.stat(file)
    except OSError:
        return None
    return (info.st_mtime_ns, info.st_size, info.st_ino, info.st_ctime_ns, info.st_dev)


async def changes(paths: list[str], *, every_name: bool = False) -> AsyncIterator[None]:
    """Yields once after every change, for asyncio; several changes while nobody listens are one."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def on_change() -> None:
        loop.call_soon_threadsafe(changed.set)

    watcher = Watcher(paths, on_change, every_name=every_name)
    watcher.start()
    try:
        while True:
            await changed.wait()
            changed.clear()
            yield
    finally:
        await loop.run_in_executor(None, watcher.close)
