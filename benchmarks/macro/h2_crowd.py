"""Clients that hold HTTP/2 connections and streams open, for what a proxy's memory is measured by."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.settings
import proxies

TIMEOUT_S = 30.0
ENDED = h2.events.StreamEnded
BEGUN = h2.events.ResponseReceived


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


class Client:
    """One connection. ``window``: what a stream may send before it is asked to go on; this client never asks."""

    def __init__(self, port: int, context: ssl.SSLContext, window: int = 65535):
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket = context.wrap_socket(plain, server_hostname=proxies.HOST)
        if self.socket.selected_alpn_protocol() != "h2":
            raise RuntimeError("HTTP/2 was not agreed on")
        self.protocol = h2.connection.H2Connection(h2.config.H2Configuration())
        self.protocol.local_settings = h2.settings.Settings(
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window, h2.settings.SettingCodes.ENABLE_PUSH: 0}
        )
        self.protocol.initiate_connection()
        self._flush()

    def _flush(self) -> None:
        if pending := self.protocol.data_to_send():
            self.socket.sendall(pending)

    def ask(self, path: str, times: int) -> None:
        """Open streams, each with a request that has ended."""
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", proxies.HOST), (":path", path)]
        for _ in range(times):
            self.protocol.send_headers(self.protocol.get_next_available_stream_id(), fields, end_stream=True)
        self._flush()

    def await_events(self, kind: type[h2.events.Event], count: int, matches: Callable[[h2.events.Event], bool]) -> None:
        """Read until ``count`` events of one kind have come. Raises RuntimeError when one is not as it should be."""
        while count > 0:
            received = self.socket.recv(65536)
            if not received:
                raise RuntimeError("the proxy closed a connection")
            for event in self.protocol.receive_data(received):
                if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    raise RuntimeError(f"the proxy gave up: {event}")
                if isinstance(event, kind):
                    if not matches(event):
                        raise RuntimeError(f"the proxy answered {event}")
                    count -= 1
            self._flush()

    def await_answers(self, kind: type[h2.events.Event], count: int) -> None:
        self.await_events(kind, count, is_ok)

    def close(self) -> None:
        self.socket.close()


def is_ok(event: h2.events.Event) -> bool:
    return not isinstance(event, h2.events.ResponseReceived) or dict(event.headers).get(b":status", b"") in (b"200", "200")
