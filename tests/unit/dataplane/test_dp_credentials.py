"""What a worker holds beside the image: the credentials block and the keys of session tickets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dataplane_support import Gateway

from fastgw.credentials.block import write_block
from fastgw.credentials.content import Content
from fastgw.dataplane import context


def sealed(data: bytes) -> int:
    fd = os.memfd_create("credentials")
    os.write(fd, data)
    return fd


def load(contents: dict[str, Content]) -> context.Credentials:
    block = bytes(write_block(contents))
    fd = sealed(block)
    try:
        return context.Credentials(fd, len(block))
    finally:
        os.close(fd)


def mapped_blocks() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:credentials")


def test_credentials_come_and_go_with_the_image(gateway: Gateway) -> None:
    gateway.serve(gateway.upstream())
    assert gateway.context.credentials is None
    image = gateway.context.image
    gateway.context.attach(image, load({"a": Content(b"c", b"k"), "b": Content(ca=b"c")}))
    assert gateway.context.credentials.count == 2 and mapped_blocks() == 1
    gateway.context.attach(image, load({"a": Content(b"c", b"k")}))
    assert gateway.context.credentials.count == 1 and mapped_blocks() == 1
    gateway.context.attach(image)
    assert gateway.context.credentials is None and mapped_blocks() == 0


def test_a_damaged_block_is_refused() -> None:
    block = write_block({"a": Content(b"c", b"k")})
    block[40] ^= 0xFF
    fd = sealed(bytes(block))
    with pytest.raises(ValueError, match="credentials"):
        context.Credentials(fd, len(block))
    with pytest.raises(OSError):
        context.Credentials(fd, 0)
    os.close(fd)
    assert mapped_blocks() == 0


def test_private_keys_are_no_part_of_a_core_dump() -> None:
    held = load({"a": Content(b"c", b"k")})
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if "memfd:credentials" in line)
    flags = next(line for line in lines[at:] if line.startswith("VmFlags"))
    assert held.count == 1 and " dd" in flags, "madvise(MADV_DONTDUMP)"


def test_ticket_keys_are_taken_whole_and_leave_no_copies(gateway: Gateway) -> None:
    first, second = bytes(range(80)), bytes(range(100, 180))
    given = [bytes(bytearray(first)), bytes(bytearray(second))]
    gateway.context.take_ticket_keys(given)
    assert gateway.context.ticket_key_names() == [first[:16], second[:16]]
    assert (gateway.context.ticket_key_count, gateway.context.ticket_generation) == (2, 1)
    assert given == [bytes(80), bytes(80)]
    gateway.context.take_ticket_keys([])
    assert (gateway.context.ticket_key_count, gateway.context.ticket_generation) == (0, 2)


@pytest.mark.parametrize("keys", [[bytes(79)], [bytes(80)] * 17])
def test_a_list_of_other_things_is_refused(gateway: Gateway, keys: list[bytes]) -> None:
    gateway.context.take_ticket_keys([bytes(bytearray(b"k" * 80))])
    with pytest.raises(ValueError, match="ticket keys"):
        gateway.context.take_ticket_keys(keys)
    assert gateway.context.ticket_key_count == 1
