"""A raw HTTP/1 client: sends the very bytes it is given, reads the answers strictly."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Sequence

from .http1 import Malformed, Message, Reader, Response, make_response, response_framing

TIMEOUT_S = 60.0


class Disconnected(Exception):
    """The gateway ended the connection before the answer was complete. ``partial`` is what had come of it."""

    def __init__(self, reason: str, partial: Response | None):
        super().__init__(reason if partial is None else f"{reason}; got {bytes(partial.raw[:200])!r}")
        self.partial = partial


class Client:
    """One TCP connection to the gateway. A context manager; every wait has a deadline."""

    def __init__(self, port: int, address: str = "127.0.0.1", timeout_s: float = TIMEOUT_S, receive_buffer: int | None = None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect((address, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout_s = timeout_s
        self.received = bytearray()
        self.ended = ""
        self._buffer = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    @property
    def local_port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    # --- sending

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def send_segments(self, segments: Iterable[tuple[bytes, float]]) -> None:
        """Pieces with a pause after each. A gateway that stopped reading ends the sending silently; its answer is what counts.

        Answers are read meanwhile, so that neither side blocks the other.
        """
        self.socket.setblocking(False)
        try:
            for piece, pause in segments:
                if not self._push(piece):
                    return
                self._pull_for(pause)
        finally:
            self.socket.settimeout(self.timeout_s)

    def _push(self, piece: bytes) -> bool:
        view = memoryview(piece)
        deadline = time.monotonic() + self.timeout_s
        while view:
            readable, writable, _ = select.select([self.socket] if not self.ended else [], [self.socket], [], 1.0)
            if readable:
                self._receive()
            if writable:
                try:
                    view = view[self.socket.send(view) :]
                except (BrokenPipeError, ConnectionResetError):
                    return False
            if time.monotonic() > deadline:
                raise TimeoutError("the gateway neither reads nor closes")
        return True

    def _pull_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                self._receive()

    def half_close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.ended = self.ended or f"reset ({error})"

    # --- receiving

    def _receive(self) -> bool:
        """One recv into the buffer; False at the end, with ``ended`` saying how."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "reset"
            return False
        except BlockingIOError:
            return True
        if not data:
            self.ended = "eof"
            return False
        self._buffer += data
        self.received += data
        return True

    def response(self, method: str = "GET") -> Response:
        """The next final response with its body. Raises Malformed, TimeoutError, or Disconnected."""
        done: list[Message] = []
        interim: list[Response] = []
        reader = Reader(make_response, response_framing(method), done.append)
        while True:
            while not done and self._buffer:
                self._feed_one_message(reader)
            if done:
                response = done.pop()
                assert isinstance(response, Response)
                if response.status < 200:
                    interim.append(response)
                    continue
                response.interim = interim
                return response
            if not self._receive():
                return self._at_end(reader, done, interim)

    def _feed_one_message(self, reader: Reader) -> None:
        """Gives the reader all bytes, and takes back those that follow the first message."""
        data = bytes(self._buffer)
        self._buffer.clear()
        outer = reader.on_message

        def stop_after_first(message: Message) -> None:
            self._buffer += reader.buffer
            reader.buffer.clear()
            outer(message)

        reader.on_message = stop_after_first
        try:
            reader.feed(data)
        finally:
            reader.on_message = outer

    def _at_end(self, reader: Reader, done: list[Message], interim: list[Response]) -> Response:
        partial = reader.current
        if partial is not None and self.ended == "eof":
            reader.finish()
        if not done:
            assert partial is None or isinstance(partial, Response)
            raise Disconnected(f"connection ended ({self.ended}) before the response was complete", partial)
        response = done.pop()
        assert isinstance(response, Response)
        response.interim = interim
        return response

    def request(self, data: bytes | str, method: str | None = None) -> Response:
        """Send one request, read its answer. The method is read off the bytes unless it is given."""
        raw = data.encode("latin-1") if isinstance(data, str) else data
        self.send(raw)
        return self.response(method or raw.split(b" ", 1)[0].decode())

    def get(self, target: str, host: str, *headers: str) -> Response:
        return self.request(request_bytes("GET", target, host, headers))

    def pull(self) -> bool:
        """Receive what there is within a moment; True unless the connection has ended."""
        self._pull_for(0.05)
        return not self.ended

    def wait_closed(self, seconds: float | None = None) -> bool:
        """True when the gateway ends the connection (FIN or RST) within the time; bytes that still come are kept."""
        deadline = time.monotonic() + (seconds if seconds is not None else self.timeout_s)
        while not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if select.select([self.socket], [], [], left)[0]:
                self._receive()
        return True

    def rest(self) -> bytes:
        """Bytes received and not yet read as a response."""
        return bytes(self._buffer)


def request_bytes(method: str, target: str, host: str, headers: Sequence[str] = (), body: bytes | None = None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def fetch(
    port: int, target: str, host: str, *headers: str, method: str = "GET", body: bytes | None = None, address: str = "127.0.0.1"
) -> Response:
    """One request on a connection of its own."""
    with Client(port, address) as client:
        return client.request(request_bytes(method, target, host, ("Connection: close", *headers), body))


__all__ = ["Client", "Disconnected", "Malformed", "fetch", "request_bytes"]
