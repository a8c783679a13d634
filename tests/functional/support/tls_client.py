"""TLS clients: Python's ssl under the strict HTTP/1 client, and ``openssl s_client`` as people use it."""

from __future__ import annotations

import contextlib
import re
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .certificates import Authority, Identity
from .client import TIMEOUT_S, Client, request_bytes
from .http1 import Response


def client_context(
    authority: Authority, identity: Identity | None = None, directory: Path | None = None, *, alpn: Sequence[str] = ()
) -> ssl.SSLContext:
    """Trusts one CA; shows a certificate when there is one, whose files go into ``directory``."""
    context = ssl.create_default_context(cadata=authority.pem)
    if identity is not None:
        assert directory is not None
        chain, key = identity.write(directory, f"client-{identity.sha256[:8]}")
        context.load_cert_chain(chain, key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class TlsClient(Client):
    """One TLS connection. Raises ssl.SSLError or ConnectionError when the handshake fails.

    In TLS 1.3 a server that refuses the client's certificate says so after the client's side of the handshake: a read fails.
    """

    def __init__(
        self,
        port: int,
        name: str | None,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        timeout_s: float = TIMEOUT_S,
        address: str = "127.0.0.1",
    ):
        super().__init__(port, address, timeout_s)
        if name is None:
            context.check_hostname = False
        try:
            self.tls = context.wrap_socket(self.socket, server_hostname=name, session=session, suppress_ragged_eofs=False)
        except BaseException:
            self.socket.close()
            raise
        self.socket = self.tls
        self.alert = ""

    def _receive(self) -> bool:
        try:
            return super()._receive()
        except ssl.SSLEOFError:
            self.ended = "ragged eof"
        except ssl.SSLError as error:
            self.alert = error.reason or str(error)
            self.ended = f"tls: {self.alert}"
        return False


def fetch_tls(
    port: int, name: str | None, context: ssl.SSLContext, target: str = "/", host: str | None = None, *headers: str
) -> Response:
    """One request on a connection of its own; ``host`` is the name unless it is given."""
    with TlsClient(port, name, context) as client:
        return client.request(request_bytes("GET", target, host or name or "localhost", ("Connection: close", *headers)))


def refusal(port: int, name: str | None, context: ssl.SSLContext, host: str | None = None) -> str:
    """How a connection that must not be served ends: the alert's name, "reset", or "eof". An answer fails the test.

    The alert of a TLS 1.3 server comes after the handshake; a request sent before it is read could have it lost to a reset.
    """
    try:
        with TlsClient(port, name, context) as client:
            client.tls.settimeout(5)
            with contextlib.suppress(TimeoutError):
                client._receive()
            if not client.ended:
                client.tls.settimeout(client.timeout_s)
                client.send(get_request(host or name or "localhost"))
            while client._receive():
                pass
            assert not client.received, f"served: {bytes(client.received[:200])!r}"
            return client.alert or client.ended
    except ssl.SSLEOFError:
        return "eof"
    except ssl.SSLError as error:
        return error.reason or str(error)
    except (ConnectionResetError, BrokenPipeError):
        return "reset"


@dataclass(frozen=True)
class Talk:
    """What s_client said. ``code`` is its exit status."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    def value(self, label: str) -> str:
        """``Label : value`` or ``Label: value`` of the session's description; "" when it is not there."""
        found = re.search(rf"^\s*{re.escape(label)}\s*: ?(.*)$", self.out, re.M)
        return found.group(1).strip() if found else ""

    @property
    def reused(self) -> bool:
        return bool(re.search(r"^Reused, ", self.out, re.M))

    @property
    def version(self) -> str:
        """As in ``New, TLSv1.3, Cipher is ...``; "" without a handshake."""
        found = re.search(r"^(?:New|Reused), (TLSv[\d.]+), Cipher is (\S+)$", self.out, re.M)
        return found.group(1) if found else ""

    @property
    def cipher(self) -> str:
        found = re.search(r"^(?:New|Reused), TLSv[\d.]+, Cipher is (\S+)$", self.out, re.M)
        return found.group(1) if found else ""

    @property
    def alert(self) -> int | None:
        """The number of the alert that ended it."""
        found = re.search(r"SSL alert number (\d+)", self.said)
        return int(found.group(1)) if found else None

    @property
    def status(self) -> int | None:
        """Of the HTTP answer."""
        found = re.search(r"^HTTP/1\.1 (\d{3}) ", self.out, re.M)
        return int(found.group(1)) if found else None


def s_client(port: int, *words: str, name: str | None = None, request: str | None = None, timeout_s: float = 60) -> Talk:
    """One ``openssl s_client``. With ``request`` it stays until the peer ends the connection, else it ends after the handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"]
    command += ["-servername", name] if name else ["-noservername"]
    command += ["-ign_eof"] if request is not None else []
    done = subprocess.run(
        [*command, *words], input=request or "", capture_output=True, text=True, errors="replace", timeout=timeout_s
    )
    return Talk(done.returncode, done.stdout, done.stderr)


def get_request(host: str, target: str = "/", *headers: str) -> str:
    """A request for ``s_client`` that ends the connection."""
    return request_bytes("GET", target, host, ("Connection: close", *headers)).decode()
