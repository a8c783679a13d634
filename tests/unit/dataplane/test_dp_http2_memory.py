"""The frame buffers of HTTP/2 sessions, on sessions of the real library."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastgw.dataplane import http2_memory

LIBRARY = ctypes.CDLL("libnghttp2.so.14")
LIBRARY.nghttp2_session_mem_send.restype = ctypes.c_ssize_t
Session = ctypes.c_void_p


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
