"""Starting a Python child of the supervisor by a fresh exec, and learning at once when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastgw.supervisor.notify import NOT_FOR_CHILDREN

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def module_command(module: str, *arguments: str) -> list[str]:
    """``python -m module`` without the working directory on the module path: what lies around there must not be imported."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """Ours, with the very package that runs now found first, and without what systemd means for the supervisor alone."""
    path = os.environ.get("PYTHONPATH")
    ours = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CHILDREN}
    return {**ours, "PYTHONPATH": f"{PACKAGE_ROOT}:{path}" if path else str(PACKAGE_ROOT)}


class Child:
    """A running process. ``on_exit(code)`` is called once from the event loop; minus the signal's number when one ended it.

    Only ``pass_fds`` are inherited. Must be made in the thread that lives as long as the supervisor: the death signal that
    children ask for (PR_SET_PDEATHSIG) is tied to the thread that started them.
    """

    def __init__(self, command: Sequence[str], pass_fds: Sequence[int], on_exit: Callable[[int], None]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=tuple(pass_fds), env=child_environment()
        )
        self.exited = asyncio.Event()
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_pidfd)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _on_pidfd(self) -> None:
        code = self._process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exited.set()
        self._on_exit(code)


def exit_text(code: int) -> str:
    """ "exit status 3" or "signal SIGSEGV"."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
