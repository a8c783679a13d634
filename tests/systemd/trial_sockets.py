"""The ports as socket units: open before the service is, and no capability in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from functional.support.certificates import Authority
from functional.support.client import Client
from functional.support.poll import eventually
from functional.support.tls_client import client_context, fetch_tls
from service import CREDENTIALS, HOST, LONG_S, PROGRAM, UNIT, Callers, main_pid, mark, run, said, shown
from trial_service import fact

SOCKETS = ["fastgw-http.socket", "fastgw-https.socket"]


@pytest.fixture
def sockets(service: None) -> Iterator[None]:
    """Installed anew with sockets; the service is not running."""
    words = [PROGRAM, "install-service", "--credential", f"web={CREDENTIALS}/web"]
    run(*words, "--socket", "http=80", "--socket", "https=443")
    run("systemctl", "daemon-reload")
    run("systemctl", "stop", UNIT)
    run("systemctl", "enable", "--now", *SOCKETS)
    yield
    run("systemctl", "disable", "--now", *SOCKETS)
    run("systemctl", "stop", UNIT)
    run(*words)
    run("systemctl", "daemon-reload")


@pytest.mark.usefixtures("sockets")
def test_the_first_client_starts_it(authority: Authority) -> None:
    assert shown("ActiveState") == "inactive"
    since = mark()
    with Client(80, timeout_s=LONG_S) as client:
        assert client.get("/", HOST).status == 200
    assert fetch_tls(443, HOST, client_context(authority)).status == 200
    eventually(lambda: shown("ActiveState") == "active", "workers accept before all are ready", LONG_S)
    assert "no listener is on the socket" not in said(since)
    assert int(fact(main_pid(), "CapEff"), 16) == int(fact(main_pid(), "CapBnd"), 16) == 0
    with Callers() as callers:
        run("systemctl", "restart", UNIT)
        callers.each_once_more()
    assert not callers.failures, callers.failures[:5]
