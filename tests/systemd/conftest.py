"""One installation for all: as README.md and docs/OPERATING.md tell, with the program in /opt/fastgw."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from functional.support.certificates import Authority, make_authority
from functional.support.config import Document, gateway_of, route, service_entry, virtual_service
from functional.support.origin import RecordingOrigin
from service import CREDENTIALS, HOST, PROGRAM, UNIT, configure, run


def documents(upstream_port: int) -> list[Document]:
    """Ports 80 and 443 under the names that socket units have."""
    http = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    https = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "hosts": [HOST],
        "tls": {"mode": "SIMPLE", "credentialName": "web"},
    }
    pattern = [{"uri": {"regex": "/item/[0-9]+"}}]  # RE2, under MemoryDenyWriteExecute=
    return [
        gateway_of("gw", [http, https]),
        virtual_service("shop", [HOST], [route("webapp", 8080, match=pattern), route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", upstream_port)]),
    ]


@pytest.fixture(scope="session")
def origin() -> Iterator[RecordingOrigin]:
    with RecordingOrigin() as made:
        yield made


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority("trial")


@pytest.fixture(scope="session")
def wanted(origin: RecordingOrigin) -> list[Document]:
    return documents(origin.port)


@pytest.fixture(scope="session")
def installed(wanted: list[Document], authority: Authority) -> None:
    run(PROGRAM, "install-service", "--credential", f"web={CREDENTIALS}/web")
    run("systemd-sysusers")
    run("systemd-tmpfiles", "--create")
    run("systemctl", "daemon-reload")
    configure(wanted)
    pair = authority.issue(HOST)
    (CREDENTIALS / "web").mkdir(mode=0o700)
    (CREDENTIALS / "web/tls.crt").write_text(pair.chain)
    (CREDENTIALS / "web/tls.key").write_text(pair.key)
    (CREDENTIALS / "web/tls.key").chmod(0o600)
    run("systemctl", "enable", "--now", UNIT)


@pytest.fixture
def service(installed: None, wanted: list[Document], origin: RecordingOrigin) -> Iterator[None]:
    """It runs with what is wanted, before and after."""
    yield
    origin.answer = origin.echo
    configure(wanted)
    run("systemctl", "reset-failed", UNIT, check=False)
    run("systemctl", "start", UNIT)
