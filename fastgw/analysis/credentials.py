"""IST0101 and IST0161: credentials that a Gateway names and that are not there, or hold no usable certificate and key.

Whether a usable certificate is valid now and covers the server's hosts is certificates.py's to say.

A Secret has ``cert`` and ``key``, or ``tls.crt`` and ``tls.key``; the first pair wins (fields.md, section 10).
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from functools import lru_cache

from fastgw.analysis.certificates import check_certificate
from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.gateway import Server, ServerTls
from fastgw.model.kinds.kubernetes import Secret
from fastgw.model.names import domain_problem

MISSING, UNUSABLE = "IST0101", "IST0161"
_PAIRS = (("cert", "key"), ("tls.crt", "tls.key"))
_CA_KEYS = ("cacert", "ca.crt")
_FILE_BYTES = 1 << 20
_ASKS_CLIENTS = ("MUTUAL", "OPTIONAL_MUTUAL")


def check_credentials(picture: Picture) -> list[Diagnostic]:
    secrets = {secret.name: secret.spec for secret in picture.of("Secret") if secret.namespace == picture.options.namespace}
    elsewhere = {secret.name: secret.namespace for secret in picture.of("Secret")}
    diagnostics: list[Diagnostic] = []
    for gateway in picture.gateways:
        findings = Findings(gateway)
        store = _Store(picture, secrets, elsewhere)
        for index, server in enumerate(gateway.spec.servers):
            _check_server(findings, f"spec.servers[{index}].tls", server, store)
        diagnostics += findings.diagnostics
    return diagnostics


class _Store:
    """Where credentials are looked for: Secrets of the gateway's namespace, then mounted directories."""

    def __init__(self, picture: Picture, secrets: dict[str, Secret], elsewhere: dict[str, str]) -> None:
        self.namespace = picture.options.namespace
        self._secrets = secrets
        self._elsewhere = elsewhere
        self._directories = picture.options.secret_directories

    def content(self, name: str) -> dict[str, bytes] | str | None:
        """The entries of a credential; None when there is none; words when it cannot be read."""
        secret = self._secrets.get(name)
        if secret is not None:
            return secret_content(secret)
        # a name with a slash or of dots only would lead out of the directory
        for directory in self._directories if not domain_problem(name) else ():
            mounted = os.path.join(directory, name)
            if os.path.isdir(mounted):
                return _mounted_content(mounted)
        return None

    def hint(self, name: str) -> str:
        """A Secret of that name where it is not looked for."""
        namespace = self._elsewhere.get(name)
        return f"; there is one in namespace {namespace}" if namespace else ""


def secret_content(secret: Secret) -> dict[str, bytes] | str:
    """The entries of a Secret as bytes, or in words why not. ``stringData`` wins."""
    content: dict[str, bytes] = {}
    for key, text in (secret.data or {}).items():
        try:
            content[key] = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return f'data["{key}"] is not base64'
    content.update((key, text.encode()) for key, text in (secret.string_data or {}).items())
    return content


def _mounted_content(directory: str) -> dict[str, bytes] | str:
    content = {}
    try:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if not name.startswith(".") and os.path.isfile(path):
                with open(path, "rb") as file:
                    content[name] = file.read()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return content


def _check_server(findings: Findings, path: str, server: Server, store: _Store) -> None:
    tls = server.tls
    if tls is None or tls.mode not in ("SIMPLE", *_ASKS_CLIENTS):
        return
    named = [(f"{path}.credentialName", tls.credential_name)] if tls.credential_name else []
    named += [(f"{path}.credentialNames[{index}]", name) for index, name in enumerate(tls.credential_names)]
    for place, reference in named:
        name = _secret_name(reference, store.namespace)
        if name is None:
            findings.error(place, f'"{reference}": a credential is looked for in namespace {store.namespace} only', MISSING)
        elif name:
            _check_pair(findings, place, name, server, store)
    if not named:
        _check_files(findings, path, server)
    if named and tls.mode in _ASKS_CLIENTS and not tls.ca_cert_credential_name:
        _check_ca(findings, named[0][0], _secret_name(named[0][1], store.namespace) or "", tls, store)


def _secret_name(reference: str, namespace: str) -> str | None:
    """The Secret's name of a reference; "" for what is no Secret here, None for one in another namespace."""
    if reference.startswith("kubernetes://"):
        owner, slash, name = reference.removeprefix("kubernetes://").rpartition("/")
        return name if not slash or owner == namespace else None
    return "" if "://" in reference else reference


def _check_pair(findings: Findings, path: str, name: str, server: Server, store: _Store) -> None:
    content = store.content(name)
    what = f'Secret "{store.namespace}/{name}"'
    if content is None:
        findings.error(path, f"{what} not found{store.hint(name)}", MISSING)
        return
    problem = content if isinstance(content, str) else pair_problem(content)
    if problem or isinstance(content, str):
        findings.error(path, f"{what}: {problem}", UNUSABLE)
        return
    pem = next(content[certificate] for certificate, _ in _PAIRS if certificate in content)
    check_certificate(findings, path, what, pem, _names(server))


def _names(server: Server) -> list[str]:
    return [host.rpartition("/")[2] for host in server.hosts]


def _check_files(findings: Findings, path: str, server: Server) -> None:
    """Certificates by path. Files that are not there may be on the machine that serves, so that is only a warning."""
    assert server.tls is not None
    tls = server.tls
    pairs = [(path, tls.server_certificate, tls.private_key)] if tls.server_certificate and tls.private_key else []
    pairs += [
        (f"{path}.tlsCertificates[{index}]", pair.server_certificate, pair.private_key)
        for index, pair in enumerate(tls.tls_certificates)
        if pair.server_certificate and pair.private_key
    ]
    for place, certificate, key in pairs:
        try:
            pem, private = _read(certificate), _read(key)
        except OSError as error:
            findings.warn(f"{place}.serverCertificate", f"{error.filename}: {error.strerror}", MISSING)
            continue
        problem = _pem_problem(pem, private)
        if problem:
            findings.error(f"{place}.serverCertificate", f"{certificate} and {key}: {problem}", UNUSABLE)
        else:
            check_certificate(findings, f"{place}.serverCertificate", certificate, pem, _names(server))


def _read(path: str) -> bytes:
    """At most what a certificate chain may be. Raises OSError, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(_FILE_BYTES)


def pair_problem(content: dict[str, bytes]) -> str:
    """What is wrong with the certificate and key of a credential, "" when they are usable."""
    for certificate, key in _PAIRS:
        if certificate in content or key in content:
            if not content.get(certificate) or not content.get(key):
                return f"{certificate} and {key} are needed both"
            return _pem_problem(content[certificate], content[key])
    return "it holds neither tls.crt and tls.key nor cert and key"


@lru_cache(maxsize=4096)
def _pem_problem(certificate: bytes, key: bytes) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError:
        return "the certificate is no PEM certificate"
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):
        return "the key is no PEM private key without a password"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if chain[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        return "the key does not belong to the certificate"
    return ""


def _check_ca(findings: Findings, path: str, name: str, tls: ServerTls, store: _Store) -> None:
    """Client CAs: ``<name>-cacert``, else the same entry inside ``<name>``."""
    if not name or store.content(name) is None:
        return
    for candidate in (f"{name}-cacert", name):
        content = store.content(candidate)
        if isinstance(content, dict) and any(content.get(key) for key in _CA_KEYS):
            return
    message = f'no CA to check clients against: {tls.mode} needs ca.crt in Secret "{name}-cacert" or "{name}"'
    findings.error(path, message, MISSING)
