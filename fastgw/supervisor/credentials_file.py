"""The credentials block of a generation: a sealed memory file that stays the same one as long as its content does."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fastgw.credentials.block import read_block, write_block
from fastgw.credentials.content import Content
from fastgw.credentials.keeper import Keeper
from fastgw.credentials.names import Need, names_of_plan
from fastgw.credentials.status import Status
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource
from fastgw.supervisor import memfd


class CredentialsFile:
    """Owns the last block. ``statuses``: of all credentials that the last plan names."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.statuses: list[Status] = []
        self._fd = -1
        self._needs: dict[str, Need] = {}
        self._contents: dict[str, Content] | None = None

    def restore(self, block: bytes) -> None:
        """The block that a predecessor made and that is served."""
        self.keeper.restore(read_block(block))

    def update(self, plan: Plan, resources: Sequence[Resource], files_changed: bool) -> int:
        """The descriptor of the block, which stays ours; -1 when no credential can be used."""
        needs = names_of_plan(plan)
        if not self._use(resources) and not files_changed and needs == self._needs:
            return self._fd
        contents, self.statuses = self.keeper.collect(needs)
        if contents != self._contents:
            fd = memfd.make_sealed("fastgw-credentials", write_block(contents)) if contents else -1
            self.close()
            self._fd, self._contents = fd, contents
        self._needs = needs
        return self._fd

    def watched(self) -> list[str]:
        """Files and directories whose changes may change the block."""
        return self.keeper.places.watched(self._needs)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _use(self, resources: Sequence[Resource]) -> bool:
        """Look among these documents; True when they are others than before."""
        places = self.keeper.places
        before = (places.secrets, places.config_maps)
        places.use(resources)
        return before != (places.secrets, places.config_maps)
