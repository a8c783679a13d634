"""What a credential holds, and how it is cut out of the entries of a Secret."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from fastgw.credentials.names import Need

PAIRS = (("cert", "key"), ("tls.crt", "tls.key"))
"""The generic pair counts before the one of kubernetes.io/tls (fields.md, section 10)."""
CA_KEYS = ("cacert", "ca.crt")
CRL_KEYS = ("crl", "ca.crl")


class CredentialError(Exception):
    """A credential that cannot be used; the text says why."""

    missing = False


class CredentialMissing(CredentialError):
    """There is none of that name."""

    missing = True


class Content(msgspec.Struct, frozen=True):
    """PEM; what is not there or not needed is empty."""

    chain: bytes = b""
    key: bytes = b""
    ca: bytes = b""
    crl: bytes = b""

    def has(self, need: Need) -> bool:
        """Whether the parts that are needed are there, and no others."""
        return bool(self.chain) == bool(need & Need.PAIR) and bool(self.ca) == bool(need & Need.CA)

    def fingerprint(self) -> int:
        """64 bits that stand for all of it."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.chain, self.key, self.ca, self.crl):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return int.from_bytes(digest.digest(), "little")


def content_of_entries(entries: Mapping[str, bytes], need: Need) -> Content:
    """The parts that are needed. Raises CredentialError when one is not there."""
    chain, key = _pair(entries) if need & Need.PAIR else (b"", b"")
    ca, crl = _ca(entries) if need & Need.CA else (b"", b"")
    return Content(chain, key, ca, crl)


def has_ca(entries: Mapping[str, bytes]) -> bool:
    return any(entries.get(key) for key in CA_KEYS)


def _pair(entries: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    for certificate, key in PAIRS:
        if certificate in entries or key in entries:
            if not entries.get(certificate) or not entries.get(key):
                raise CredentialError(f"{certificate} and {key} are needed both")
            return entries[certificate], entries[key]
    raise CredentialError("it holds neither tls.crt and tls.key nor cert and key")


def _ca(entries: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    ca = next((entries[key] for key in CA_KEYS if entries.get(key)), b"")
    if not ca:
        raise CredentialError("it holds neither ca.crt nor cacert")
    return ca, next((entries[key] for key in CRL_KEYS if entries.get(key)), b"")
