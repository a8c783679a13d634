"""Workers of the version before: they accept until the new ones do, then finish what they have, and are not started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterable

from fastgw.model import worker_protocol as protocol
from fastgw.supervisor.control import Channel
from fastgw.supervisor.handover import WorkerLeft
from fastgw.supervisor.state import StateSegment

log = logging.getLogger("fastgw.worker")
PATIENCE_S = 5.0
"""So long a kept-alive connection may bring another request, which is answered with ``connection: close``, before it is closed."""


class Elder:
    """One of them. Its messages are of its version, so none is acted on; what it is told is the same in every version."""

    def __init__(self, left: WorkerLeft, elders: Elders) -> None:
        self.pid = left.pid
        self.stripe = left.stripe
        self._elders = elders
        self._channel = Channel(socket.socket(fileno=left.fd), protocol.MAX_MESSAGE_BYTES, self._ignore, lambda: None)
        self._pidfd = os.pidfd_open(left.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)

    @property
    def control_fd(self) -> int:
        return self._channel.fileno()

    def tell(self, message: protocol.ToWorker) -> None:
        self._channel.send(protocol.encode(message))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _ignore(self, data: bytes, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._channel.close()
        self._elders.on_exit(self)


class Elders:
    """All of them, of however many versions."""

    def __init__(self, state: StateSegment, left: Iterable[WorkerLeft] = ()) -> None:
        self._state = state
        self._gone = asyncio.Event()
        self.running: list[Elder] = []
        for each in left:
            try:
                self.running.append(Elder(each, self))
            except OSError:  # it has ended meanwhile
                with contextlib.suppress(OSError):
                    os.waitpid(each.pid, os.WNOHANG)
                state.forget_worker(each.stripe)
        if not self.running:
            self._gone.set()

    def retire(self, seconds: float) -> None:
        """Stop accepting: the sockets are served by others. Finish what there is within this time."""
        for elder in self.running:
            elder.tell(protocol.Listen([]))
            elder.tell(protocol.Drain(seconds, PATIENCE_S))

    def drain(self, seconds: float) -> None:
        """The gateway ends."""
        for elder in self.running:
            elder.tell(protocol.Drain(seconds))

    async def wait_gone(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), seconds)
        return not self.running

    async def kill(self) -> None:
        for elder in self.running:
            elder.kill()
        await self.wait_gone(5.0)

    def on_exit(self, elder: Elder) -> None:
        self.running.remove(elder)
        self._state.forget_worker(elder.stripe)
        if not self.running:
            self._gone.set()
            log.info("the last worker of the version before has ended")
