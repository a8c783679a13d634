"""Certificates for the tests of credentials. Not a test."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Party:
    """A certificate and its key. ``chain`` and ``key`` are PEM."""

    def __init__(self, name: str, issuer: Party | None = None, *, kind: str = "ec", begins: int = -1, ends: int = 100) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer.private if issuer is not None else self.private
        builder = x509.CertificateBuilder().subject_name(subject).public_key(self.private.public_key())
        builder = builder.issuer_name(issuer.certificate.subject if issuer is not None else subject)
        now = datetime.now(UTC)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + begins * DAY).not_valid_after(now + ends * DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate: x509.Certificate = builder.sign(signer, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.chain = self.pem + (issuer.pem if issuer is not None else b"")
        self.key = self.key_pem(serialization.NoEncryption())

    def key_pem(self, encryption: serialization.KeySerializationEncryption) -> bytes:
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    def crl(self, days: int) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject).last_update(now - 9 * DAY)
        return builder.next_update(now + days * DAY).sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def mount(directory: Path, version: str, **entries: bytes) -> None:
    """As Kubernetes does it: links through ``..data``, which is exchanged. Names with "_" for "."."""
    (directory / f"..{version}").mkdir(parents=True)
    for name, data in entries.items():
        entry = name.replace("_", ".")
        (directory / f"..{version}" / entry).write_bytes(data)
        if not (directory / entry).is_symlink():
            os.symlink(f"..data/{entry}", directory / entry)
    os.symlink(f"..{version}", directory / "..new")
    os.rename(directory / "..new", directory / "..data")
