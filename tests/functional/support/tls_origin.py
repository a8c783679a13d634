"""An upstream that speaks TLS, with Python's ssl: what it was asked, under which name, with which certificate."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .certificates import Authority, Identity
from .origin import ThreadedOrigin, ok, read_head


@dataclass(frozen=True)
class Shaken:
    """One handshake, or why it failed. ``name`` is the SNI, ``subject`` the common name of the client's certificate."""

    name: str | None
    version: str = ""
    reused: bool = False
    subject: str = ""
    alpn: str | None = None
    failed: str = ""


class TlsOrigin(ThreadedOrigin):
    """HTTP/1.1 over TLS; requests without a body, connections that stay. ``answer`` makes the response of a head.

    ``clients``: the CA that clients must have a certificate of. ``prepare`` may change the context. ``before``: bytes sent in the
    clear ahead of the handshake.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        directory: Path,
        *,
        clients: Authority | None = None,
        prepare: Callable[[ssl.SSLContext], None] | None = None,
        before: bytes = b"",
    ):
        self.name = name
        self.before = before
        self.handshakes: list[Shaken] = []
        self.heads: list[bytes] = []
        self.answer: Callable[[bytes], bytes] = self.echo
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(*identity.write(directory, f"origin-{name}"))
        self.context.sni_callback = self._note_name
        self._names: dict[int, str | None] = {}
        if clients is not None:
            self.context.load_verify_locations(cadata=clients.pem)
            self.context.verify_mode = ssl.CERT_REQUIRED
        if prepare is not None:
            prepare(self.context)
        super().__init__(self._handle)

    def echo(self, head: bytes) -> bytes:
        line, *fields = head.decode("latin-1").split("\r\n")
        body = json.dumps({"origin": self.name, "line": line, "fields": [field for field in fields if field]}).encode()
        return ok(body, "Content-Type: application/json", f"X-Origin: {self.name}")

    def _note_name(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        self._names[id(tls)] = name

    def _handle(self, sock: socket.socket) -> None:
        if self.before:
            sock.sendall(self.before)
        try:
            tls = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            tls.settimeout(30)
            tls.do_handshake()
        except (ssl.SSLError, OSError) as error:
            self.handshakes.append(Shaken(None, failed=str(error)))
            return
        with tls:
            self.handshakes.append(self._shaken(tls))
            with contextlib.suppress(ssl.SSLError):
                while (head := read_head(tls)).endswith(b"\r\n\r\n"):
                    self.heads.append(head)
                    tls.sendall(self.answer(head))
                    if b"\r\nconnection: close\r\n" in head.lower():
                        tls.unwrap()
                        return

    def _shaken(self, tls: ssl.SSLSocket) -> Shaken:
        certificate = tls.getpeercert() or {}
        subject = dict(pair for part in certificate.get("subject", ()) for pair in part)  # type: ignore[misc,union-attr]
        return Shaken(
            self._names.pop(id(tls), None),
            tls.version() or "",
            bool(tls.session_reused),
            str(subject.get("commonName", "")),
            tls.selected_alpn_protocol(),
        )
