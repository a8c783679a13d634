"""Certificates among the configuration: Secret documents of the gateway's namespace and directories given by --secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from fastgw.model.resource import Resource

# Keys of a Secret: the generic pair counts before the kubernetes.io/tls one, as in Istio.
_CERTIFICATE_KEYS = ("cert", "tls.crt")
_PRIVATE_KEYS = {"cert": "key", "tls.crt": "tls.key"}
_CA_KEYS = ("cacert", "ca.crt")


def secret_entries(resources: Sequence[Resource], namespace: str, directories: Sequence[str]) -> list[dict[str, Any]]:
    """One entry a certificate chain and one a client CA, by name."""
    found: dict[str, Mapping[str, bytes]] = {}
    for name, data in (*_from_resources(resources, namespace), *_from_directories(directories)):
        found.setdefault(name, data)
    entries = [entry for name in sorted(found) for entry in _entries(name, found[name])]
    return entries


def _from_resources(resources: Sequence[Resource], namespace: str) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    for resource in resources:
        if resource.kind == "Secret" and resource.namespace == namespace:
            plain = {key: text.encode() for key, text in (resource.spec.string_data or {}).items()}
            yield resource.name, {**_decoded(resource.spec.data or {}), **plain}


def _decoded(data: Mapping[str, str]) -> dict[str, bytes]:
    decoded = {}
    for key, text in data.items():
        try:
            decoded[key] = base64.b64decode(text)
        except (binascii.Error, ValueError):
            decoded[key] = b""
    return decoded


def _from_directories(directories: Sequence[str]) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    for directory in directories:
        for entry in sorted(Path(directory).iterdir()) if Path(directory).is_dir() else ():
            if entry.is_dir() and not entry.name.startswith("."):
                yield entry.name, {file.name: _read(file) for file in entry.iterdir() if file.is_file()}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _entries(name: str, data: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    for key in _CERTIFICATE_KEYS:
        if key in data:
            complete = bool(data[key]) and bool(data.get(_PRIVATE_KEYS[key]))
            yield _entry(name, "Cert Chain", data[key], complete)
            break
    for key in _CA_KEYS:
        if key in data:
            own = name if name.endswith("-cacert") else f"{name}-cacert"
            yield _entry(own, "CA", data[key], True)
            break


def _entry(name: str, kind: str, pem: bytes, complete: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": f"kubernetes://{name}", "type": kind, "status": "WARMING", "valid": False}
    entry |= {"serialNumber": "", "notAfter": "", "notBefore": "", "dnsNames": []}
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError):
        return entry
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    entry["status"] = "ACTIVE" if complete else "WARMING"
    entry["valid"] = complete and begins <= datetime.now(UTC) <= ends
    entry["serialNumber"] = f"{certificate.serial_number:x}"
    entry["notAfter"], entry["notBefore"] = _time(ends), _time(begins)
    entry["dnsNames"] = _dns_names(certificate)
    return entry


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)
