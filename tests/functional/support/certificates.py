"""A public-key infrastructure for tests, made anew in memory: authorities, certificates of every kind, revocation lists.

Files are laid out as people have them: a pair of PEM files, a directory as Kubernetes mounts a Secret, a Secret document.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .config import Document

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_mounts = itertools.count(1)
_rsa_keys: list[rsa.RSAPrivateKey] = []


@dataclass(frozen=True)
class Identity:
    """A certificate with its key and the certificates between it and the root."""

    certificate: x509.Certificate
    private_key: PrivateKey
    intermediates: tuple[x509.Certificate, ...] = ()

    @cached_property
    def chain(self) -> str:
        """PEM, the certificate first."""
        return "".join(pem_of(certificate) for certificate in (self.certificate, *self.intermediates))

    @cached_property
    def key(self) -> str:
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def sha256(self) -> str:
        """What verifyCertificateHash and XFCC's ``Hash`` hold: hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def spki(self) -> str:
        """What verifyCertificateSpki holds: base64."""
        info = self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(info).digest()).decode()

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """The two PEM files: chain and key."""
        paths = directory / f"{name}.crt", directory / f"{name}.key"
        for path, text in zip(paths, (self.chain, self.key), strict=True):
            path.write_text(text)
        return paths


@dataclass
class Authority:
    """A CA. ``above``: the intermediates that its certificates must be sent with, its own included unless it is a root."""

    certificate: x509.Certificate
    private_key: PrivateKey
    above: tuple[x509.Certificate, ...] = ()
    revoked: list[x509.Certificate] = field(default_factory=list)

    @property
    def pem(self) -> str:
        return pem_of(self.certificate)

    def intermediate(self, name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(self, _subject(name), key, [_ca_constraint()], timedelta(days=-1), timedelta(days=300))
        return Authority(certificate, key, (certificate, *self.above))

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        uris: Sequence[str] = (),
        key: str = "ec",
        starts: timedelta = timedelta(days=-1),
        ends: timedelta = timedelta(days=90),
    ) -> Identity:
        """A certificate for these DNS names and IP addresses, for servers and clients; key ``ec`` (P-256), ``ec384`` or ``rsa``."""
        private_key = make_key(key)
        alternatives = [*(_general_name(name) for name in names), *(x509.UniformResourceIdentifier(uri) for uri in uris)]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        ]
        if alternatives:
            extensions.append((x509.SubjectAlternativeName(alternatives), False))
        subject = _subject(common_name or (names[0] if names else "nobody"))
        return Identity(_sign(self, subject, private_key, extensions, starts, ends), private_key, self.above)

    def expired(self, *names: str) -> Identity:
        return self.issue(*names, starts=timedelta(days=-60), ends=timedelta(days=-30))

    def revoke(self, identity: Identity) -> None:
        self.revoked.append(identity.certificate)

    def crl(self) -> str:
        """The revocation list as PEM."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - timedelta(hours=1)).next_update(now + timedelta(days=7))
        for certificate in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - timedelta(hours=2)).build())
        return builder.sign(self.private_key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def write(self, path: Path) -> Path:
        path.write_text(self.pem)
        return path


def make_authority(name: str) -> Authority:
    """A root of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    certificate = _sign(None, subject, key, [_ca_constraint()], timedelta(days=-1), timedelta(days=365))
    return Authority(certificate, key)


def make_key(kind: str) -> PrivateKey:
    """RSA keys take long to make: one is enough for all tests of a process."""
    if kind == "rsa":
        if not _rsa_keys:
            _rsa_keys.append(rsa.generate_private_key(65537, 2048))
        return _rsa_keys[0]
    return ec.generate_private_key({"ec": ec.SECP256R1(), "ec384": ec.SECP384R1()}[kind])


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


# --- as people lay them out


def mount(
    secrets: Path, name: str, identity: Identity | None = None, *, ca: str = "", crl: str = "", generic: bool = False
) -> Path:
    """``secrets/name/`` as kubelet writes it: files are links through ``..data``, which is exchanged atomically."""
    home = secrets / name
    version = home / f"..version-{next(_mounts)}"
    version.mkdir(parents=True)
    entries = _entries(identity, ca, crl, generic)
    for entry, text in entries.items():
        (version / entry).write_text(text)
    fresh = home / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(home / "..data")
    for entry in entries:
        if not (home / entry).is_symlink():
            (home / entry).symlink_to(f"..data/{entry}")
    return home


def secret(
    name: str,
    identity: Identity | None = None,
    *,
    ca: str = "",
    crl: str = "",
    generic: bool = False,
    namespace: str | None = None,
) -> Document:
    """A Secret document, kubernetes.io/tls or generic."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in _entries(identity, ca, crl, generic).items()}
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    kind = "Opaque" if generic or identity is None else "kubernetes.io/tls"
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": data}


def _entries(identity: Identity | None, ca: str, crl: str, generic: bool) -> dict[str, str]:
    names = ("cert", "key", "cacert", "crl") if generic else ("tls.crt", "tls.key", "ca.crt", "ca.crl")
    texts = (identity.chain if identity else "", identity.key if identity else "", ca, crl)
    return {name: text for name, text in zip(names, texts, strict=True) if text}


# --- signing


def _sign(
    issuer: Authority | None,
    subject: x509.Name,
    key: PrivateKey,
    extensions: list[tuple[x509.ExtensionType, bool]],
    starts: timedelta,
    ends: timedelta,
) -> x509.Certificate:
    """Without an issuer it signs itself."""
    now = datetime.now(UTC)
    signer = key if issuer is None else issuer.private_key
    builder = x509.CertificateBuilder(subject if issuer is None else issuer.certificate.subject, subject, key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + starts).not_valid_after(now + ends)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return builder.add_extension(identifier, False).sign(signer, hashes.SHA256())


def _ca_constraint() -> tuple[x509.ExtensionType, bool]:
    return x509.BasicConstraints(ca=True, path_length=None), True


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
