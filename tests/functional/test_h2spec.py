"""HTTP/2 as h2spec asks for it: its inventory (h2_cases.py) always, and the program itself where it is installed."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .h2_cases import CASES, Case
from .support.certificates import Authority, mount
from .support.config import gateway_of, http_server, https_server, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.h2_wire import H2Wire
from .support.h2spec import find_h2spec, run_h2spec
from .support.origin import RecordingOrigin
from .support.tls_client import client_context

HOST = "webapp.test"

PRIORITIES_ARE_GONE = "RFC 9113 section 5.3.1 took priorities away, and with them the error of depending on oneself"
ALLOWED = {
    "http2/5.3.1 Sends HEADERS frame that depend on itself": PRIORITIES_ARE_GONE,
    "http2/5.3.1 Sends PRIORITY frame that depend on itself": PRIORITIES_ARE_GONE,
}
"""Cases of h2spec that may fail, with the reason."""

ALLOWED_PLAIN = {
    "http2/3.5 Sends invalid connection preface": "the port speaks HTTP/1.1, too: a 400 comes before the end",
}
"""Where HTTP/2 was not agreed on by TLS."""


@dataclass
class Served:
    """The gateway with a plain and a TLS port, both for every host."""

    gateway: Gateway
    authority: Authority

    def connect(self, *, tls: bool) -> H2Wire:
        plain = socket.create_connection(("127.0.0.1", self.gateway.port(443 if tls else 80)))
        if not tls:
            return H2Wire(plain, "http", HOST)
        context = client_context(self.authority, alpn=["h2"])
        secure: ssl.SSLSocket = context.wrap_socket(plain, server_hostname=HOST)
        assert secure.selected_alpn_protocol() == "h2"
        return H2Wire(secure, "https", HOST)

    def check(self, case: Case, *, tls: bool) -> None:
        with self.connect(tls=tls) as wire:
            if case.starts:
                wire.start()
            case.send(wire)
            case.check(wire)


@pytest.fixture(scope="module")
def served(shared_origin: RecordingOrigin, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("h2")
    mount(home / "secrets", "web", authority.issue(HOST))
    documents = [
        gateway_of("gw", [http_server(["*"]), https_server(["*"], "web")]),
        virtual_service("webapp", ["*"], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", shared_origin.port)]),
    ]
    with Gateway(home / "gateway", documents, ports=(80, 443), options=["--secrets", str(home / "secrets")]) as running:
        yield Served(running, authority)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inventory(served: Served, case: Case) -> None:
    served.check(case, tls=False)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_h2spec(served: Served, tmp_path: Path, tls: bool) -> None:
    """Every case passes; without the program, the inventory is asked over this transport instead, and that is said."""
    program = find_h2spec()
    if program is None:
        warnings.warn(
            "h2spec is not installed: its inventory was asked instead (support/h2spec.py says how to get it)", stacklevel=1
        )
        for case in CASES:
            served.check(case, tls=tls)
    else:
        allowed = ALLOWED if tls else ALLOWED | ALLOWED_PLAIN
        verdicts = run_h2spec(program, served.gateway.port(443 if tls else 80), tmp_path, tls=tls)
        failed = [v for v in verdicts if v.name not in allowed and (v.problem or v.skipped)]
        assert len(verdicts) > 140, len(verdicts)
        assert not failed, "\n".join(f"{v.name}: {v.problem or 'could not be asked'}" for v in failed)
    served.gateway.assert_no_leaks()
