"""tls of a DestinationRule -> how a cluster's endpoints are spoken to over TLS (fields.md 3, statement Q17).

Nothing here looks at a certificate: credentials are named, and a name that leads to nothing makes the handshake fail, so that what
was to be protected is never sent unprotected.
"""

from __future__ import annotations

from fastgw.compiler.destinations import ClusterKey
from fastgw.model.kinds.destination_rule import ClientTls, UnknownTls
from fastgw.model.plan import UpstreamTls

MESH = "mesh"
SYSTEM = "system"
ISTIO_ALPN = ("istio",)
CONFIG_MAP = "configmap://"


def upstream_tls(tls: ClientTls | None, key: ClusterKey, namespace: str) -> UpstreamTls | str | None:
    """What ``tls`` asks for towards the cluster ``key``; None is plain text, and a text says why it cannot be done.

    ``namespace``: of the gateway, where credentials are looked for.
    """
    if isinstance(tls, UnknownTls):
        return "it is not known how TLS was to be spoken"
    if tls is None or tls.mode == "DISABLE":
        return None
    sans = tls.subject_alt_names or _entry_names(key)
    if tls.mode == "ISTIO_MUTUAL":
        return _istio_mutual(key, sans)
    certificate, ca = "", _ca(tls, namespace)
    if tls.mode == "MUTUAL":
        if tls.credential_name:
            certificate = _secret(tls.credential_name, namespace)
        elif tls.client_certificate and tls.private_key:
            certificate = f"file-cert:{tls.client_certificate}~{tls.private_key}"
        else:
            return "MUTUAL needs clientCertificate and privateKey, or credentialName"
    if tls.insecure_skip_verify:
        return UpstreamTls(certificate=certificate, ca="", sni=tls.sni, verify="none")
    if tls.ca_crl and not tls.credential_name and not tls.ca_certificates:
        return "caCrl revokes certificates of caCertificates, and there are none"
    return UpstreamTls(certificate=certificate, ca=ca, sni=tls.sni, sans=sans)


def _istio_mutual(key: ClusterKey, sans: tuple[str, ...]) -> UpstreamTls:
    """The mesh's certificate on both sides. Certificates of workloads hold no host names, so without ``sans`` any workload will
    do, as in Istio when it knows of no service account."""
    sni = f"outbound_.{key.port}_.{key.subset}_.{key.record.host}"
    verify = "names" if sans else "chain"
    return UpstreamTls(certificate=MESH, ca=MESH, sni=sni, verify=verify, alpn=ISTIO_ALPN, sans=sans)


def _ca(tls: ClientTls, namespace: str) -> str:
    if tls.credential_name.startswith(CONFIG_MAP):
        return _secret(tls.credential_name, namespace)
    if tls.credential_name:
        return _secret(tls.credential_name, namespace) + "-cacert"
    if tls.ca_certificates:
        return f"file-ca:{tls.ca_certificates}" + (f"~{tls.ca_crl}" if tls.ca_crl else "")
    return SYSTEM


def _secret(reference: str, namespace: str) -> str:
    """The full name of a credential: scheme, namespace, name."""
    scheme, mark, name = reference.rpartition("://")
    if not mark:
        scheme, name = "kubernetes", reference
    return f"{scheme}://{name}" if "/" in name else f"{scheme}://{namespace}/{name}"


def _entry_names(key: ClusterKey) -> tuple[str, ...]:
    """subjectAltNames of a ServiceEntry count where the DestinationRule has none."""
    source = key.record.source
    return source.spec.subject_alt_names if source is not None and source.kind == "ServiceEntry" else ()
