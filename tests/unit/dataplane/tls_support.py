"""TLS for the in-process gateway: certificates, plans with TLS chains, and clients over scripted sockets."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from dataplane_support import LISTENER, OWNER, Gateway, Message, Peer

from fastgw.credentials.block import write_block
from fastgw.credentials.content import Content
from fastgw.dataplane import context
from fastgw.model.origin import Origin
from fastgw.model.plan import (
    Action,
    Chain,
    Cluster,
    Endpoint,
    Listener,
    Plan,
    RouteTable,
    Rule,
    TlsContext,
    VirtualHost,
    WeightedDestination,
)

HOST = "shop.example.com"


class Pair:
    """A certificate and its key, as PEM."""

    def __init__(self, certificate: x509.Certificate, key: Any, issuers: bytes = b"") -> None:
        self.x509, self.private = certificate, key
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.chain = self.certificate + issuers
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.key = key.private_bytes(encoding, form, serialization.NoEncryption())


class Authority:
    """A CA that lives as long as the tests."""

    def __init__(self, name: str = "Test CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, self.key.public_key(), subject)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        self.x509 = builder.sign(self.key, hashes.SHA256())
        self.pem = self.x509.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, subject: str = "", rsa_key: bool = False, days: int = 30) -> Pair:
        """``names``: DNS names, addresses, or URIs. ``days`` below zero: expired."""
        key: Any = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        common = [x509.NameAttribute(NameOID.COMMON_NAME, subject or (names[0] if names else "nameless"))]
        builder = self._builder(x509.Name(common), key.public_key(), self.x509.subject, days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
        return Pair(builder.sign(self.key, hashes.SHA256()), key)

    def revoke(self, *pairs: Pair) -> bytes:
        """A revocation list with these, as PEM."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.x509.subject).last_update(now)
        builder = builder.next_update(now + datetime.timedelta(days=1))
        for pair in pairs:
            revoked = x509.RevokedCertificateBuilder().serial_number(pair.x509.serial_number).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, public: Any, issuer: x509.Name, days: int = 30) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(days=60)).not_valid_after(now + datetime.timedelta(days=days))


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@cache
def authority() -> Authority:
    return Authority()


@cache
def server_pair(*names: str) -> Pair:
    return authority().issue(*(names or (HOST, f"*.{HOST}")))


def credential(pair: Pair, ca: bytes = b"", crl: bytes = b"") -> Content:
    return Content(pair.chain, pair.key, ca, crl)


def https_chain(number: int = 0, names: tuple[str, ...] = (HOST,), **options: Any) -> Chain:
    """A terminating HTTPS server whose certificate is the credential "cert". ``options``: of its TlsContext."""
    name = f"https.443.https{number}.gw.default"
    tls = TlsContext(f"default/gw#{number}", **{"certificates": ("cert",), **options})
    return Chain(name, tls="terminate", server_names=names, route_table=name, tls_context=tls)


def tls_plan(ports: Iterable[int], chains: list[Chain], hosts: dict[str, list[str]] | None = None) -> Plan:
    """Every chain routes its own names, or ``hosts`` of its route table, to a cluster "c"."""
    action = Action("route", (WeightedDestination("c", 100),))
    tables = {}
    for chain in chains:
        if chain.kind == "http":
            domains = (hosts or {}).get(chain.route_table, list(chain.server_names) or ["*"])
            rule = Rule(chain.name, OWNER, 0, 0, action, origin=Origin("shop.yaml", 10, 5))
            vhosts = [VirtualHost(f"{domain}:443", [domain], [rule]) for domain in domains]
            tables[chain.route_table] = RouteTable(chain.route_table, vhosts)
    cluster = Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", port) for port in ports], lb="round_robin")
    return Plan([Listener(LISTENER, "", 443, "TLS", [], chains)], tables, {"c": cluster})


def give_credentials(gateway: Gateway, credentials: dict[str, Content]) -> None:
    """In use from now on."""
    data = write_block(credentials)
    fd = os.memfd_create("credentials")
    os.write(fd, data)
    gateway.credentials = context.Credentials(fd, len(data))
    os.close(fd)


class TlsPeer:
    """A client's TLS over a Peer: everything happens in the test's own thread."""

    def __init__(self, peer: Peer, client: ssl.SSLContext, name: str | None = HOST, session: ssl.SSLSession | None = None) -> None:
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        self.plain = bytearray()
        self.end = ""

    def handshake(self) -> TlsPeer:
        """Raises ssl.SSLError when it fails, ConnectionError when the connection ends."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._more()
                continue
            finally:
                self._flush()
            return self

    def send(self, data: bytes) -> TlsPeer:
        self.tls.write(data)
        self._flush()
        return self

    def read(self) -> bytes:
        """What has come, decrypted; also takes session tickets. ``end``: "" or how the connection ended."""
        self.peer.gateway.settle()
        self.peer.poll()
        self._feed()
        while not self.end:
            try:
                piece = self.tls.read(65536)
            except ssl.SSLWantReadError:
                if self.peer.end:
                    self.end = self.peer.end
                break
            except ssl.SSLZeroReturnError:
                self.end = "notified"
                break
            if not piece:
                self.end = "notified"
            self.plain += piece
        return bytes(self.plain)

    def until(self, mark: bytes) -> bytes:
        self.peer.gateway.until(
            lambda: mark in self.read() or bool(self.end), lambda: f"{mark!r}, have {bytes(self.plain)[-200:]!r}"
        )
        assert mark in self.plain, (self.plain, self.end)
        return bytes(self.plain)

    def until_end(self) -> str:
        self.peer.gateway.until(lambda: bool(self.read() is not None and self.end), lambda: "the end of the connection")
        return self.end

    def finish(self) -> TlsPeer:
        """close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()
        return self

    def _flush(self) -> None:
        data = self.outgoing.read()
        if data:
            self.peer.send(data)

    def _feed(self) -> None:
        if self.peer.data:
            self.incoming.write(bytes(self.peer.data))
            self.peer.data.clear()

    def _more(self) -> None:
        self.peer.gateway.until(lambda: bool(self.peer.poll().data or self.peer.end), lambda: "an answer to the handshake")
        self._feed()
        if self.peer.end and not self.incoming.pending:
            raise ConnectionError(self.peer.end)


def client_context(trusted: bytes | None = None, pair: Pair | None = None, tmp: str = "", **options: Any) -> ssl.SSLContext:
    """``options``: attributes of the context."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=(trusted or authority().pem).decode())
    if pair is not None:
        path = os.path.join(tmp, f"{pair.x509.serial_number:x}.pem")
        with open(path, "wb") as file:
            file.write(pair.chain + pair.key)
        client.load_cert_chain(path)
    for name, value in options.items():
        setattr(client, name, value)
    return client


def whole_response(peer: TlsPeer) -> Message:
    """The next response."""
    from dataplane_support import read_message

    def found() -> Message | None:
        peer.read()
        return read_message(bytes(peer.plain), "GET", peer.end != "")

    peer.peer.gateway.until(
        lambda: (m := found()) is not None and m.whole, lambda: f"a response, have {bytes(peer.plain)[-300:]!r}"
    )
    message = found()
    assert message is not None
    del peer.plain[: message.size]
    return message
