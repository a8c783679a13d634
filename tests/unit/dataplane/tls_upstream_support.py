"""Upstreams that speak TLS, scripted: everything happens in the test's own thread."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

from dataplane_support import Gateway, Message, Peer, Upstream, read_message
from tls_support import Pair, TlsPeer, authority, credential, give_credentials

from fastgw.credentials.content import Content
from fastgw.model.plan import UpstreamTls

NAME = "api.example.org"
GET = f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()


def get(host: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


class ServerContext:
    """What an upstream shows and asks. ``seen``: the server names of hellos."""

    def __init__(self, pair: Pair, directory: Path, clients: bytes = b"", **options: Any) -> None:
        self.seen: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        path = os.path.join(directory, f"{pair.x509.serial_number:x}.pem")
        with open(path, "wb") as file:
            file.write(pair.chain + pair.key)
        self.context.load_cert_chain(path)
        self.context.sni_callback = lambda _, name, __: self.seen.append(name)
        if clients:
            self.context.load_verify_locations(cadata=clients.decode())
            self.context.verify_mode = ssl.CERT_REQUIRED
        for name, value in options.items():
            setattr(self.context, name, value)


class TlsServer(TlsPeer):
    """The upstream's side of one connection."""

    def __init__(self, peer: Peer, server: ServerContext) -> None:
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.plain = bytearray()
        self.end = ""

    def request(self) -> Message:
        """The next whole request, taken off ``plain``."""

        def whole() -> bool:
            self.read()
            message = read_message(bytes(self.plain), None, self.end != "")
            return message is not None and message.whole

        self.peer.gateway.until(whole, lambda: f"a whole request, have {bytes(self.plain)[-300:]!r} {self.end}")
        message = read_message(bytes(self.plain), None, self.end != "")
        assert message is not None
        del self.plain[: message.size]
        return message

    def alerts(self) -> str:
        """The handshake must fail: how it looks from here."""
        try:
            self.handshake()
            self.until_end()
        except (ssl.SSLError, ConnectionError) as error:
            return str(error)
        return ""


def accept(gateway: Gateway, upstream: Upstream, server: ServerContext) -> TlsServer:
    """The next connection, after its handshake."""
    found = TlsServer(upstream.accept(gateway), server)
    found.handshake()
    gateway.settle()
    return found


def trusting(gateway: Gateway, upstream: Upstream, credentials: dict[str, Content] | None = None, **tls: Any) -> None:
    """Serve the upstream over TLS. The credential "ca" holds the tests' authority unless ``credentials`` says otherwise."""
    give_credentials(gateway, credentials if credentials is not None else {"ca": Content(ca=authority().pem)})
    gateway.serve(upstream, tls=UpstreamTls(**{"ca": "ca", **tls}))


def client_credentials(pair: Pair) -> dict[str, Content]:
    """The authority as "ca", the pair as "client"."""
    return {"ca": Content(ca=authority().pem), "client": credential(pair)}
