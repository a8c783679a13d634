"""A CA of one's own for development, and certificates signed by it, laid out as ``--secrets`` wants them.

``DIR/ca.crt`` and ``DIR/ca.key`` are the CA, ``DIR/secrets/<credentialName>/{tls.crt,tls.key,ca.crt}`` what the gateway is given,
``DIR/clients/<name>/{tls.crt,tls.key}`` what clients show. The CA's key stays outside of what the gateway reads.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastgw.credentials.content import Content, CredentialError
from fastgw.credentials.pem import examine, load_chain

CA_DAYS = 3650
LEAF_DAYS = 397
"""What browsers accept at the most."""
RENEW_DAYS = 30
_WORDS = "fastgw development"


class DevelopmentError(Exception):
    """What is there cannot be used and is not overwritten; the text says what to do."""


class DevelopmentCa:
    """The CA in a directory, made when there is none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate_path = directory / "ca.crt"
        key_path = directory / "ca.key"
        self.made = not self.certificate_path.exists() and not key_path.exists()
        if self.made:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._certificate = _self_signed(self._key)
            directory.mkdir(parents=True, exist_ok=True)
            _write(key_path, _key_pem(self._key), 0o600)
            _write(self.certificate_path, _pem(self._certificate), 0o644)
            return
        try:
            pem, key_pem = self.certificate_path.read_bytes(), key_path.read_bytes()
            examine(Content(pem, key_pem))
        except (OSError, CredentialError) as error:
            raise DevelopmentError(f"{directory}: ca.crt and ca.key cannot be used: {error}; remove both for a new CA") from None
        key = serialization.load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DevelopmentError(f"{key_path}: no key of {_WORDS}; name another directory")
        self._key, self._certificate = key, load_chain(pem)[0]

    def server(self, credential: str, hosts: Sequence[str]) -> bool:
        """A certificate for ``hosts`` under a credentialName; True when one was made, False when what is there will do."""
        return self._issue(self.directory / "secrets" / credential, hosts[0], hosts, ExtendedKeyUsageOID.SERVER_AUTH, with_ca=True)

    def client(self, name: str) -> bool:
        """A certificate for a client; True when one was made."""
        return self._issue(self.directory / "clients" / name, name, [], ExtendedKeyUsageOID.CLIENT_AUTH, with_ca=False)

    def _issue(self, directory: Path, subject: str, hosts: Sequence[str], usage: x509.ObjectIdentifier, *, with_ca: bool) -> bool:
        if self._will_do(directory, hosts):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])]), LEAF_DAYS)
        builder = builder.issuer_name(self._certificate.subject).public_key(key.public_key())
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        directory.mkdir(parents=True, exist_ok=True)
        # the key first: a gateway that looks in between keeps what it had
        _write(directory / "tls.key", _key_pem(key), 0o600)
        _write(directory / "tls.crt", _pem(certificate), 0o644)
        if with_ca:
            _write(directory / "ca.crt", _pem(self._certificate), 0o644)
        return True

    def _will_do(self, directory: Path, hosts: Sequence[str]) -> bool:
        """A certificate of this CA that is there, for exactly these hosts, and does not expire soon."""
        try:
            pem = (directory / "tls.crt").read_bytes()
            facts = examine(Content(pem, (directory / "tls.key").read_bytes()))
            load_chain(pem)[0].verify_directly_issued_by(self._certificate)
        except Exception:  # whatever is wrong with what is there: a new one is made
            return False
        found = facts.certificate
        wanted = frozenset(host.lower() for host in hosts)
        return found is not None and found.names == wanted and found.ends - datetime.now(UTC) > timedelta(days=RENEW_DAYS)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    # a name of its own, so that two CAs in one trust store are told apart
    words = f"{_WORDS} CA {os.urandom(4).hex()}"
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, _WORDS), x509.NameAttribute(NameOID.COMMON_NAME, words)])
    builder = _builder(name, CA_DAYS).issuer_name(name).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def _builder(subject: x509.Name, days: int) -> x509.CertificateBuilder:
    # an hour ago: clocks differ
    begins = datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder().subject_name(subject).serial_number(x509.random_serial_number())
    return builder.not_valid_before(begins).not_valid_after(begins + timedelta(days=days))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.lower())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Never seen half-written, and never readable by others even for a moment."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
    temporary.rename(path)
