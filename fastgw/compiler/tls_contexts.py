"""What a server of a Gateway asks of TLS -> TlsContext (fields.md 1.3, P3, P5-P8). Credentials are only named here.

A server whose certificates cannot even be named is left out. A field that asks for something meaningless is reported and the rest
counts, unless access would be wider without it: then nobody meets the condition.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Sequence

from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report
from fastgw.compiler.servers import PlacedServer
from fastgw.credentials.names import CONFIG_MAP, split_owner
from fastgw.model.kinds.gateway import ServerTls
from fastgw.model.plan import TlsContext
from fastgw.model.tls_names import CIPHER_SUITES, CURVES, MESH, OPENSSL_3_5_CURVES

DIGEST_BYTES = 32
NOBODY = "00" * DIGEST_BYTES
"""A digest that no certificate has: in place of pins none of which can be read."""
_CLIENT_AUTH = {"SIMPLE": "none", "MUTUAL": "require", "OPTIONAL_MUTUAL": "optional", "ISTIO_MUTUAL": "require"}
_ASKS_CLIENTS = ("MUTUAL", "OPTIONAL_MUTUAL")
_VERSIONS = {"TLSV1_0": "1.0", "TLSV1_1": "1.1", "TLSV1_2": "1.2", "TLSV1_3": "1.3"}
_FOREIGN = ("sds://", "builtin://", "invalid://")


def tls_context(server: PlacedServer, options: CompileOptions, report: Report) -> TlsContext | None:
    """None when the server names no certificate that could be shown; it is reported."""
    tls = server.server.tls
    assert tls is not None
    step = _Step(server, tls, options, report)
    certificates = step.certificates()
    if not certificates:
        report.error("FGW0101", server.gateway, server.path, f"server left out: {tls.mode} needs a certificate to show")
        return None
    client_auth = step.client_auth()
    pins = client_auth != "none" and step.may_pin()
    return TlsContext(
        name=f"{server.gateway.key}#{server.index}",
        certificates=certificates,
        ca=step.ca() if client_auth != "none" else "",
        client_auth=client_auth,
        min_version=_VERSIONS.get(tls.min_protocol_version, "1.2"),
        max_version=_VERSIONS.get(tls.max_protocol_version, "1.3"),
        alpn=("istio", "h2", "http/1.1") if tls.mode == "ISTIO_MUTUAL" and server.protocol == "TLS" else ("h2", "http/1.1"),
        ciphers=":".join(step.known("cipherSuites", tls.cipher_suites, CIPHER_SUITES)),
        curves=":".join(step.known("ecdhCurves", tls.ecdh_curves, _usable_curves())),
        sans=tuple(dict.fromkeys(tls.subject_alt_names)) if client_auth != "none" else (),
        spki=step.pins("verifyCertificateSpki", tls.verify_certificate_spki) if pins else (),
        hashes=step.pins("verifyCertificateHash", tls.verify_certificate_hash) if pins else (),
        origin=server.gateway.at(f"{server.path}.tls"),
    )


def credential_of(reference: str, namespace: str) -> str | None:
    """The name of a credential in the words of the credentials block; None for what lies outside this gateway's reach.

    ``name`` and ``kubernetes://name`` are of the gateway's namespace; another namespace and other schemes are out of reach.
    """
    if reference.startswith("kubernetes://"):
        owner, slash, name = reference.removeprefix("kubernetes://").rpartition("/")
        return f"kubernetes://{namespace}/{name}" if name and (not slash or owner == namespace) else None
    if "://" in reference or not reference:
        return None
    return f"kubernetes://{namespace}/{reference}"


class _Step:
    """The block of one server."""

    def __init__(self, server: PlacedServer, tls: ServerTls, options: CompileOptions, report: Report) -> None:
        self._server = server
        self._tls = tls
        self._namespace = options.namespace
        self._report = report

    def certificates(self) -> tuple[str, ...]:
        """Names of what is shown, two at the most; one source counts, in the order in which Istio asks for them."""
        tls = self._tls
        if tls.mode == "ISTIO_MUTUAL":
            return (MESH,)
        if self._by_credential():
            return self._credentials()
        pairs = [(pair.server_certificate, pair.private_key) for pair in tls.tls_certificates]
        pairs = pairs or [(tls.server_certificate, tls.private_key)]
        return tuple(f"file-cert:{certificate}~{key}" for certificate, key in pairs if certificate and key)[:2]

    def client_auth(self) -> str:
        """insecureSkipVerify takes any certificate, but not none where one is required."""
        tls = self._tls
        if tls.insecure_skip_verify and tls.mode in _ASKS_CLIENTS:
            if tls.mode == "OPTIONAL_MUTUAL":
                return "unverified"
            self._warn("insecureSkipVerify", "clients are let in with any certificate")
            return "require_unverified"
        return _CLIENT_AUTH[tls.mode]

    def ca(self) -> str:
        """What clients are verified against; "" only under insecureSkipVerify, and where nobody can be (then nobody gets in)."""
        tls = self._tls
        if tls.mode == "ISTIO_MUTUAL":
            return MESH
        if tls.ca_cert_credential_name.startswith(CONFIG_MAP):
            owner, name = split_owner(tls.ca_cert_credential_name, CONFIG_MAP, self._namespace)
            return f"{CONFIG_MAP}{owner}/{name}"
        if tls.ca_cert_credential_name:
            return self._reference("caCertCredentialName", tls.ca_cert_credential_name) or self._ca_of_first()
        if self._by_credential():
            return self._ca_of_first()
        if not tls.ca_certificates:
            return ""
        return f"file-ca:{tls.ca_certificates}" + (f"~{tls.ca_crl}" if tls.ca_crl else "")

    def may_pin(self) -> bool:
        """Pins count beside credentials only, as in Istio."""
        tls = self._tls
        pinned = "verifyCertificateSpki" if tls.verify_certificate_spki else "verifyCertificateHash"
        given = bool(tls.verify_certificate_spki or tls.verify_certificate_hash)
        if given and not (self._by_credential() and tls.mode in _ASKS_CLIENTS):
            self._warn(pinned, "has an effect with credentialName in MUTUAL and OPTIONAL_MUTUAL mode only, as in Istio")
            return False
        return given

    def pins(self, field: str, values: Sequence[str]) -> tuple[str, ...]:
        """Digests as hexadecimal digits."""
        read = _spki if field == "verifyCertificateSpki" else _hash
        found = []
        for index, value in enumerate(values):
            digest = read(value)
            if digest is None:
                form = "the base64" if read is _spki else "the hexadecimal digits"
                message = f'"{value[:80]}" is not {form} of a SHA-256 digest: no client certificate has it'
                self._report.error("FGW0104", self._server.gateway, f"{self._server.path}.tls.{field}[{index}]", message)
            else:
                found.append(digest)
        return tuple(dict.fromkeys(found)) or ((NOBODY,) if values else ())

    def known(self, field: str, values: Sequence[str], names: frozenset[str]) -> list[str]:
        """What is known of a list, each once, in order; nothing means the default (P5)."""
        unknown = [value for value in values if value not in names]
        if unknown and field == "ecdhCurves":  # unknown cipher suites are told of when the file is checked
            self._warn(field, f"{', '.join(unknown)}: not known to the TLS library, left out")
        return [value for value in dict.fromkeys(values) if value in names]

    def _by_credential(self) -> bool:
        return bool(self._tls.credential_name or self._tls.credential_names)

    def _credentials(self) -> tuple[str, ...]:
        tls = self._tls
        named = [("credentialName", tls.credential_name)] if tls.credential_name else []
        named += [(f"credentialNames[{index}]", name) for index, name in enumerate(tls.credential_names)]
        found = [self._reference(field, reference) for field, reference in named]
        return tuple(name for name in found if name)[:2]

    def _ca_of_first(self) -> str:
        first = next(iter(self._credentials()), "")
        return f"{first}-cacert" if first else ""

    def _reference(self, field: str, reference: str) -> str:
        found = credential_of(reference, self._namespace)
        if found is None:
            what = "needs what only Istio's control plane has" if reference.startswith(_FOREIGN) else "is out of reach"
            message = f'"{reference}" {what}: a Secret of namespace {self._namespace} is meant by its name alone'
            self._report.error("IST0101", self._server.gateway, f"{self._server.path}.tls.{field}", message)
        return found or ""

    def _warn(self, field: str, words: str) -> None:
        self._report.warning("FGW0112", self._server.gateway, f"{self._server.path}.tls.{field}", f"{field}: {words}")


def _usable_curves() -> frozenset[str]:
    return CURVES | OPENSSL_3_5_CURVES if ssl.OPENSSL_VERSION_INFO >= (3, 5) else CURVES


def _spki(text: str) -> str | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == DIGEST_BYTES else None


def _hash(text: str) -> str | None:
    try:
        raw = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return None
    return raw.hex() if len(raw) == DIGEST_BYTES else None
