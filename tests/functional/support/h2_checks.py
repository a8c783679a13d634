"""What has to come back on an HTTP/2 connection: checks of a recorded connection, which read until they know.

A stream error may be told by a connection error (RFC 9113 section 5.4.2). A malformed request is a stream error (section 8.1.1).
"""

from __future__ import annotations

from collections.abc import Callable

from wire.h2 import (
    COMPRESSION_ERROR,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    ping,
    window_update,
)

from .h2_wire import H2Wire

Check = Callable[[H2Wire], None]


def answered(stream: int = 1) -> Check:
    """A whole answer, 200, on a stream that was not reset, and nothing wrong with the connection."""

    def check(wire: H2Wire) -> None:
        wire.read_until(lambda: wire.answered(stream) or stream in wire.resets or bool(wire.goaway))
        assert wire.status(stream) == 200 and wire.answered(stream), wire
        assert not wire.goaway and stream not in wire.resets, wire

    return check


def alive(wire: H2Wire) -> None:
    """Nothing has happened: a PING is answered."""
    wire.send(ping(b"still on"))
    wire.read_until(lambda: b"still on" in wire.pongs)
    assert b"still on" in wire.pongs and wire.goaway is None and not wire.resets, wire


def connection_error(*codes: int) -> Check:
    """GOAWAY with one of the codes, then the end."""

    def check(wire: H2Wire) -> None:
        wire.read_until(lambda: False)
        assert wire.goaway in codes, f"{codes} expected; {wire}"

    return check


def stream_error(*codes: int, stream: int | None = 1) -> Check:
    """RST_STREAM with one of the codes (on any stream: None), or the same as a connection error."""

    def told(wire: H2Wire) -> bool:
        return (bool(wire.resets) if stream is None else stream in wire.resets) or wire.goaway is not None

    def check(wire: H2Wire) -> None:
        wire.read_until(lambda: told(wire))
        if wire.goaway is not None:
            connection_error(*codes)(wire)
        else:
            got = set(wire.resets.values()) if stream is None else {wire.resets.get(stream)}
            assert got and got <= set(codes), f"{codes} expected; {wire}"

    return check


def acked(wire: H2Wire) -> None:
    """SETTINGS are acknowledged: these and those of the start."""
    wire.read_until(lambda: wire.settings_acks >= 2)
    assert wire.settings_acks == 2 and wire.goaway is None, wire


def not_an_answer(wire: H2Wire) -> None:
    """A PING that is an acknowledgement is not acknowledged; the one after it is."""
    alive(wire)
    assert wire.pongs == [b"still on"], wire.pongs


def same_ping(wire: H2Wire) -> None:
    wire.read_until(lambda: bool(wire.pongs))
    assert wire.pongs == [b"pingpong"], wire


def body_of(stream: int, *sizes: int) -> Check:
    """DATA frames of these sizes come first, one for each WINDOW_UPDATE of the sizes that follow."""

    def check(wire: H2Wire) -> None:
        want = 0
        for at, size in enumerate(sizes):
            want += size
            if at:
                wire.send(window_update(stream, size))
            wire.read_until(lambda want=want: len(wire.body(stream)) >= want)  # type: ignore[misc]
            alive(wire)
            assert len(wire.body(stream)) == want, wire

    return check


PROTOCOL = connection_error(PROTOCOL_ERROR)
FRAME_SIZE = connection_error(FRAME_SIZE_ERROR)
FLOW_CONTROL = connection_error(FLOW_CONTROL_ERROR)
COMPRESSION = connection_error(COMPRESSION_ERROR)
MALFORMED = stream_error(PROTOCOL_ERROR)
