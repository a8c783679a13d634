"""The frame buffers of HTTP/2 sessions, on sessions of the real library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fastgw.dataplane import http2_memory

LIBRARY = ctypes.CDLL("libnghttp2.so.14")
LIBRARY.nghttp2_session_mem_send.restype = ctypes.c_ssize_t
Session = ctypes.c_void_p
NO_MEMORY = -901
"""NGHTTP2_ERR_NOMEM"""


class Pair(ctypes.Structure):
    """nghttp2_nv"""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("value", ctypes.c_char_p),
        ("namelen", ctypes.c_size_t),
        ("valuelen", ctypes.c_size_t),
        ("flags", ctypes.c_uint8),
    )


def open_session() -> Session:
    """A client's: it can send without having received."""
    session, callbacks = Session(), ctypes.c_void_p()
    assert LIBRARY.nghttp2_session_callbacks_new(ctypes.byref(callbacks)) == 0
    memory = ctypes.c_void_p(http2_memory.address())
    assert LIBRARY.nghttp2_session_client_new3(ctypes.byref(session), callbacks, None, None, memory) == 0
    LIBRARY.nghttp2_session_callbacks_del(callbacks)
    return session


@contextmanager
def sessions(count: int) -> Iterator[list[Session]]:
    opened = [open_session() for _ in range(count)]
    try:
        yield opened
    finally:
        for session in opened:
            LIBRARY.nghttp2_session_del(session)


def sent_by(session: Session) -> bytes:
    data, out = ctypes.c_void_p(), b""
    while (n := LIBRARY.nghttp2_session_mem_send(session, ctypes.byref(data))) > 0:
        out += ctypes.string_at(data, n)
    assert n == 0
    return out


def submit(session: Session, value: bytes) -> None:
    pairs = (Pair * 2)(Pair(b":method", b"GET", 7, 3, 0), Pair(b"x-large", value, 7, len(value), 0))
    assert LIBRARY.nghttp2_submit_request(session, None, pairs, 2, None, None) > 0


def test_each_session_has_a_place_and_gives_it_back() -> None:
    before = http2_memory.frame_buffers()[0]
    with sessions(200):
        assert http2_memory.frame_buffers()[0] == before + 200
    assert http2_memory.frame_buffers()[0] == before


def test_places_are_used_again() -> None:
    with sessions(100):
        most = http2_memory.frame_buffers()[1]
    with sessions(100):
        assert http2_memory.frame_buffers()[1] == most


@pytest.mark.parametrize("size", [100, 15_000, 50_000])
def test_sessions_do_not_write_into_each_other(size: int) -> None:
    """Header blocks of all sizes, made by many sessions in turn; large ones take CONTINUATION frames, with more buffers."""
    with sessions(20) as opened:
        for session in opened:
            assert sent_by(session)
        for number, session in enumerate(opened):
            submit(session, bytes([ord("a") + number]) * size)
        made = [sent_by(session) for session in opened]
    assert len(set(made)) == 20
    with sessions(1) as [alone]:
        sent_by(alone)
        submit(alone, b"c" * size)
        assert sent_by(alone) == made[2]


def test_memory_returns_after_large_frames() -> None:
    before = http2_memory.frame_buffers()[0]
    with sessions(5) as opened:
        for session in opened:
            submit(session, b"v" * 50_000)
            assert len(sent_by(session)) > 25_000
    assert http2_memory.frame_buffers()[0] == before


@contextmanager
def denied(sizes: Callable[[int], bool]) -> Iterator[None]:
    """malloc has none for these."""
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t)(sizes)
    http2_memory.deny(ctypes.cast(function, ctypes.c_void_p).value)
    try:
        yield
    finally:
        http2_memory.deny(0)


def test_the_reserve_gives_what_malloc_has_not() -> None:
    """Header blocks are the same whoever's memory they are made in, and all of it comes back."""
    with sessions(1) as [session]:
        sent_by(session)
        submit(session, b"v" * 50_000)
        expected = sent_by(session)
    before = http2_memory.live_session_bytes()
    with sessions(1) as [session]:
        sent_by(session)
        with denied(lambda size: True):
            submit(session, b"v" * 50_000)
            assert http2_memory.reserve_in_use() > 0
            assert sent_by(session) == expected
    assert http2_memory.reserve_in_use() == 0 and http2_memory.live_session_bytes() == before


def test_the_reserve_comes_to_an_end_and_begins_anew() -> None:
    for _ in range(2):
        with sessions(20) as opened, denied(lambda size: size > 10_000):
            pairs = (Pair * 2)(Pair(b":method", b"GET", 7, 3, 0), Pair(b"x-large", b"v" * 50_000, 7, 50_000, 0))
            taken = [LIBRARY.nghttp2_submit_request(session, None, pairs, 2, None, None) for session in opened]
            assert taken[0] > 0 and taken[-1] == NO_MEMORY
        assert http2_memory.reserve_in_use() == 0
