"""Who may talk to the admin server."""

from __future__ import annotations

import pytest

from fastgw.admin.guards import host_allowed, origin_allowed


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:15000", "localhost", "LOCALHOST:15000", "[::1]:15000", "10.1.2.3:15000"])
def test_addresses_and_localhost_are_allowed(host: str) -> None:
    assert host_allowed(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:15000", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "a@b:c:d"]
)
def test_names_that_could_be_rebound_are_not(host: str) -> None:
    assert not host_allowed(host)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://127.0.0.1:15000", True),
        ("https://localhost", True),
        ("http://evil.example", False),
        ("null", False),
        ("file://", False),
    ],
)
def test_origins(origin: str | None, allowed: bool) -> None:
    assert origin_allowed(origin) is allowed
