"""Whether PEM texts can be used as certificate, key, CA and CRL, and what certificates say. All of it with ``cryptography``.

RSA keys are loaded without the primality tests, which take milliseconds a key: a key whose public half is the certificate's and
that was damaged so carefully cannot come from an accident on disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from fastgw.credentials.content import Content, CredentialError
from fastgw.credentials.status import Certificate, Facts

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.S)


def examine(content: Content) -> Facts:
    """Raises CredentialError with what makes the content unusable."""
    certificate, ca, notes, crl_until = None, None, [], None
    if content.chain or content.key:
        chain = load_chain(content.chain)
        _check_key(chain, content.key)
        certificate, notes = describe(chain[0]), _order_notes(chain)
    if content.ca:
        ca = describe(load_chain(content.ca, "the CA")[0])
    if content.crl:
        crl_until = _check_crl(content.crl)
    return Facts(certificate, ca, tuple(notes), crl_until)


def load_chain(pem: bytes, what: str = "the certificate") -> list[x509.Certificate]:
    """At least one. Raises CredentialError."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CredentialError(f"{what} is no PEM certificate") from None


def describe(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        _names_of(certificate),
        f"{certificate.serial_number:x}",
    )


@lru_cache(maxsize=1024)
def read_certificate(pem: bytes) -> Certificate | None:
    """The first certificate of a text; None when it cannot be read."""
    try:
        return describe(load_chain(pem)[0])
    except CredentialError:
        return None


def validity_problem(certificate: Certificate, now: datetime, soon_days: int) -> str:
    """In words that follow "the certificate"; "" when it is valid and stays so."""
    if now > certificate.ends:
        return f"has expired on {certificate.ends:%Y-%m-%d}"
    if now < certificate.begins:
        return f"is not valid before {certificate.begins:%Y-%m-%d %H:%M} UTC"
    left = certificate.ends - now
    return f"expires on {certificate.ends:%Y-%m-%d}, in {left.days} days" if left.days < soon_days else ""


def is_valid(certificate: Certificate, now: datetime | None = None) -> bool:
    return certificate.begins <= (now or datetime.now(UTC)) <= certificate.ends


def _check_key(chain: Sequence[x509.Certificate], pem: bytes) -> None:
    try:
        private = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise CredentialError("the key is encrypted with a password; only keys without one can be used") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError("the key is no PEM private key") from None
    try:
        owned = [certificate.public_key() == private.public_key() for certificate in chain]
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError("the certificate has a public key of an unknown kind") from None
    if any(owned) and not owned[0]:
        raise CredentialError(f"the key belongs to certificate {owned.index(True) + 1} of the chain, which has to come first")
    if not owned[0]:
        raise CredentialError("the key does not belong to the certificate")


def _order_notes(chain: Sequence[x509.Certificate]) -> list[str]:
    """TLS 1.3 clients sort by themselves, older ones want each certificate right behind the one it has issued."""
    for index, (certificate, issuer) in enumerate(pairwise(chain), 1):
        if certificate.issuer != issuer.subject:
            return [f"certificate {index + 1} of the chain is not the issuer of certificate {index}: clients may refuse it"]
    return []


def _check_crl(pem: bytes) -> datetime | None:
    """When the first of the lists is out of date."""
    try:
        lists = [x509.load_pem_x509_crl(text) for text in _CRL.findall(pem)]
    except ValueError:
        lists = []
    if not lists:
        raise CredentialError("the list of revoked certificates is no PEM CRL")
    return min((each.next_update_utc for each in lists if each.next_update_utc is not None), default=None)


def _names_of(certificate: x509.Certificate) -> frozenset[str]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        return frozenset()
    names = alternative.get_values_for_type(x509.DNSName)
    addresses = alternative.get_values_for_type(x509.IPAddress)
    return frozenset((*(name.lower() for name in names), *map(str, addresses)))
