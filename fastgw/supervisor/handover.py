"""What a supervisor leaves to the new version of itself that takes its place by exec: descriptors by name, and workers.

The process stays the same one, so its children stay its children and descriptors keep their numbers; only a description has to get
across, as JSON in a memory file whose number is in the environment. A newer version may understand more of it, never less.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import NoReturn

import msgspec

from fastgw.supervisor import memfd
from fastgw.supervisor.handed import Named
from fastgw.supervisor.notify import NOT_FOR_CHILDREN

VARIABLE = "FASTGW_HANDOVER"
_LISTEN = tuple(name for name in NOT_FOR_CHILDREN if name.startswith("LISTEN_"))


class WorkerLeft(msgspec.Struct):
    """A worker that runs on: ``fd`` is our end of its control socket, ``stripe`` its part of the state segment."""

    pid: int
    fd: int
    stripe: int


class Handover(msgspec.Struct):
    """``named``: as handed.Handed takes them. ``generation``: the last number given to a configuration."""

    version: str
    generation: int = 0
    started_at: float = 0.0
    pin_source: str = ""
    """Of the Plan that is served instead of the sources, which is among ``named``."""
    named: list[Named] = []
    workers: list[WorkerLeft] = []


def leave(handover: Handover, command: list[str]) -> NoReturn:
    """Become ``command``. Raises OSError when that cannot be; then nothing has changed but flags of descriptors."""
    fds = [*(fd for _, fd in handover.named), *(worker.fd for worker in handover.workers)]
    fds.append(memfd.make_sealed("fastgw-handover", msgspec.json.encode(handover)))
    environment = {name: value for name, value in os.environ.items() if name not in _LISTEN}
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        os.execve(command[0], command, {**environment, VARIABLE: str(fds[-1])})
    except OSError:
        for fd in fds[:-1]:
            os.set_inheritable(fd, False)
        os.close(fds[-1])
        raise


def receive(environment: MutableMapping[str, str] = os.environ) -> Handover | None:
    """What was left to us; None for a start of its own. The variable is taken away: children are not to see it."""
    text = environment.pop(VARIABLE, "")
    if not text.isdigit():
        return None
    fd = int(text)
    try:
        found = msgspec.json.decode(memfd.read_all(fd), type=Handover)
    finally:
        os.close(fd)
    for each in [*(fd for _, fd in found.named), *(worker.fd for worker in found.workers)]:
        os.set_inheritable(each, False)
    return found
