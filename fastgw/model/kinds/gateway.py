"""networking.istio.io Gateway: which ports a gateway opens, for which hosts, with which TLS."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastgw.model.kinds.base import Spec, UInt32

TlsMode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]
TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class Port(Spec):
    """``protocol`` is any case; ``target_port`` has no effect at a gateway and is refused by Istio."""

    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0


class TlsCertificate(Spec):
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTls(Spec):
    """ServerTLSSettings. Without ``mode`` it is PASSTHROUGH, as in Istio."""

    https_redirect: bool = False
    mode: TlsMode = "PASSTHROUGH"
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: tuple[str, ...] = ()
    tls_certificates: tuple[TlsCertificate, ...] = ()
    ca_cert_credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TlsVersion = "TLS_AUTO"
    max_protocol_version: TlsVersion = "TLS_AUTO"
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: bool = False


class Server(Spec):
    """``hosts``: ``dns``, ``*.dns``, ``*``, each also as ``ns/dns``, ``./dns``, ``*/dns`` (statement A9)."""

    port: Port | None = None
    bind: str = ""
    hosts: tuple[str, ...] = ()
    tls: ServerTls | None = None
    default_endpoint: str = ""
    name: str = ""


class Gateway(Spec):
    """An empty ``selector`` selects every gateway (statement A1)."""

    servers: tuple[Server, ...] = ()
    selector: dict[str, str] = msgspec.field(default_factory=dict)
