"""An HTTP/2 client of the gateway in the test's own process, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

from dataplane_support import Gateway, Message, Peer
from wire import h2


class H2Peer:
    """A client's connection; ``seen`` is what came back."""

    def __init__(self, gateway: Gateway, *, hello: bytes | None = None, **options: int) -> None:
        self.gateway = gateway
        self.peer: Peer = gateway.client(**options)
        self.seen = h2.Reader()
        self.send(h2.hello() if hello is None else hello)

    def send(self, *parts: bytes) -> H2Peer:
        self.peer.send(b"".join(parts))
        return self

    def poll(self) -> h2.Reader:
        self.seen.feed(bytes(self.peer.poll().data))
        self.peer.data.clear()
        return self.seen

    def until(self, condition: Callable[[h2.Reader], bool]) -> h2.Reader:
        def what() -> str:
            return f"frames, have {[(f.kind, f.flags, f.stream, f.payload[:60]) for f in self.seen.frames[-6:]]} {self.peer.end}"

        self.gateway.until(lambda: condition(self.poll()), what)
        return self.seen

    def stream(self, number: int = 1) -> h2.Stream:
        """A stream that has ended."""
        self.until(lambda seen: number in seen.streams and seen.streams[number].end != "")
        return self.seen.streams[number]

    def settled(self) -> h2.Reader:
        self.gateway.settle()
        return self.poll()

    def until_end(self) -> str:
        """How the connection ended."""
        self.gateway.until(lambda: bool(self.poll()) and self.peer.end != "", lambda: f"the end, have {self.seen.frames[-6:]}")
        return self.peer.end


def serve(up: Peer, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> Message:
    """The next request of an upstream's connection, answered."""
    message = up.request()
    up.send(answer)
    return message
