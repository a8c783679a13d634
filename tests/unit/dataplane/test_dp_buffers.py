"""Buffers: growth, limits, and that every block is given back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgw.dataplane.buffers import Buffer, live_buffer_bytes

CLASSES = [4096, 16384, 32768, 65536, 131072, 262144]
LIMIT = CLASSES[-1]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = live_buffer_bytes()
    yield
    assert live_buffer_bytes() == before


@pytest.mark.parametrize("i", range(5))
def test_a_block_of_the_next_size_is_taken(i: int) -> None:
    before = live_buffer_bytes()
    buffer = Buffer()
    buffer.put(b"x" * CLASSES[i])
    assert live_buffer_bytes() - before == CLASSES[i]
    if i + 1 < len(CLASSES):
        buffer.put(b"y")
        assert live_buffer_bytes() - before == CLASSES[i + 1]
        assert buffer.peek() == b"x" * CLASSES[i] + b"y"


def test_an_empty_buffer_holds_nothing() -> None:
    before = live_buffer_bytes()
    buffer = Buffer()
    assert buffer.peek() == b"" and live_buffer_bytes() == before
    buffer.put(b"")
    assert live_buffer_bytes() == before
    buffer.put(b"abc")
    buffer.drop(3)
    assert buffer.peek() == b"" and live_buffer_bytes() == before


def test_the_limit_is_refused_and_changes_nothing() -> None:
    buffer = Buffer()
    buffer.put(b"a" * LIMIT)
    with pytest.raises(OverflowError):
        buffer.put(b"b")
    assert buffer.peek() == b"a" * LIMIT
    buffer.drop(1)
    buffer.put(b"b")
    assert buffer.peek() == b"a" * (LIMIT - 1) + b"b"
    with pytest.raises(OverflowError):
        Buffer().put(b"c" * (LIMIT + 1))


def test_more_than_there_is_cannot_be_dropped() -> None:
    buffer = Buffer()
    with pytest.raises(ValueError):
        buffer.drop(1)
    buffer.put(b"abc")
    with pytest.raises(ValueError):
        buffer.drop(4)
    assert buffer.peek() == b"abc"


def test_room_at_the_front_is_used_before_a_larger_block() -> None:
    before = live_buffer_bytes()
    buffer = Buffer()
    buffer.put(bytes(4096))
    buffer.drop(4000)
    buffer.put(b"z" * 4000)
    assert live_buffer_bytes() - before == 4096
    assert buffer.peek() == bytes(96) + b"z" * 4000


def test_a_forgotten_buffer_gives_its_block_back() -> None:
    before = live_buffer_bytes()
    buffers = [Buffer() for _ in range(2000)]  # more than the pool keeps of a size
    for buffer in buffers:
        buffer.put(b"x")
    assert live_buffer_bytes() - before == 2000 * 4096
    buffers.clear()
    del buffer
    assert live_buffer_bytes() == before


@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(1, 70_000), st.integers(-100, -1))))
def test_a_buffer_is_a_queue_of_bytes(steps: list[bytes | int]) -> None:
    """bytes: append; n > 0: append n bytes; n < 0: drop that percentage of what is there."""
    buffer, model = Buffer(), bytearray()
    for step in steps:
        data = step if isinstance(step, bytes) else bytes([step % 251]) * max(step, 0)
        if isinstance(step, int) and step < 0:
            n = len(model) * -step // 100
            buffer.drop(n)
            del model[:n]
        elif len(model) + len(data) > LIMIT:
            with pytest.raises(OverflowError):
                buffer.put(data)
        else:
            buffer.put(data)
            model += data
        assert buffer.peek() == bytes(model)
