"""httpsRedirect beside HTTPS, and the way for certificate authorities that must ask in the clear (ACME http-01)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .support.certificates import Authority, mount
from .support.config import gateway_of, http_server, https_server, route, service_entry, virtual_service
from .support.curl import curl
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.tls_world import TlsWorld

CHALLENGE = "/.well-known/acme-challenge/token"
WITH_ROUTE, WITHOUT_ROUTE = "webapp.test", "narrow.test"


@pytest.fixture(scope="module")
def world(
    authority: Authority, client_authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TlsWorld, RecordingOrigin]]:
    """webapp.test has a route for challenges; narrow.test has one for /app alone. Yields the upstream as well."""
    home = tmp_path_factory.mktemp("redirect")
    secrets = home / "secrets"
    hosts = [WITH_ROUTE, WITHOUT_ROUTE]
    mount(secrets, "web", authority.issue(*hosts))
    with RecordingOrigin("webapp") as app, RecordingOrigin("acme") as acme:
        documents = [
            gateway_of("gw", [http_server(hosts, tls={"httpsRedirect": True}), https_server(hosts, "web")]),
            virtual_service(
                "webapp",
                [WITH_ROUTE],
                [route("acme", 8080, match=[{"uri": {"prefix": "/.well-known/acme-challenge/"}}]), route("webapp", 8080)],
            ),
            virtual_service("narrow", [WITHOUT_ROUTE], [route("webapp", 8080, match=[{"uri": {"prefix": "/app"}}])]),
            service_entry("webapp", [("127.0.0.1", app.port)]),
            service_entry("acme", [("127.0.0.1", acme.port)]),
        ]
        with Gateway(home / "gateway", documents, ports=(80, 443), options=["--secrets", str(secrets)]) as running:
            yield TlsWorld(running, authority, client_authority, home, secrets), app


@pytest.fixture
def tls(world: tuple[TlsWorld, RecordingOrigin]) -> Iterator[TlsWorld]:
    """The world for one test; its upstream must not have seen a request in the clear."""
    yield world[0]
    world[0].gateway.assert_no_leaks()
    world[1].settle()
    protocols = [seen.message.value("x-forwarded-proto") for seen in world[1].seen]
    assert set(protocols) <= {"https"}, protocols


@pytest.mark.parametrize(
    ("target", "host", "location"),
    [
        ("/", WITH_ROUTE, "https://webapp.test/"),
        ("/a/b?c=d&e", WITH_ROUTE, "https://webapp.test/a/b?c=d&e"),
        ("/x", f"{WITH_ROUTE}:8080", "https://webapp.test:8080/x"),
        ("/nowhere", WITHOUT_ROUTE, "https://narrow.test/nowhere"),
        (CHALLENGE, WITHOUT_ROUTE, f"https://narrow.test{CHALLENGE}"),
        ("/.well-known/acme-challenge", WITH_ROUTE, "https://webapp.test/.well-known/acme-challenge"),
        ("/.well-known/acme-challengex/token", WITH_ROUTE, "https://webapp.test/.well-known/acme-challengex/token"),
    ],
)
def test_plain_requests_are_sent_to_https(tls: TlsWorld, target: str, host: str, location: str) -> None:
    answer = tls.gateway.get(target, host)
    assert (answer.status, answer.value("location")) == (301, location)


def test_a_challenge_passes_in_the_clear_where_there_is_a_route(tls: TlsWorld) -> None:
    answer = tls.gateway.get(CHALLENGE, WITH_ROUTE)
    assert (answer.status, answer.value("x-origin")) == (200, "acme")


@pytest.mark.parametrize(
    "target",
    [
        "/.well-known/acme-challenge/../../admin",
        "/.well-known/acme-challenge/%2e%2e/%2e%2e/admin",
        "/.well-known/acme-challenge/..%2f..%2fadmin",
        "/.well-known/acme-challenge//../../../admin",
        "/admin?/.well-known/acme-challenge/",
        "/.WELL-KNOWN/acme-challenge/token",
    ],
)
def test_nothing_else_passes_under_a_challenge_s_name(tls: TlsWorld, target: str) -> None:
    answer = tls.gateway.get(target, WITH_ROUTE)
    assert answer.status in (301, 400) or answer.value("x-origin") == "acme", answer.text


def test_https_itself_is_not_redirected(tls: TlsWorld) -> None:
    for target, origin in {"/x": "webapp", CHALLENGE: "acme"}.items():
        url = f"https://{WITH_ROUTE}:{tls.port}{target}"
        answer = curl("--cacert", tls.ca_file(), "--resolve", f"{WITH_ROUTE}:{tls.port}:127.0.0.1", url)
        assert (answer.status, answer.headers["x-origin"]) == (200, origin)


def test_a_client_that_follows_arrives(tls: TlsWorld) -> None:
    plain, secure = tls.gateway.port(80), tls.port
    words = ["--connect-to", f"{WITH_ROUTE}:80:127.0.0.1:{plain}", "--connect-to", f"{WITH_ROUTE}:443:127.0.0.1:{secure}"]
    answer = curl("-L", "--cacert", tls.ca_file(), *words, f"http://{WITH_ROUTE}/page?q=1")
    assert answer.status == 301 and "\r\nx-origin: webapp\r\n" in answer.body.lower()
