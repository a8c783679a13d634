"""Who is at the other end of a connection of this machine: the kernel knows the user of every socket."""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path

_CREDENTIALS = struct.Struct("=3i")  # pid, uid, gid


def user_of_peer(sock: socket.socket) -> int | None:
    """User id of the process that connected; None when it is not on this machine, or cannot be told."""
    if sock.family == socket.AF_UNIX:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(data)[1])
    ours, theirs = sock.getsockname()[:2], sock.getpeername()[:2]
    # not /proc/net: it is not there where only processes are shown (ProcSubset=pid of the unit)
    table = "/proc/self/net/tcp6" if sock.family == socket.AF_INET6 else "/proc/self/net/tcp"
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except OSError:
        return None
    wanted = [address_of(*theirs), address_of(*ours)]
    for line in lines:
        columns = line.split()
        if columns[1:3] == wanted:
            return int(columns[7])
    return None


def address_of(address: str, port: int) -> str:
    """As those tables write it: the address in words of the machine's byte order, then the port."""
    packed = ipaddress.ip_address(address.partition("%")[0]).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
