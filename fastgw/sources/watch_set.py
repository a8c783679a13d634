"""Which directories have to be watched so that no change of the given paths is missed, symbolic links included.

A link is watched where it stands and where it points to: Kubernetes changes a mounted volume by exchanging the ``..data`` link.
A path that does not exist (yet) is watched at its nearest ancestor that does.
"""

from __future__ import annotations

import os

LINKS_LIMIT = 40
"""As many links in one path as the kernel follows."""


class WatchSet:
    """``whole``: directories of which all configuration counts. ``names``: by directory, single entries that matter there."""

    def __init__(self, paths: list[str]) -> None:
        self.names: dict[str, set[str]] = {}
        self.whole: set[str] = set()
        for path in paths:
            self._add_path(os.path.abspath(path))

    def directories(self) -> set[str]:
        return self.names.keys() | self.whole

    def _add_path(self, path: str) -> None:
        real = self._follow(path)
        if real is not None and os.path.isdir(real):
            self._add_tree(real)

    def _note(self, directory: str, name: str) -> None:
        self.names.setdefault(directory, set()).add(name)

    def _follow(self, path: str) -> str | None:
        """The path without links, every link on the way noted; None when something on the way is missing."""
        pending = [part for part in path.split("/") if part][::-1]
        here, links = "/", 0
        while pending:
            part = pending.pop()
            if part in (".", ".."):
                here = os.path.dirname(here) if part == ".." else here
                continue
            entry = os.path.join(here, part)
            if os.path.islink(entry) and links < LINKS_LIMIT:
                links += 1
                self._note(here, part)
                target = os.readlink(entry)
                here = "/" if target.startswith("/") else here
                pending += [step for step in target.split("/") if step][::-1]
                continue
            if not os.path.lexists(entry) or links >= LINKS_LIMIT:
                self._note(here, part)
                return None
            here = entry
        self._note(os.path.dirname(here), os.path.basename(here))
        return here

    def _add_tree(self, directory: str) -> None:
        """``directory`` has no links in it; each real directory is added once, so loops of links end."""
        if directory in self.whole:
            return
        self.whole.add(directory)
        try:
            with os.scandir(directory) as entries:
                listed = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError:
            return
        for entry in listed:
            if entry.is_symlink():
                self._add_path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                self._add_tree(entry.path)
