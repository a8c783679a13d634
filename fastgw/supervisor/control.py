"""A SOCK_SEQPACKET socket between two processes: one message a packet, descriptors by SCM_RIGHTS.

Used towards workers and towards the compile child. Knows nothing about what the messages mean.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

SCM_MAX_FDS = 253
"""The kernel refuses more descriptors in one packet (SCM_MAX_FD)."""

BUFFER_BYTES = 1 << 20
_INT_BYTES = array.array("i").itemsize


class PacketTooLarge(ValueError):
    """More bytes or descriptors than one packet can carry."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, close-on-exec, with room for a packet of the largest size agreed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return ours, theirs


def receive(sock: socket.socket, limit_bytes: int) -> tuple[bytes, list[int]]:
    """One packet and its descriptors (close-on-exec, owned by the caller). b"" is the end. Raises OSError when it does not fit."""
    # not socket.recv_fds: it drops the flags it is given, so descriptors would be inherited by later children
    room = socket.CMSG_SPACE(SCM_MAX_FDS * _INT_BYTES)
    data, ancillary, flags, _ = sock.recvmsg(limit_bytes, room, socket.MSG_CMSG_CLOEXEC)
    fds = _descriptors(ancillary)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise OSError("a control packet was cut short")
    return data, fds


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return list(fds)


class Channel:
    """The supervisor's end in the event loop: packets go out in order and are kept while the peer is slow.

    ``on_packet(data, fds)`` owns the descriptors it is given. ``on_end()`` is called once, when the peer is gone.
    Descriptors given to ``send`` stay the caller's: they are duplicated while a packet has to wait.
    """

    def __init__(
        self, sock: socket.socket, limit_bytes: int, on_packet: Callable[[bytes, list[int]], None], on_end: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._limit_bytes = limit_bytes
        self._on_packet = on_packet
        self._on_end = on_end
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._on_readable)

    @property
    def closed(self) -> bool:
        return self._closed

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Raises PacketTooLarge. A peer that is gone is no error here: on_end tells."""
        if len(data) > self._limit_bytes or len(fds) > SCM_MAX_FDS:
            raise PacketTooLarge(f"{len(data)} bytes and {len(fds)} descriptors do not fit into one packet")
        if self._closed:
            return
        if self._waiting or not self._try_send(data, fds):
            if not self._waiting:
                self._loop.add_writer(self._sock, self._on_writable)
            self._waiting.append((data, [os.dup(fd) for fd in fds]))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        while self._waiting:
            _close_all(self._waiting.popleft()[1])

    def _try_send(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            socket.send_fds(self._sock, [data], fds, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            # the peer is gone; the reader sees the end and reports it
            return True
        return True

    def _on_writable(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            if not self._try_send(data, fds):
                return
            self._waiting.popleft()
            _close_all(fds)
        self._loop.remove_writer(self._sock)

    def _on_readable(self) -> None:
        while not self._closed:
            try:
                data, fds = receive(self._sock, self._limit_bytes)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.close()
                self._on_end()
                return
            self._on_packet(data, fds)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
