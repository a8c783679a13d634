"""The credentials as ``proxy-config secrets`` and the admin API show them: istioctl's words, nothing secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from fastgw.credentials.names import CA_SUFFIX, CONFIG_MAP, KUBERNETES, Need, split_owner
from fastgw.credentials.places import Places
from fastgw.credentials.status import Certificate, Status


def secret_entries(statuses: Iterable[Status], namespace: str) -> list[dict[str, Any]]:
    """One entry a certificate chain and one a CA. ACTIVE: in use; WARMING: there is nothing that can be used."""
    return [entry for status in statuses for entry in _entries(status, namespace)]


def names_in(places: Places) -> dict[str, Need]:
    """Whatever credentials there are among documents and mounted directories, named by something or not."""
    found: dict[str, Need] = {}
    for name in places.list_names():
        need = places.holds(name)
        full = f"{KUBERNETES}{places.options.namespace}/{name}"
        if need & Need.PAIR or not need:
            found[full] = Need.PAIR
        if need & Need.CA:
            found[full if full.endswith(CA_SUFFIX) else full + CA_SUFFIX] = Need.CA
    return found


def _entries(status: Status, namespace: str) -> Iterator[dict[str, Any]]:
    facts = status.facts
    if status.need & Need.PAIR:
        yield _entry(status, namespace, "Cert Chain", facts.certificate if facts is not None else None)
    if status.need & Need.CA:
        yield _entry(status, namespace, "CA", facts.ca if facts is not None else None)


def _entry(status: Status, namespace: str, kind: str, certificate: Certificate | None) -> dict[str, Any]:
    return {
        "name": short_name(status.name, namespace),
        "type": kind,
        "status": "ACTIVE" if status.usable else "WARMING",
        "valid": certificate is not None and certificate.is_valid(),
        "serialNumber": certificate.serial if certificate is not None else "",
        "notAfter": _time(certificate.ends) if certificate is not None else "",
        "notBefore": _time(certificate.begins) if certificate is not None else "",
        "dnsNames": sorted(certificate.names) if certificate is not None else [],
        "problem": status.trouble(),
    }


def short_name(name: str, namespace: str) -> str:
    """As istioctl shows it: without the namespace of the gateway."""
    for scheme in (KUBERNETES, CONFIG_MAP):
        if name.startswith(scheme):
            owner, bare = split_owner(name, scheme, namespace)
            return f"{scheme}{bare}" if owner == namespace else name
    return name


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
