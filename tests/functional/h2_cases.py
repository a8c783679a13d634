"""What h2spec asks of a server, section by section, as frames to send and what has to come of them.

Sections are h2spec's: ``generic`` is good behaviour, the others are those of RFC 7540 (``http2``) and RFC 7541 (``hpack``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wire.h2 import (
    ACK,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    continuation,
    data,
    dependency,
    frame,
    goaway,
    headers,
    integer,
    literal,
    ping,
    priority,
    rst_stream,
    settings,
    text,
    window_update,
)

from .support.h2_checks import (
    COMPRESSION,
    FLOW_CONTROL,
    FRAME_SIZE,
    MALFORMED,
    PROTOCOL,
    Check,
    acked,
    alive,
    answered,
    body_of,
    connection_error,
    not_an_answer,
    same_ping,
    stream_error,
)
from .support.h2_wire import H2Wire

MAX_WINDOW = 2**31 - 1
FRAME_BYTES = 2**14
Send = Callable[[H2Wire], None]


@dataclass(frozen=True)
class Case:
    """``send`` does its part on a connection that has started (unless not ``starts``); ``check`` reads what comes, and asserts."""

    section: str
    what: str
    send: Send = field(repr=False)
    check: Check = field(repr=False)
    starts: bool = True

    @property
    def name(self) -> str:
        return f"{self.section} {self.what}"


# --- sending


def send(*frames: bytes) -> Send:
    return lambda wire: wire.send(*frames)


def get(*frames: bytes, stream: int = 1) -> Send:
    """Frames, then a GET."""
    return lambda wire: wire.send(*frames, wire.get(stream))


def after_get(*frames: bytes) -> Send:
    """A GET whose stream is half-closed when the frames come, or closed already."""
    return lambda wire: wire.send(wire.get(), *frames)


def after_answer(*frames: bytes) -> Send:
    """The stream is closed when the frames come."""

    def act(wire: H2Wire) -> None:
        wire.send(wire.get())
        answered()(wire)
        wire.send(*frames)

    return act


def after_post(*frames: bytes) -> Send:
    """The stream is open when the frames come."""
    return lambda wire: wire.send(wire.post(), *frames)


def post(*frames: bytes, length: int | None = None) -> Send:
    """A POST with its ``content-length``."""
    more = [] if length is None else [(b"content-length", str(length).encode())]
    return lambda wire: wire.send(wire.post(1, *more), *frames)


def get_with(*more: tuple[bytes, bytes], **options: object) -> Send:
    """A GET with more fields, or other ones."""
    return lambda wire: wire.send(headers(1, wire.request(*more, **options)))  # type: ignore[arg-type]


def get_raw(extra: bytes, before: bytes = b"") -> Send:
    """A GET whose header block has ``before`` and ``extra`` around its literals."""
    return lambda wire: wire.send(headers(1, before + wire.request() + extra))


def pieces(wire: H2Wire, count: int) -> list[bytes]:
    """A header block in HEADERS and ``count`` CONTINUATION frames, none of them empty."""
    whole = wire.request((b"x-filler", b"f" * 100))
    size = -(-len(whole) // (count + 1))
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    rest = [continuation(1, part, 0) for part in parts[1:-1]] + [continuation(1, parts[-1])]
    return [headers(1, parts[0], flags=0), *rest]


def split(count: int) -> Send:
    return lambda wire: wire.send(*pieces(wire, count))


def inside_block(make: Callable[[H2Wire], bytes]) -> Send:
    """A frame between HEADERS and its CONTINUATION."""

    def act(wire: H2Wire) -> None:
        first, last = pieces(wire, 1)
        wire.send(first, make(wire), last)

    return act


FILLER = block([(b"x-dummy", b"d")])
COMMON_FIELD = literal(58, b"inventory")  # user-agent
INVALID = b"\xff\xff\xff\xff\xff\xff\xff"

GENERIC = [
    Case("generic/1", "a preface", lambda wire: None, alive),
    Case("generic/2", "PRIORITY on an idle stream", get(priority(1)), answered()),
    Case("generic/2", "WINDOW_UPDATE on a half-closed stream", after_get(window_update(1, 1)), answered()),
    Case("generic/2", "PRIORITY on a half-closed stream", after_get(priority(1)), answered()),
    Case("generic/2", "RST_STREAM on a half-closed stream", after_get(rst_stream(1)), alive),
    Case("generic/2", "PRIORITY on a closed stream", after_answer(priority(1)), alive),
    Case("generic/3.1", "DATA", after_post(data(1, b"one", end=True)), answered()),
    Case("generic/3.1", "several DATA", after_post(data(1, b"one"), data(1, b"two", end=True)), answered()),
    Case("generic/3.1", "padded DATA", after_post(frame(DATA, PADDED | END_STREAM, 1, b"\x06padded" + bytes(6))), answered()),
    Case("generic/3.2", "HEADERS", get(), answered()),
    Case(
        "generic/3.2",
        "padded HEADERS",
        lambda wire: wire.send(headers(1, b"\x05" + wire.request() + bytes(5), flags=PADDED | END_HEADERS)),
        answered(),
    ),
    Case(
        "generic/3.2",
        "HEADERS with a priority",
        lambda wire: wire.send(headers(1, dependency(0, 255) + wire.request(), flags=WITH_PRIORITY | END_HEADERS)),
        answered(),
    ),
    Case("generic/3.3", "PRIORITY with weight 1", get(priority(1, weight=1)), answered()),
    Case("generic/3.3", "PRIORITY with weight 256", get(priority(1, weight=256)), answered()),
    Case("generic/3.3", "PRIORITY with a dependency", get(priority(3, 1)), answered()),
    Case("generic/3.3", "exclusive PRIORITY", get(priority(1, exclusive=True)), answered()),
    Case("generic/3.3", "PRIORITY on a higher stream than the next", get(priority(5)), answered()),
    Case("generic/3.4", "RST_STREAM", after_post(rst_stream(1)), alive),
    Case("generic/3.5", "SETTINGS", send(settings([(MAX_CONCURRENT_STREAMS, 10)])), acked),
    Case("generic/3.7", "PING", send(ping()), same_ping),
    Case("generic/3.8", "GOAWAY after a request", after_get(goaway()), answered()),
    Case("generic/3.9", "WINDOW_UPDATE on the connection", get(window_update(0, 1)), answered()),
    Case("generic/3.9", "WINDOW_UPDATE on a stream", after_get(window_update(1, 1)), answered()),
    Case("generic/3.10", "one CONTINUATION", split(1), answered()),
    Case("generic/3.10", "several CONTINUATION", split(3), answered()),
    Case("generic/4", "GET", get(), answered()),
    Case("generic/4", "HEAD", lambda wire: wire.send(headers(1, wire.request(method=b"HEAD"))), answered()),
    Case("generic/4", "POST", post(data(1, b"body", end=True), length=4), answered()),
    Case("generic/4", "POST with trailers", post(data(1, b"body"), headers(1, FILLER)), answered()),
    Case("generic/5", "indexed field", get_raw(integer(16, 7, 0x80)), answered()),
    *(
        Case("generic/5", f"{label}, {named}, {coded}", get_raw(literal(name, b"value", kind=kind, huffman=huffman)), answered())
        for label, kind in (("incremental indexing", 0x40), ("without indexing", 0x00), ("never indexed", 0x10))
        for named, name in (("indexed name", 58), ("new name", b"x-test"))
        for coded, huffman in (("plain", False), ("Huffman", True))
    ),
    Case("generic/5", "a table size update", get_raw(b"", integer(128, 5, 0x20)), answered()),
    Case("generic/5", "two table size updates", get_raw(b"", integer(64, 5, 0x20) + integer(128, 5, 0x20)), answered()),
]

CONNECTION = [
    Case("http2/3.5", "SETTINGS come first", lambda wire: None, alive),
    Case("http2/3.5", "a broken preface", send(b"NOT A CONNECTION PREFACE\r\n\r\n"), lambda wire: closed(wire), starts=False),
    Case("http2/4.1", "a frame of unknown type", send(frame(0xFF, 0, 0, b"12345678")), alive),
    Case("http2/4.1", "an undefined flag", send(ping(flags=0xFE)), same_ping),
    Case("http2/4.1", "the reserved bit", send(frame(PING, 0, 1 << 31, b"pingpong")), same_ping),
    Case("http2/4.2", "DATA of 2^14 bytes", after_post(data(1, b"d" * FRAME_BYTES, end=True)), answered()),
    Case(
        "http2/4.2", "DATA that is too large", after_post(data(1, bytes(FRAME_BYTES + 1), end=True)), stream_error(FRAME_SIZE_ERROR)
    ),
    Case(
        "http2/4.2",
        "HEADERS that are too large",
        lambda wire: wire.send(headers(1, wire.request((b"x-filler", bytes(FRAME_BYTES))))),
        FRAME_SIZE,
    ),
    Case("http2/4.3", "a block that cannot be decoded", send(headers(1, INVALID)), COMPRESSION),
    Case("http2/4.3", "PRIORITY inside a block", inside_block(lambda w: priority(1)), PROTOCOL),
    Case("http2/4.3", "HEADERS of another stream inside a block", inside_block(lambda w: w.get(3)), PROTOCOL),
    Case("http2/5.1", "idle: DATA", send(data(1, b"test", end=True)), PROTOCOL),
    Case("http2/5.1", "idle: RST_STREAM", send(rst_stream(1)), PROTOCOL),
    Case("http2/5.1", "idle: WINDOW_UPDATE", send(window_update(1, 100)), PROTOCOL),
    Case("http2/5.1", "idle: CONTINUATION", send(continuation(1, FILLER)), PROTOCOL),
    Case("http2/5.1", "half-closed: DATA", after_get(data(1, b"test", end=True)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1", "half-closed: HEADERS", lambda w: w.send(w.get(), w.get()), stream_error(STREAM_CLOSED)),
    Case("http2/5.1", "half-closed: CONTINUATION", after_get(continuation(1, FILLER)), stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case(
        "http2/5.1",
        "closed by RST_STREAM: DATA",
        after_post(rst_stream(1), data(1, b"test", end=True)),
        stream_error(STREAM_CLOSED),
    ),
    Case(
        "http2/5.1",
        "closed by RST_STREAM: HEADERS",
        lambda w: w.send(w.post(), rst_stream(1), w.get()),
        stream_error(STREAM_CLOSED),
    ),
    Case(
        "http2/5.1",
        "closed by RST_STREAM: CONTINUATION",
        after_post(rst_stream(1), continuation(1, FILLER)),
        stream_error(STREAM_CLOSED, PROTOCOL_ERROR),
    ),
    Case("http2/5.1", "closed: DATA", after_answer(data(1, b"test", end=True)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1", "closed: HEADERS", lambda w: (after_answer()(w), w.send(w.get()))[-1], connection_error(STREAM_CLOSED)),
    Case(
        "http2/5.1", "closed: CONTINUATION", after_answer(continuation(1, FILLER)), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)
    ),
    # RFC 9113 section 5.3.1 took the scheme of RFC 7540 away, and with it this error
    Case("http2/5.3.1", "HEADERS that depend on themselves", lambda w: w.send(self_dependent(w)), lambda w: error_or_answer(w)),
    Case("http2/5.3.1", "PRIORITY that depends on itself", get(priority(1, 1)), lambda w: error_or_answer(w)),
    Case("http2/5.1.1", "an even stream", get(stream=2), PROTOCOL),
    Case(
        "http2/5.1.1",
        "a lower stream than before",
        lambda w: w.send(w.get(5), w.get(3)),
        connection_error(PROTOCOL_ERROR, STREAM_CLOSED),
    ),
    Case("http2/5.4.1", "a broken PING ends the connection", send(frame(PING, 0, 1, b"pingpong")), PROTOCOL),
    Case(
        "http2/5.4.1",
        "nothing is served after GOAWAY",
        lambda w: w.send(frame(PING, 0, 1, b"pingpong"), ping(), w.get()),
        PROTOCOL,
    ),
    Case("http2/5.5", "an unknown frame", send(frame(0xFF, 0, 0, b"extension")), alive),
    Case(
        "http2/5.5",
        "an unknown frame inside a block",
        inside_block(lambda w: frame(0xFF, 0, 1, b"x")),
        PROTOCOL,
    ),
]

FRAMES = [
    Case("http2/6.1", "DATA on stream 0", send(data(0, b"test", end=True)), PROTOCOL),
    Case("http2/6.1", "DATA on a stream that is not open", after_get(data(1, b"test", end=True)), stream_error(STREAM_CLOSED)),
    Case("http2/6.1", "DATA with too much padding", after_post(frame(DATA, PADDED, 1, b"\x06test")), PROTOCOL),
    Case("http2/6.2", "PRIORITY after an open block", inside_block(lambda w: priority(1)), PROTOCOL),
    Case("http2/6.2", "HEADERS after an open block", inside_block(lambda w: w.get(3)), PROTOCOL),
    Case("http2/6.2", "HEADERS on stream 0", get(stream=0), PROTOCOL),
    Case(
        "http2/6.2",
        "HEADERS with too much padding",
        lambda w: w.send(headers(1, b"\xff" + w.request(), flags=PADDED | END_HEADERS)),
        PROTOCOL,
    ),
    Case("http2/6.3", "PRIORITY on stream 0", send(priority(0)), PROTOCOL),
    Case("http2/6.3", "PRIORITY of 4 bytes", after_post(frame(PRIORITY, 0, 1, bytes(4))), stream_error(FRAME_SIZE_ERROR)),
    Case("http2/6.4", "RST_STREAM on stream 0", send(rst_stream(0)), PROTOCOL),
    Case("http2/6.4", "RST_STREAM on an idle stream", send(rst_stream(1)), PROTOCOL),
    Case("http2/6.4", "RST_STREAM of 3 bytes", after_post(frame(RST_STREAM, 0, 1, bytes(3))), FRAME_SIZE),
    Case("http2/6.5", "SETTINGS ACK with a payload", send(frame(SETTINGS, ACK, 0, b"\0")), FRAME_SIZE),
    Case("http2/6.5", "SETTINGS on a stream", send(frame(SETTINGS, 0, 1, bytes(6))), PROTOCOL),
    Case("http2/6.5", "SETTINGS of 3 bytes", send(frame(SETTINGS, 0, 0, bytes(3))), FRAME_SIZE),
    Case("http2/6.5.2", "ENABLE_PUSH 2", send(settings([(ENABLE_PUSH, 2)])), PROTOCOL),
    Case(
        "http2/6.5.2",
        "INITIAL_WINDOW_SIZE too large",
        send(settings([(INITIAL_WINDOW_SIZE, MAX_WINDOW + 1)])),
        FLOW_CONTROL,
    ),
    Case(
        "http2/6.5.2",
        "MAX_FRAME_SIZE too small",
        send(settings([(MAX_FRAME_SIZE, FRAME_BYTES - 1)])),
        PROTOCOL,
    ),
    Case("http2/6.5.2", "MAX_FRAME_SIZE too large", send(settings([(MAX_FRAME_SIZE, 2**24)])), PROTOCOL),
    Case("http2/6.5.2", "an unknown setting", send(settings([(0xFF, 1)])), alive),
    Case(
        "http2/6.5.3",
        "the last of several values counts",
        get(settings([(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)])),
        body_of(1, 1),
    ),
    Case("http2/6.5.3", "SETTINGS are acknowledged", send(settings()), acked),
    Case("http2/6.7", "PING", send(ping()), same_ping),
    Case("http2/6.7", "PING ACK", send(ping(flags=ACK)), not_an_answer),
    Case("http2/6.7", "PING on a stream", send(frame(PING, 0, 1, b"pingpong")), PROTOCOL),
    Case("http2/6.7", "PING of 6 bytes", send(ping(b"short!")), FRAME_SIZE),
    Case("http2/6.8", "GOAWAY on a stream", send(frame(GOAWAY, 0, 1, bytes(8))), PROTOCOL),
    Case("http2/6.9", "an increment of 0 on the connection", send(window_update(0, 0)), PROTOCOL),
    Case("http2/6.9", "an increment of 0 on a stream", after_post(window_update(1, 0)), stream_error(PROTOCOL_ERROR)),
    Case("http2/6.9", "WINDOW_UPDATE of 3 bytes", send(frame(WINDOW_UPDATE, 0, 0, bytes(3))), FRAME_SIZE),
    Case("http2/6.9.1", "a window of 1", get(settings([(INITIAL_WINDOW_SIZE, 1)])), body_of(1, 1)),
    Case(
        "http2/6.9.1",
        "the connection's window grows too large",
        send(window_update(0, MAX_WINDOW), window_update(0, MAX_WINDOW)),
        FLOW_CONTROL,
    ),
    Case(
        "http2/6.9.1",
        "a stream's window grows too large",
        after_post(window_update(1, MAX_WINDOW), window_update(1, MAX_WINDOW)),
        stream_error(FLOW_CONTROL_ERROR),
    ),
    Case(
        "http2/6.9.2",
        "windows grow while an answer waits",
        get(settings([(INITIAL_WINDOW_SIZE, 0)])),
        lambda w: (w.read_until(lambda: w.status(1) == 200), w.send(settings([(INITIAL_WINDOW_SIZE, 1)])), body_of(1, 1, 2)(w))[-1],
    ),
    Case("http2/6.9.2", "a window becomes negative", get(settings([(INITIAL_WINDOW_SIZE, 3)])), lambda w: negative_window(w)),
    Case(
        "http2/6.9.2",
        "a window too large while an answer waits",
        get(settings([(INITIAL_WINDOW_SIZE, MAX_WINDOW + 1)])),
        FLOW_CONTROL,
    ),
    Case("http2/6.10", "several CONTINUATION", split(4), answered()),
    Case(
        "http2/6.10",
        "another frame between CONTINUATION",
        inside_block(lambda w: data(1, b"test", end=True)),
        PROTOCOL,
    ),
    Case("http2/6.10", "CONTINUATION on stream 0", inside_block(lambda w: continuation(0, FILLER)), PROTOCOL),
    Case("http2/6.10", "CONTINUATION after a whole HEADERS", after_post(continuation(1, FILLER)), PROTOCOL),
    Case(
        "http2/6.10",
        "CONTINUATION after a whole CONTINUATION",
        lambda w: w.send(*pieces(w, 1), continuation(1, FILLER)),
        PROTOCOL,
    ),
    Case(
        "http2/6.10",
        "CONTINUATION after DATA",
        after_post(data(1, b"test"), continuation(1, FILLER)),
        PROTOCOL,
    ),
    Case("http2/7", "GOAWAY with an unknown code", send(goaway(0, 0xFF)), lambda wire: ends_or_lives(wire)),
    Case("http2/7", "RST_STREAM with an unknown code", after_post(rst_stream(1, 0xFF)), alive),
]

MESSAGES = [
    Case("http2/8.1", "a second HEADERS that does not end", after_post(headers(1, FILLER, end=False)), MALFORMED),
    Case("http2/8.1.2", "a name in upper case", get_with((b"X-TEST", b"ok")), MALFORMED),
    Case("http2/8.1.2.1", "an unknown pseudo-header field", get_with((b":test", b"ok")), MALFORMED),
    Case("http2/8.1.2.1", "a response's pseudo-header field", get_with((b":status", b"200")), MALFORMED),
    Case("http2/8.1.2.1", "a pseudo-header field in trailers", after_post(headers(1, block([(b":method", b"POST")]))), MALFORMED),
    Case(
        "http2/8.1.2.1",
        "a pseudo-header field after others",
        get_with((b"x-test", b"ok"), (b":path", b"/"), without=[b":path"]),
        MALFORMED,
    ),
    Case("http2/8.1.2.2", "a connection field", get_with((b"connection", b"keep-alive")), MALFORMED),
    Case("http2/8.1.2.2", "te other than trailers", get_with((b"te", b"trailers, deflate")), MALFORMED),
    Case("http2/8.1.2.3", "an empty :path", get_with(path=b""), MALFORMED),
    *(
        Case("http2/8.1.2.3", f"no {name.decode()}", get_with(without=[name]), MALFORMED)
        for name in (b":method", b":scheme", b":path")
    ),
    *(
        Case("http2/8.1.2.3", f"two {name.decode()}", lambda w, name=name: twice(w, name), MALFORMED)  # type: ignore[misc]
        for name in (b":method", b":scheme", b":path")
    ),
    Case("http2/8.1.2.6", "less in one DATA than its length", post(data(1, b"test", end=True), length=1), MALFORMED),
    Case(
        "http2/8.1.2.6",
        "less in several DATA than their length",
        post(data(1, b"te"), data(1, b"st", end=True), length=1),
        MALFORMED,
    ),
    Case(
        "http2/8.2",
        "PUSH_PROMISE",
        send(frame(PUSH_PROMISE, END_HEADERS, 1, (2).to_bytes(4, "big") + FILLER)),
        PROTOCOL,
    ),
]

HPACK = [
    Case("hpack/2.3.3", "an indexed field outside the tables", get_raw(integer(70, 7, 0x80)), COMPRESSION),
    Case(
        "hpack/2.3.3",
        "an indexed name outside the tables",
        get_raw(literal(70, b"v", kind=0x40)),
        COMPRESSION,
    ),
    Case("hpack/4.2", "a table size update at the end of a block", get_raw(integer(1, 5, 0x20)), COMPRESSION),
    Case(
        "hpack/5.2",
        "Huffman padding of more than 7 bits",
        get_raw(b"\x00" + text(b"x-test") + b"\x82\x1f\xff"),
        COMPRESSION,
    ),
    Case(
        "hpack/5.2",
        "Huffman padding of zeros",
        get_raw(b"\x00" + text(b"x-test") + b"\x81\x18"),
        COMPRESSION,
    ),
    Case(
        "hpack/5.2",
        "Huffman code of the end of strings",
        get_raw(b"\x00" + text(b"x-test") + b"\x85\x1f\xff\xff\xff\xff"),
        COMPRESSION,
    ),
    Case("hpack/6.1", "an indexed field of index 0", get_raw(b"\x80"), COMPRESSION),
    Case(
        "hpack/6.3",
        "a table size update above what was allowed",
        lambda w: w.send(headers(1, integer(w.settings.get(HEADER_TABLE_SIZE, 4096) + 1, 5, 0x20) + w.request())),
        COMPRESSION,
    ),
]

CASES = [*GENERIC, *CONNECTION, *FRAMES, *MESSAGES, *HPACK]


# --- cases of several steps


def twice(wire: H2Wire, name: bytes) -> None:
    """A pseudo-header field twice, before all others."""
    values = {b":method": b"GET", b":scheme": wire.scheme.encode(), b":path": b"/"}
    wire.send(headers(1, block([(name, values[name])]) + wire.request()))


def closed(wire: H2Wire) -> None:
    """Whatever was said in HTTP/1.1, the connection is at its end."""
    wire.read_until(lambda: False)
    assert wire.ended and not wire.statuses, wire


def self_dependent(wire: H2Wire) -> bytes:
    return headers(1, dependency(1) + wire.request(), flags=WITH_PRIORITY | END_HEADERS)


def error_or_answer(wire: H2Wire) -> None:
    """PROTOCOL_ERROR of RFC 7540, or as if nothing were wrong."""
    wire.read_until(lambda: wire.answered(1) or bool(wire.resets) or wire.goaway is not None)
    if wire.goaway is not None or wire.resets:
        stream_error(PROTOCOL_ERROR)(wire)
    else:
        answered()(wire)


def negative_window(wire: H2Wire) -> None:
    """Three bytes have been sent when the window shrinks by one; two more are allowed: one comes."""
    body_of(1, 3)(wire)
    wire.send(settings([(INITIAL_WINDOW_SIZE, 2)]))
    wire.send(window_update(1, 2))
    wire.read_until(lambda: len(wire.body(1)) > 3)
    alive(wire)
    assert len(wire.body(1)) == 4, wire


def ends_or_lives(wire: H2Wire) -> None:
    """The client will ask no more: the server may close, without complaint."""
    wire.send(ping(b"still on"))
    wire.read_until(lambda: b"still on" in wire.pongs)
    assert wire.goaway in (None, 0), wire


def too_many_streams(wire: H2Wire) -> None:
    """One more than the server allows, none of which can end: PROTOCOL_ERROR or REFUSED_STREAM."""
    allowed = wire.settings[MAX_CONCURRENT_STREAMS]
    wire.send(settings([(INITIAL_WINDOW_SIZE, 0)]), *(wire.get(1 + 2 * n) for n in range(allowed + 1)))
    stream_error(PROTOCOL_ERROR, REFUSED_STREAM, stream=None)(wire)
    assert wire.goaway is not None or list(wire.resets) == [1 + 2 * allowed], wire


CASES.append(Case("http2/5.1.2", "more streams than are allowed", lambda wire: None, too_many_streams))
