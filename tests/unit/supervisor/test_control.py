"""The packet channel: order, descriptors, a slow peer, the end."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from supervisor_tools import until

from fastgw.supervisor.control import SCM_MAX_FDS, Channel, PacketTooLarge, make_pair, receive

LIMIT = 1 << 16


class Ends:
    """A Channel with what it was told, and the other end as a plain socket."""

    def __init__(self) -> None:
        ours, self.other = make_pair()
        self.other.setblocking(False)
        self.packets: list[tuple[bytes, list[int]]] = []
        self.ends = 0
        self.channel = Channel(ours, LIMIT, lambda data, fds: self.packets.append((data, fds)), self.on_end)

    def on_end(self) -> None:
        self.ends += 1


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_descriptor_arrives_as_a_working_file_and_is_not_inherited() -> None:
    async def main() -> None:
        ends = Ends()
        read_end, write_end = os.pipe()
        socket.send_fds(ends.other, [b"take"], [write_end])
        await until(lambda: ends.packets)
        data, fds = ends.packets[0]
        os.write(fds[0], b"through")
        assert (data, os.read(read_end, 10), os.get_inheritable(fds[0])) == (b"take", b"through", False)
        for fd in (*fds, read_end, write_end):
            os.close(fd)
        ends.channel.close()
        ends.other.close()

    asyncio.run(main())


def test_packets_to_a_slow_peer_keep_order_and_descriptors() -> None:
    async def main() -> None:
        ends = Ends()
        with open(os.devnull) as file:
            for number in range(500):
                ends.channel.send(b"%d" % number * 4000, [file.fileno()])
        seen = []
        while len(seen) < 500:
            try:
                data, fds = receive(ends.other, LIMIT)
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            seen.append((data, len(fds)))
            for fd in fds:
                os.close(fd)
        assert seen == [(b"%d" % number * 4000, 1) for number in range(500)]
        ends.channel.close()
        ends.other.close()

    before = open_descriptors()
    asyncio.run(main())
    assert open_descriptors() == before


def test_closing_with_packets_waiting_leaks_nothing() -> None:
    async def main() -> None:
        ends = Ends()
        with open(os.devnull) as file:
            for _ in range(500):
                ends.channel.send(b"x" * 4000, [file.fileno()])
        ends.channel.close()
        ends.channel.close()
        ends.other.close()

    before = open_descriptors()
    asyncio.run(main())
    assert open_descriptors() == before


def test_the_end_is_told_once_and_sending_afterwards_is_harmless() -> None:
    async def main() -> None:
        ends = Ends()
        ends.other.close()
        ends.channel.send(b"into the void")
        await until(lambda: ends.ends)
        ends.channel.send(b"again")
        assert (ends.ends, ends.channel.closed, ends.packets) == (1, True, [])

    asyncio.run(main())


def test_what_no_packet_can_carry_is_refused() -> None:
    async def main() -> None:
        ends = Ends()
        with pytest.raises(PacketTooLarge):
            ends.channel.send(b"x" * (LIMIT + 1))
        with pytest.raises(PacketTooLarge):
            ends.channel.send(b"x", [0] * (SCM_MAX_FDS + 1))
        ends.channel.close()
        ends.other.close()

    asyncio.run(main())


def test_a_packet_that_is_cut_short_ends_the_conversation() -> None:
    async def main() -> None:
        ends = Ends()
        ends.other.send(b"x" * (LIMIT + 1))
        await until(lambda: ends.ends)
        assert ends.packets == []
        ends.other.close()

    asyncio.run(main())
