"""WebSocket peers: an echoing server in a thread of the tests' process, and clients that come through a gateway."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

Handler = Callable[[ServerConnection], None]


def echo(connection: ServerConnection) -> None:
    """Every message back as it came, of its kind, until the peer closes."""
    for message in connection:
        connection.send(message)


class WebSocketOrigin:
    """A WebSocket server on a free port. ``paths`` are those of the handshakes it took."""

    def __init__(self, handler: Handler = echo, **options: Any):
        self.paths: list[str] = []
        self.handler = handler
        self.server = serve(self._handle, "127.0.0.1", 0, max_size=None, **options)
        self.port: int = self.server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> WebSocketOrigin:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join(10)

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.handler(connection)


def websocket(port: int, host: str, path: str = "/", *, tls: ssl.SSLContext | None = None, **options: Any) -> ClientConnection:
    """A client's end of a WebSocket with ``host`` at a local port."""
    scheme = "wss" if tls is not None else "ws"
    if tls is not None:
        options["server_hostname"] = host
    options = {"max_size": None, "proxy": None, "open_timeout": 20, "close_timeout": 20, **options}
    connection: ClientConnection = connect(f"{scheme}://{host}:{port}{path}", address=("127.0.0.1", port), ssl=tls, **options)
    return connection
