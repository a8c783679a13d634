"""What TLS asks, as records: of clients (tls contexts) and towards upstreams. Identities are the same over generations."""

from __future__ import annotations

import hashlib

import msgspec

from fastgw.image import layout
from fastgw.image.layout import ImageError
from fastgw.image.symbols import to_bytes
from fastgw.image.tables import Tables
from fastgw.model.plan import TlsContext, UpstreamTls


def add_tls_context(tables: Tables, context: TlsContext, origin: int) -> int:
    """Index of the record in its piece."""
    span = tables.span
    certificates = (*context.certificates, "", "")[:2]
    return tables["tls_contexts"].add(
        *span(context.name),
        *span(certificates[0]),
        *span(certificates[1]),
        *span(context.ca),
        layout.CLIENT_AUTH[context.client_auth],
        *_versions(context),
        _alpn(context.alpn),
        *span(context.ciphers),
        *span(context.curves),
        *_texts(tables, map(to_bytes, context.sans)),
        *_texts(tables, map(_digest, context.spki)),
        *_texts(tables, map(_digest, context.hashes)),
        origin,
    )


def add_upstream_tls(tables: Tables, tls: UpstreamTls) -> int:
    """Index of the record in its piece."""
    span = tables.span
    return tables["upstream_tls"].add(
        *span(tls.certificate),
        *span(tls.ca),
        *span(tls.sni),
        layout.UPSTREAM_VERIFY[tls.verify],
        *_versions(tls),
        _alpn(tls.alpn),
        *_texts(tables, map(to_bytes, tls.sans)),
        identity_of(tls),
    )


def chain_identity(context: TlsContext) -> int:
    """Of the certificates shown and of all that is asked of clients: between chains with the same one requests may pass."""
    asked = (context.certificates, context.client_auth, context.ca, context.sans, context.spki, context.hashes)
    return identity_of(asked)


def identity_of(value: object) -> int:
    """64 bits that stand for a value over generations and restarts."""
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(value)).digest()[:8], "little")


def _versions(tls: TlsContext | UpstreamTls) -> tuple[int, int]:
    return layout.TLS_VERSIONS[tls.min_version], layout.TLS_VERSIONS[tls.max_version]


def _alpn(names: tuple[str, ...]) -> int:
    return sum({layout.ALPN[name] for name in names})


def _texts(tables: Tables, values: map[bytes]) -> tuple[int, int]:
    """(first, count) of adjacent texts."""
    table = tables["texts"]
    first = table.count
    for value in values:
        table.add(*tables.span(value))
    return first, table.count - first


def _digest(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != hashlib.sha256().digest_size:
        raise ImageError(f"{text[:80]!r} is no SHA-256 digest")
    return raw
