"""The certificate of the TLS benchmarks: P-256, for the benchmark's host, signed by a CA that exists for one run."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Credential:
    """Files: ``chain`` and ``key``, ``both`` in one, ``secrets`` as Kubernetes mounts them (``secrets/edge-cert/tls.crt``)."""

    chain: Path
    key: Path
    both: Path
    secrets: Path
    name: str = "edge-cert"


def make_credential(directory: Path, host: str) -> Credential:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench CA")])
    own_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        _draft(own_name, ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName("*.example.com")]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    chain_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secrets = directory / "secrets"
    credential = Credential(directory / "edge.crt", directory / "edge.key", directory / "edge.pem", secrets)
    (secrets / credential.name).mkdir(parents=True)
    for path in (credential.chain, secrets / credential.name / "tls.crt"):
        path.write_bytes(chain_pem)
    for path in (credential.key, secrets / credential.name / "tls.key"):
        path.write_bytes(key_pem)
    credential.both.write_bytes(chain_pem + key_pem)
    return credential


def _draft(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )
