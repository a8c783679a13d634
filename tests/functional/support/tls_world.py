"""A gateway with HTTPS servers of every client-certificate policy on one port, each host with an upstream path of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .certificates import Authority, Identity, mount
from .client import request_bytes
from .config import Document, gateway_of, https_server, route, service_entry, virtual_service
from .gateway import Gateway
from .http1 import Response
from .origin import RecordingOrigin
from .tls_client import TlsClient, client_context, fetch_tls, refusal

PLAIN, OPTIONAL, STRICT = "webapp.test", "optional.test", "admin.test"


@dataclass
class TlsWorld:
    """``gateway`` with its CAs; ``directory`` is for files of clients, ``secrets`` is what ``--secrets`` names."""

    gateway: Gateway
    authority: Authority
    client_authority: Authority
    directory: Path
    secrets: Path

    @property
    def port(self) -> int:
        return self.gateway.port(443)

    def ca_file(self) -> str:
        return str(self.authority.write(self.directory / "ca.pem"))

    def client_identity(self, name: str = "alice", **options: Any) -> Identity:
        return self.client_authority.issue(common_name=name, **options)

    def client_files(self, identity: Identity) -> list[str]:
        """Words for openssl s_client."""
        chain, key = identity.write(self.directory, f"client-{identity.sha256[:8]}")
        return ["-cert", str(chain), "-key", str(key)]

    def context(self, identity: Identity | None = None, **options: Any) -> Any:
        return client_context(self.authority, identity, self.directory, **options)

    def connect(self, name: str | None, identity: Identity | None = None, **options: Any) -> TlsClient:
        return TlsClient(self.port, name, self.context(identity), **options)

    def get(self, name: str | None, host: str | None = None, *headers: str, identity: Identity | None = None) -> Response:
        """One GET on a connection of its own, with SNI ``name`` and Host ``host``."""
        return fetch_tls(self.port, name, self.context(identity), "/", host, *headers)

    def refusal(self, name: str | None, identity: Identity | None = None, host: str | None = None) -> str:
        return refusal(self.port, name, self.context(identity), host)

    def ask(self, name: str | None, data: bytes | str, identity: Identity | None = None) -> Response:
        """The answer to these very bytes."""
        with self.connect(name, identity) as client:
            return client.request(data)


def upstreams(origin: RecordingOrigin, names: Sequence[str]) -> list[Document]:
    """A VirtualService for each host, to one upstream; the echoed ``x-vhost`` says which of them was taken."""
    entry = service_entry("webapp", [("127.0.0.1", origin.port)])
    return [entry, *(tagged(name, [name]) for name in names)]


def tagged(name: str, hosts: list[str], **options: Any) -> Document:
    """A VirtualService whose requests reach the upstream with ``x-vhost: name``."""
    rule = route("webapp", 8080, headers={"request": {"set": {"x-vhost": name}}})
    return virtual_service(name.replace("*", "any").replace(".", "-"), hosts, [rule], **options)


def vhost_of(answer: Response) -> str:
    """The ``x-vhost`` that the upstream saw."""
    fields = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
    return str(fields.get("x-vhost", ""))


def policy_documents(origin: RecordingOrigin) -> list[Document]:
    """The three policies beside each other."""
    servers = [
        https_server([PLAIN], "web", name="plain"),
        https_server([OPTIONAL], "optional", "OPTIONAL_MUTUAL", name="optional"),
        https_server([STRICT], "admin", "MUTUAL", name="strict"),
    ]
    return [gateway_of("gw", servers), *upstreams(origin, [PLAIN, OPTIONAL, STRICT])]


def mount_policies(secrets: Path, authority: Authority, client_authority: Authority) -> None:
    mount(secrets, "web", authority.issue(PLAIN))
    mount(secrets, "optional", authority.issue(OPTIONAL), ca=client_authority.pem)
    mount(secrets, "admin", authority.issue(STRICT), ca=client_authority.pem)


def keep_alive(host: str, target: str = "/") -> bytes:
    return request_bytes("GET", target, host)
