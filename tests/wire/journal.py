"""The journal's native protocol, read by an independent decoder."""

from __future__ import annotations

import array
import os
import socket


def decode(data: bytes) -> dict[str, str]:
    """The fields of one entry."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + length], data[8 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def receive(sock: socket.socket) -> dict[str, str]:
    """The next entry of a datagram socket, or of the file that is sent in its place."""
    data, ancillary, _, _ = sock.recvmsg(1 << 20, socket.CMSG_SPACE(4))
    for _, _, rights in ancillary:
        (fd,) = array.array("i", rights)
        data = os.pread(fd, os.fstat(fd).st_size, 0)
        os.close(fd)
    return decode(data)
