"""TLS of health checks: the settings that workers use towards the same endpoints, as Python's ssl module has them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fastgw.model.plan import UpstreamTls
from fastgw.native._native import ffi, lib
from fastgw.supervisor import memfd

SYSTEM = "system"
_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


class NotVerified(Exception):
    """The connection cannot be made, or the certificate is none of those that are wanted; the text says why."""


class ClientContext(NamedTuple):
    """``names``: one of them has to be in the certificate; empty: any certificate will do, or ``context`` looks at the name."""

    context: ssl.SSLContext
    server_name: str
    names: tuple[str, ...] = ()

    def verify_names(self, certificate: dict[str, Any] | None) -> None:
        """Raises NotVerified."""
        shown = [(kind, value) for kind, value in (certificate or {}).get("subjectAltName", ())]
        if self.names and not any(_is_named(name, kind, value) for name in self.names for kind, value in shown):
            raise NotVerified("TLS: the certificate holds none of the subjectAltNames")


class _Pems(NamedTuple):
    """What a credential holds, as PEM."""

    chain: bytes
    key: bytes
    ca: bytes
    crl: bytes
    fingerprint: int


class ClientContexts:
    """Makes a context for each way in which endpoints are spoken to, again when its credentials have changed.

    ``credentials``: gives the descriptor of the credentials block in use, -1 without one.
    """

    def __init__(self, credentials: Callable[[], int]) -> None:
        self._credentials = credentials
        self._known: dict[tuple[UpstreamTls, bool], tuple[tuple[int, int], ssl.SSLContext]] = {}

    def find(self, tls: UpstreamTls, host: str, http2: bool) -> ClientContext:
        """``host``: of the destination, the name of those who name none. Raises NotVerified."""
        certificate, ca = self._pems(tls.certificate), self._pems(tls.ca)
        made_of = (certificate.fingerprint if certificate else 0, ca.fingerprint if ca else 0)
        known = self._known.get((tls, http2))
        if known is None or known[0] != made_of:
            try:
                known = self._known[tls, http2] = (made_of, _context(tls, http2, certificate, ca))
            except (ssl.SSLError, OSError) as error:
                raise NotVerified(f"TLS: {error}") from None
        return ClientContext(known[1], tls.sni or urlsplit(f"//{host}").hostname or host, tls.sans if tls.verify == "names" else ())

    def _pems(self, name: str) -> _Pems | None:
        """None: there is no such credential."""
        fd = self._credentials() if name and name != SYSTEM else -1
        if fd < 0:
            return None
        with memfd.map_read_only(fd) as mapped:
            block = ffi.from_buffer(mapped)
            try:
                text = name.encode()
                found = lib.fgw_credentials_find(ffi.cast("const void *", block), text, len(text))
                if found == ffi.NULL:
                    return None
                spans = (found.chain, found.key, found.ca, found.crl)
                chain, key, authorities, revoked = (bytes(mapped[span.off : span.off + span.len]) for span in spans)
                return _Pems(chain, key, authorities, revoked, int(found.fingerprint))
            finally:
                ffi.release(block)


def _context(tls: UpstreamTls, http2: bool, certificate: _Pems | None, ca: _Pems | None) -> ssl.SSLContext:
    """Raises NotVerified, ssl.SSLError, OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.check_hostname = tls.verify == "names" and not tls.sans
    context.verify_mode = ssl.CERT_NONE if tls.verify == "none" else ssl.CERT_REQUIRED
    if tls.verify != "none":
        _trust(context, tls.ca, ca)
    if tls.certificate:
        if certificate is None or not certificate.chain or not certificate.key:
            raise NotVerified(f"TLS: no usable certificate in {tls.certificate}")
        with _as_file(certificate.chain) as chain, _as_file(certificate.key) as key:
            context.load_cert_chain(chain, key)
    offered = dict.fromkeys([*(["h2"] if http2 else []), *tls.alpn])
    if offered:
        context.set_alpn_protocols(list(offered))
    return context


def _trust(context: ssl.SSLContext, name: str, ca: _Pems | None) -> None:
    if name == SYSTEM:
        context.set_default_verify_paths()
        return
    if ca is None or not ca.ca:
        raise NotVerified(f"TLS: no usable CA in {name}")
    with _as_file(ca.ca + b"\n" + ca.crl) as path:
        context.load_verify_locations(path)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if ca.crl:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path for what is only to be had from files, in memory that is gone afterwards."""
    fd = memfd.make_sealed("fastgw-pem", content)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _is_named(name: str, kind: str, value: str) -> bool:
    """Is ``name`` what a subjectAltName of this kind says? A DNS name may have "*" as its first label (RFC 9525, section 6.3)."""
    if kind == "IP Address":
        try:
            return ipaddress.ip_address(name) == ipaddress.ip_address(value.strip())
        except ValueError:
            return False
    if kind != "DNS":
        return name == value
    name, value = name.lower(), value.lower()
    return name == value or (value.startswith("*.") and name.partition(".")[2] == value[2:] and "." in value[2:])
