"""Watches files and directories beside the configuration (credentials, error pages); which these are, each generation says anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastgw.sources.page_files import Stamps, are_unchanged
from fastgw.sources.watch import Watcher


class FilesWatch:
    """Calls ``on_change()`` in the event loop. A file that is not there yet is waited for as well."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._watched: list[str] = []
        self._wanted: list[str] = []
        self._stamps: Stamps | None = None
        self._watcher: Watcher | None = None
        self._changing: asyncio.Task[None] | None = None

    async def start(self, paths: list[str]) -> None:
        """Watch these before anybody reads them: there is nothing to tell yet."""
        self._wanted = paths
        if paths:
            self._watcher = await self._watcher_of(paths)
        self._watched = paths

    def use(self, paths: list[str], stamps: Stamps | None = None) -> None:
        """Watch these from soon on; returns at once. ``stamps``: as they were when they were read."""
        self._wanted, self._stamps = paths, stamps
        if self._wanted != self._watched and (self._changing is None or self._changing.done()):
            self._changing = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        self._wanted = self._watched
        if self._changing is not None:
            await self._changing
        if self._watcher is not None:
            await asyncio.to_thread(self._watcher.close)
            self._watcher = None

    async def _follow(self) -> None:
        while self._wanted != self._watched:
            paths, before = self._wanted, self._watcher
            self._watcher = await self._watcher_of(paths) if paths else None
            if before is not None:
                await asyncio.to_thread(before.close)
            news = set(paths) - set(self._watched)
            self._watched = paths
            if news and (self._stamps is None or not are_unchanged(self._stamps)):
                # they may have changed between their reading and the begin of the watch
                self._on_change()

    async def _watcher_of(self, paths: list[str]) -> Watcher:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(self._on_change)

        watcher = Watcher(paths, tell, every_name=True)
        await asyncio.to_thread(watcher.start)
        return watcher
