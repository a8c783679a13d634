"""Names of TLS that several parts read: cipher suites, curves, the credential of the mesh."""

from __future__ import annotations

MESH = "mesh"
"""The workload certificate of ISTIO_MUTUAL, and the CA that goes with it."""

CIPHER_SUITES = frozenset(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    )
)
"""Of TLS 1.2 and below, in OpenSSL's words: what Istio lets pass."""

CURVES = frozenset(("X25519", "X448", "P-256", "P-384", "P-521"))
"""In OpenSSL's words."""
OPENSSL_3_5_CURVES = frozenset(("X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"))
"""Hybrids with a post-quantum part, that OpenSSL knows since 3.5."""
