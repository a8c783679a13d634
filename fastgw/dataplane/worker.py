"""A worker process: ``python -m fastgw.dataplane.worker --control FD``.

Speaks fastgw.model.worker_protocol with the supervisor and otherwise stays in the loop. Nothing in this file runs for a
request. A worker whose control socket closes finishes what it has in flight, briefly, and exits.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from fastgw.dataplane import (
    access_log,
    buffers,
    client_http1,
    client_http2,
    client_http2_stream,
    context,
    exchange,
    listener,
    loop,
    pipes,
    pool,
    tunnel,
    upstream_connection,
    upstream_http2_stream,
)
from fastgw.model import worker_protocol as protocol

EPOLLIN = 1
EX_SOFTWARE = 70
MAX_FDS = 250
ORPHAN_DRAIN_S = 5.0
QUIET_TURNS_MS = 300
DRAIN_POLL_MS = 50
NO_MEMORY = protocol.encode(protocol.Bug("MemoryError: what a connection needed could not be had"))


class Worker:
    """One process's parts, tied together: loop, context, pool, server, log, and the control socket."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.packet = bytearray(protocol.MAX_MESSAGE_BYTES)
        self.loop = loop.Loop(self.on_bug)
        self.watcher = loop.CallbackWatcher(self.loop, control.fileno(), EPOLLIN, self.on_control, self.on_control_failure)
        self.drain_timer = loop.CallbackTimer(self.loop, self.on_drain_tick)
        self.context: context.Context | None = None
        self.server: listener.Server | None = None
        self.pool: pool.Pool | None = None
        self.log: access_log.AccessLog | None = None
        self.log_fd = -1
        self.drain_until_s = 0.0
        self.patient_until_s = 0.0
        self.stays = False
        self.before: set[object] | None = None
        self.quiet_ms = 0
        self.orphan = False
        self.handlers: dict[type, Callable[..., None]] = {
            protocol.Start: self.on_start,
            protocol.Listen: self.on_listen,
            protocol.Image: self.on_image,
            protocol.TicketKeys: self.on_ticket_keys,
            protocol.ReopenLog: self.on_reopen_log,
            protocol.Drain: self.on_drain,
            protocol.Leaks: self.on_leaks,
        }

    def run(self) -> None:
        self.loop.run()
        if self.log is not None:
            self.log.flush()

    # ---- control socket

    def say(self, message: protocol.FromWorker) -> None:
        """Send to the supervisor; a supervisor that is gone is noticed by on_control."""
        self.send(protocol.encode(message))

    def send(self, packet: bytes) -> None:
        try:
            self.control.send(packet)
        except OSError:
            self.orphan = True

    def on_control(self, events: int) -> None:
        while True:
            try:
                n, ancillary, _flags, _address = self.control.recvmsg_into(
                    [self.packet], socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                n, ancillary = 0, []
            if not n:
                self.on_supervisor_gone()
                return
            message = protocol.decode_to_worker(memoryview(self.packet)[:n])
            if isinstance(message, protocol.TicketKeys):
                self.packet[:n] = bytes(n)  # nothing of keys stays behind
            self.handlers[type(message)](message, received_fds(ancillary))

    def on_supervisor_gone(self) -> None:
        self.orphan = True
        self.stays = False
        self.loop.forget(self.watcher)
        if self.server is None:
            self.loop.stop()
        else:
            self.start_drain(ORPHAN_DRAIN_S)

    def on_control_failure(self) -> None:
        """A worker that cannot follow the supervisor any more is better replaced than deaf. At once: half of a change has been
        done, and connections may point into an image that is gone."""
        with contextlib.suppress(Exception):
            if self.log is not None:
                self.log.flush()
        os._exit(EX_SOFTWARE)

    def on_bug(self, text: str) -> None:
        # without memory nothing can be put into words, and the encoder would not survive the attempt
        self.send(NO_MEMORY if "MemoryError" in text else protocol.encode(protocol.Bug(text[-8000:])))

    # ---- messages

    def on_start(self, message: protocol.Start, fds: list[int]) -> None:
        self.context = context.Context(self.loop, fds[0], message.state_bytes, message.slot, message.limits)
        os.close(fds[0])
        self.context.set_pid(os.getpid())
        if message.access_log:
            self.log_fd = fds[1]
            self.log = access_log.AccessLog(self.context, self.log_fd, message.access_log_format)
        self.pool = pool.Pool(self.context)
        self.server = listener.Server(self.context, self.pool, self.log, message.limits)
        gc.collect()
        gc.freeze()
        gc.disable()  # cycles are unmade by hand (leak counters prove it); no pauses, no walks over connections
        self.say(protocol.Ready())

    def on_listen(self, message: protocol.Listen, fds: list[int]) -> None:
        assert self.server is not None
        names = [spec.name for spec in message.listeners]
        self.server.listen(list(zip(names, fds, strict=True)))
        self.say(protocol.Listening(names))

    def on_image(self, message: protocol.Image, fds: list[int]) -> None:
        assert self.context is not None and self.server is not None
        try:
            image = context.Image(fds[0], message.total_bytes, self.context.image)
            credentials = context.Credentials(fds[1], message.credentials_bytes) if message.credentials_bytes else None
        except (OSError, ValueError, MemoryError) as error:
            self.say(protocol.Nack(message.generation, str(error)))
            return
        finally:
            for fd in fds:
                os.close(fd)
        self.context.attach(image, credentials)
        self.server.on_image()
        self.say(protocol.Ack(message.generation))

    def on_ticket_keys(self, message: protocol.TicketKeys, fds: list[int]) -> None:
        assert self.context is not None
        self.context.take_ticket_keys(message.keys)

    def on_reopen_log(self, message: protocol.ReopenLog, fds: list[int]) -> None:
        if self.log is None:
            for fd in fds:
                os.close(fd)
            return
        self.log.flush()
        self.log.use(fds[0])
        os.close(self.log_fd)
        self.log_fd = fds[0]

    def on_drain(self, message: protocol.Drain, fds: list[int]) -> None:
        self.stays = message.stay
        self.start_drain(message.seconds, message.patience_s)
        self.before = set(self.server.clients) if message.kept and self.server is not None else None

    def on_leaks(self, message: protocol.Leaks, fds: list[int]) -> None:
        self.say(protocol.LeakCounts(leak_counts(self)))

    # ---- drain

    def start_drain(self, seconds: float, patience_s: float = 0.0) -> None:
        """Answer what is under way and what still comes, each with ``connection: close``; stop when it has become quiet."""
        assert self.context is not None and self.server is not None and self.pool is not None
        self.context.set_draining()
        self.patient_until_s = time.monotonic() + patience_s
        if patience_s:
            self.server.forewarn()
        else:
            self.server.drain()
        self.pool.close_idle()
        self.drain_until_s = time.monotonic() + seconds
        self.quiet_ms = 0
        self.drain_timer.start(DRAIN_POLL_MS)

    def on_drain_tick(self) -> None:
        assert self.server is not None
        self.drain_timer.start(DRAIN_POLL_MS)  # first: what goes wrong below must not be the end of the drain
        if time.monotonic() >= self.patient_until_s:
            self.server.drain()
        if self.before is None:
            left = self.server.clients
        else:
            self.before &= self.server.clients
            left = self.before
        self.quiet_ms = 0 if left else self.quiet_ms + DRAIN_POLL_MS
        quiet = self.quiet_ms >= (QUIET_TURNS_MS if self.server.listeners else DRAIN_POLL_MS)
        over = time.monotonic() >= self.drain_until_s
        if quiet and self.stays and not over:
            self.say(protocol.Drained())
            self.quiet_ms = 0
        elif quiet or over:
            cut = len(self.server.clients)
            self.server.cut()
            self.say(protocol.Drained(cut))
            self.loop.stop()


def received_fds(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Descriptors of one message."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def leak_counts(worker: Worker) -> dict[str, int]:
    """Living objects, for tests: all but idle upstream connections are zero when no client is connected."""
    idle = worker.pool.idle if worker.pool is not None else 0
    return {
        "client_connections": client_http1.client_connections_alive() + client_http2.client_connections_alive(),
        "client_streams": client_http2_stream.client_streams_alive(),
        "upstream_connections": upstream_connection.upstream_connections_alive() - idle,
        "upstream_streams": upstream_http2_stream.upstream_streams_alive(),
        "idle_upstream_connections": idle,
        "exchanges": exchange.exchanges_alive(),
        "tunnels": tunnel.tunnels_alive(),
        "pipes": pipes.pipes_taken(),
        "buffer_bytes": buffers.live_buffer_bytes(),
        "images": context.images_alive(),
        "timers": worker.loop.timers - idle,
    }


def prepare_process() -> None:
    """The supervisor decides about our end: signals to the whole group (Ctrl-C, systemd) are not for us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(15, b"fastgw-worker", 0, 0, 0)  # PR_SET_NAME


def main() -> int:
    parser = argparse.ArgumentParser(prog="fastgw-worker")
    parser.add_argument("--control", type=int, required=True)
    arguments = parser.parse_args()
    prepare_process()
    control = socket.socket(fileno=arguments.control)
    control.setblocking(False)
    worker = Worker(control)
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
