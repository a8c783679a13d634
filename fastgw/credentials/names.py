"""How credentials are called, and which of them a Plan needs for what.

``kubernetes://NAMESPACE/SECRET`` (a Secret, or a directory of ``--secrets``; as a CA ``SECRET-cacert`` falls back to ``SECRET``),
``configmap://NAMESPACE/NAME`` (a CA), ``file-cert:CERTIFICATE~KEY``, ``file-ca:PATH[~CRL]``, ``mesh`` (``--mesh-cert``). The name
"system", the CAs of the machine, is nobody's credential.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from fastgw.model.plan import Plan, TlsContext, UpstreamTls

KUBERNETES = "kubernetes://"
CONFIG_MAP = "configmap://"
FILE_CERTIFICATE = "file-cert:"
FILE_CA = "file-ca:"
BETWEEN_PATHS = "~"
MESH = "mesh"
SYSTEM = "system"
CA_SUFFIX = "-cacert"


class Need(enum.IntFlag):
    """Which parts of a credential are used."""

    PAIR = 1
    CA = 2


def names_of_plan(plan: Plan) -> dict[str, Need]:
    """Every credential that something in the Plan names, sorted as the credentials block is."""
    needs: dict[str, Need] = {}
    for name, need in _mentions(plan):
        if name and name != SYSTEM:
            needs[name] = needs.get(name, need) | need
    return dict(sorted(needs.items(), key=lambda item: item[0].encode()))


def names_of_context(context: TlsContext) -> Iterator[tuple[str, Need]]:
    yield from ((name, Need.PAIR) for name in context.certificates)
    yield context.ca, Need.CA


def names_of_upstream(tls: UpstreamTls) -> Iterator[tuple[str, Need]]:
    yield tls.certificate, Need.PAIR
    yield tls.ca, Need.CA


def _mentions(plan: Plan) -> Iterator[tuple[str, Need]]:
    for listener in plan.listeners:
        for chain in listener.chains:
            if chain.tls_context is not None:
                yield from names_of_context(chain.tls_context)
    for cluster in plan.clusters.values():
        if cluster.tls is not None:
            yield from names_of_upstream(cluster.tls)


def split_owner(name: str, scheme: str, namespace: str) -> tuple[str, str]:
    """(namespace, name) of ``scheme[NAMESPACE/]NAME``; the gateway's own namespace when none is written."""
    owner, slash, bare = name.removeprefix(scheme).rpartition("/")
    return (owner if slash else namespace), bare


def file_certificate(certificate: str, key: str) -> str:
    return f"{FILE_CERTIFICATE}{certificate}{BETWEEN_PATHS}{key}"


def file_ca(path: str, crl: str = "") -> str:
    return f"{FILE_CA}{path}{BETWEEN_PATHS}{crl}" if crl else f"{FILE_CA}{path}"


def split_paths(name: str, scheme: str) -> tuple[str, str]:
    """The two paths of a name by files; "" for a second one that is not there."""
    first, _, second = name.removeprefix(scheme).partition(BETWEEN_PATHS)
    return first, second
