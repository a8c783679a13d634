"""An upstream that speaks HTTP/2 (Python's h2), scripted frame by frame over a Peer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from dataplane_support import Gateway, Peer, Upstream

Headers = list[tuple[str, str]]
OK: Headers = [(":status", "200")]


class Request:
    """What has come of one stream."""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.body = bytearray()
        self.trailers: Headers | None = None
        self.ended = False
        self.reset: int | None = None

    def __getitem__(self, name: str) -> str:
        """The one value of a field; AssertionError when it is missing or repeated."""
        values = [v for n, v in self.headers if n == name]
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.headers]


class Http2Peer:
    """The far end of an upstream connection. ``all`` requests by stream, and ``requests``, those that the test has not asked for
    yet; ``acknowledge``: open windows as bytes arrive."""

    def __init__(self, gateway: Gateway, peer: Peer, settings: dict[int, int] | None = None, acknowledge: bool = True) -> None:
        self.gateway, self.peer, self.acknowledge = gateway, peer, acknowledge
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False,
        )  # fmt: skip
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings)
        self.all: dict[int, Request] = {}
        self.requests: dict[int, Request] = {}
        self.events: list[Any] = []
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.h2.initiate_connection()
        self.flush()

    # ---- receiving

    def poll(self, limit_bytes: int = 1 << 30) -> Http2Peer:
        before = len(self.peer.data)
        self.peer.poll(limit_bytes)
        data = bytes(self.peer.data[before:])
        if data:
            for event in self.h2.receive_data(data):
                self.take(event)
            self.flush()
        return self

    def take(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, h2.events.RequestReceived):
            self.all[event.stream_id] = self.requests[event.stream_id] = Request(list(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.all[event.stream_id].body += event.data
            if self.acknowledge and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.all[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.all[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.all[event.stream_id].reset = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event

    def until(self, condition: Any, what: str = "frames") -> Http2Peer:
        self.gateway.until(lambda: bool(condition(self.poll())), lambda: f"{what}, have {self.events[-5:]} {self.peer.end}")
        return self

    def streams(self, count: int) -> list[int]:
        """The ids of the first ``count`` whole requests."""
        self.until(lambda p: sum(r.ended for r in p.requests.values()) >= count, f"{count} requests")
        return [stream for stream, request in self.requests.items() if request.ended][:count]

    def request(self) -> tuple[int, Request]:
        """The next whole request, which is forgotten here."""
        self.until(lambda p: any(r.ended for r in p.requests.values()), "a whole request")
        stream = next(stream for stream, request in self.requests.items() if request.ended)
        return stream, self.requests.pop(stream)

    def head(self) -> int:
        """The stream of the next request whose head has come."""
        self.until(lambda p: bool(p.requests), "the head of a request")
        return next(iter(self.requests))

    # ---- sending

    def flush(self) -> Http2Peer:
        data = self.h2.data_to_send()
        if data:
            self.peer.send(data)
        return self

    def answer(
        self, stream: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = OK, trailers: Headers | None = None
    ) -> None:
        """A whole answer; the body has to fit the window."""
        self.h2.send_headers(stream, list(headers), end_stream=not body and trailers is None)
        at = 0
        while at < len(body):
            size = min(self.h2.max_outbound_frame_size, self.h2.local_flow_control_window(stream), len(body) - at)
            if size == 0:
                self.flush()
                self.gateway.turn(1)
                self.poll()
                continue
            at += size
            self.h2.send_data(stream, body[at - size : at], end_stream=at == len(body) and trailers is None)
        if trailers is not None:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()

    def raw(self, data: bytes) -> Http2Peer:
        """Bytes past the state machine."""
        self.flush()
        self.peer.send(data)
        return self


def accept(gateway: Gateway, upstream: Upstream, settings: dict[int, int] | None = None, acknowledge: bool = True) -> Http2Peer:
    return Http2Peer(gateway, upstream.accept(gateway), settings, acknowledge)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
