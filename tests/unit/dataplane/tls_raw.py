"""A client that does with TLS what Python's ssl module does not let one do: libssl itself, over a scripted socket."""

from __future__ import annotations

import ctypes
from typing import Any

from dataplane_support import Peer
from tls_support import HOST

WANT_READ = 2
CTRL_MODE = 33
CTRL_SET_MIN_VERSION, CTRL_SET_MAX_VERSION, CTRL_SET_GROUPS, CTRL_SET_HOST_NAME = 123, 124, 92, 55
TLS_1_2, TLS_1_3 = 0x0303, 0x0304


def _library() -> Any:
    lib = ctypes.CDLL("libssl.so.3")
    pointers = ("TLS_client_method", "SSL_CTX_new", "SSL_new", "SSL_get1_session", "BIO_new", "BIO_s_mem")
    for name in pointers:
        getattr(lib, name).restype = ctypes.c_void_p
    lib.SSL_CTX_ctrl.restype = lib.SSL_ctrl.restype = ctypes.c_long
    return lib


class RawTls:
    """``session`` of another RawTls: to be resumed. ``groups``: of key exchange, the first is offered with a share."""

    def __init__(self, peer: Peer, name: str = HOST, version: int = 0, session: int = 0, groups: bytes = b"") -> None:
        self.peer, self.lib = peer, _library()
        lib, p = self.lib, ctypes.c_void_p
        self.ctx = p(lib.SSL_CTX_new(p(lib.TLS_client_method())))
        if version:
            lib.SSL_CTX_ctrl(self.ctx, CTRL_SET_MIN_VERSION, ctypes.c_long(version), None)
            lib.SSL_CTX_ctrl(self.ctx, CTRL_SET_MAX_VERSION, ctypes.c_long(version), None)
        if groups:
            assert lib.SSL_CTX_ctrl(self.ctx, CTRL_SET_GROUPS, ctypes.c_long(0), groups) == 1
        self.ssl = p(lib.SSL_new(self.ctx))
        self.incoming, self.outgoing = p(lib.BIO_new(p(lib.BIO_s_mem()))), p(lib.BIO_new(p(lib.BIO_s_mem())))
        lib.SSL_set_bio(self.ssl, self.incoming, self.outgoing)
        lib.SSL_ctrl(self.ssl, CTRL_SET_HOST_NAME, ctypes.c_long(0), name.encode())
        if session:
            assert lib.SSL_set_session(self.ssl, p(session)) == 1
        lib.SSL_set_connect_state(self.ssl)
        self.plain = bytearray()
        self.end = ""

    def close(self) -> None:
        self.lib.SSL_free(self.ssl)
        self.lib.SSL_CTX_free(self.ctx)

    def _again(self, r: int) -> bool:
        """Is more from the peer needed?"""
        self.flush()
        if r > 0:
            return False
        if self.lib.SSL_get_error(self.ssl, r) != WANT_READ:
            self.end = self.end or "error"
            return False
        return True

    def taken(self) -> bytes:
        """What OpenSSL wants to send."""
        out = ctypes.create_string_buffer(1 << 16)
        found = b""
        while (n := self.lib.BIO_read(self.outgoing, out, len(out))) > 0:
            found += out.raw[:n]
        return found

    def flush(self) -> None:
        if data := self.taken():
            self.peer.send(data)

    def feed(self) -> None:
        self.peer.gateway.settle()
        if data := bytes(self.peer.poll().data):
            self.lib.BIO_write(self.incoming, data, len(data))
            self.peer.data.clear()

    def handshake(self) -> RawTls:
        while self._again(self.lib.SSL_do_handshake(self.ssl)):
            self.peer.gateway.until(lambda: bool(self.peer.poll().data or self.peer.end), lambda: "an answer to the handshake")
            if not self.peer.data:
                raise ConnectionError(self.peer.end)
            self.feed()
        if self.end:
            raise ConnectionError(self.end)
        return self

    def early(self, data: bytes) -> None:
        """0-RTT data of a session that claims to allow it."""
        n = ctypes.c_size_t()
        self.lib.SSL_write_early_data(self.ssl, data, ctypes.c_size_t(len(data)), ctypes.byref(n))
        assert n.value == len(data)

    def session(self) -> int:
        found: int = self.lib.SSL_get1_session(self.ssl)
        return found

    def resumed(self) -> bool:
        return bool(self.lib.SSL_session_reused(self.ssl))

    def records(self, data: bytes) -> bytes:
        """The data as it would be sent."""
        assert self.lib.SSL_write(self.ssl, data, len(data)) == len(data)
        return self.taken()

    def send(self, data: bytes) -> RawTls:
        self.peer.send(self.records(data))
        return self

    def key_update(self, answer: bool) -> bytes:
        """The record that announces new keys, and asks for new ones of the server if ``answer``."""
        assert self.lib.SSL_key_update(self.ssl, 1 if answer else 0) == 1
        assert self.lib.SSL_do_handshake(self.ssl) == 1
        return self.taken()

    def notice(self) -> bytes:
        """close_notify."""
        self.lib.SSL_shutdown(self.ssl)
        return self.taken()

    def read(self) -> bytes:
        """``end``: "", "notified" or how the connection ended."""
        self.feed()
        out = ctypes.create_string_buffer(1 << 16)
        while not self.end:
            n = self.lib.SSL_read(self.ssl, out, len(out))
            if n > 0:
                self.plain += out.raw[:n]
                continue
            error = self.lib.SSL_get_error(self.ssl, n)
            self.end = {6: "notified", WANT_READ: self.peer.end}.get(error, "error")
            break
        self.flush()
        return bytes(self.plain)

    def until(self, mark: bytes) -> bytes:
        self.peer.gateway.until(
            lambda: mark in self.read() or bool(self.end), lambda: f"{mark!r}, have {bytes(self.plain)[-200:]!r} {self.end}"
        )
        assert mark in self.plain, (self.plain[-200:], self.end)
        return bytes(self.plain)

    def until_end(self) -> str:
        self.peer.gateway.until(lambda: bool(self.read() is not None and self.end), lambda: "the end of the connection")
        return self.end
