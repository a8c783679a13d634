"""TLS towards upstreams: who is believed, what is shown, and that nothing goes out or comes in before that is settled."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dataplane_support import OK, Gateway, Peer, Upstream, make_plan
from tls_support import Authority, Pair, authority, give_credentials
from tls_upstream_support import GET, NAME, ServerContext, TlsServer, accept, client_credentials, get, trusting

from fastgw.credentials.content import Content
from fastgw.model.plan import Cluster, Endpoint, UpstreamTls

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13])


def serve(gateway: Gateway, tmp_path: Path, pair: Pair | None = None, **tls: Any) -> tuple[Upstream, ServerContext]:
    upstream = gateway.upstream()
    trusting(gateway, upstream, **tls)
    return upstream, ServerContext(pair or authority().issue(NAME), tmp_path)


def asked(gateway: Gateway, upstream: Upstream, server: ServerContext) -> tuple[Peer, TlsServer]:
    """A client's request, and where it has arrived: on a new connection of an upstream that is believed."""
    client = gateway.client().send(GET)
    connection = accept(gateway, upstream, server)
    connection.request()
    return client, connection


def believed(gateway: Gateway, upstream: Upstream, server: ServerContext) -> None:
    """The same, and it is answered."""
    client, connection = asked(gateway, upstream, server)
    connection.send(OK)
    assert client.response().status == 200


def refused(gateway: Gateway, upstream: Upstream, server: ServerContext, request: bytes = GET) -> str:
    """A request that ends in 503 since the upstream is not believed; the upstream has got none of it."""
    client = gateway.client().send(request)
    seen = ""
    for _ in range(gateway.context.connect_attempts):
        connection = TlsServer(upstream.accept(gateway), server)
        seen = connection.alerts()
        assert connection.plain == b""
    answer = client.response()
    assert answer.status == 503
    assert b"remote connection failure" in answer.body
    assert gateway.counter("FGW_C_UPSTREAM_TLS_FAILED") == gateway.context.connect_attempts
    assert gateway.counter("FGW_C_UPSTREAM_TLS_HANDSHAKES") == 0
    return seen


# ---- who is believed


@VERSIONS
def test_a_request_over_tls(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    upstream, server = serve(gateway, tmp_path)
    server.context.maximum_version = version
    client = gateway.client().send(GET)
    connection = accept(gateway, upstream, server)
    assert connection.request()["host"] == NAME
    connection.send(OK)
    assert client.response().body == b"ok"
    assert server.seen == [NAME]
    assert gateway.counter("FGW_C_UPSTREAM_TLS_HANDSHAKES") == 1
    assert gateway.counter("FGW_C_UPSTREAM_TLS_RESUMED") == gateway.counter("FGW_C_UPSTREAM_TLS_FAILED") == 0


@pytest.mark.parametrize("host", ["API.example.ORG", "api.example.org:8443", "api.example.org."])
def test_the_sni_is_the_requests_host(gateway: Gateway, tmp_path: Path, host: str) -> None:
    upstream, server = serve(gateway, tmp_path)
    client = gateway.client().send(get(host))
    connection = accept(gateway, upstream, server)
    assert connection.request()["host"] == host
    connection.send(OK)
    assert client.response().status == 200
    assert server.seen == [NAME]


def test_a_configured_sni_is_sent_and_verified(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, sni=NAME)
    client = gateway.client().send(get("other.example.org"))
    connection = accept(gateway, upstream, server)
    assert connection.request()["host"] == "other.example.org"
    connection.send(OK)
    assert client.response().status == 200
    assert server.seen == [NAME]


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "127.0.0.1"), ("[::1]:80", "::1")])
def test_an_address_is_verified_and_is_no_sni(gateway: Gateway, tmp_path: Path, host: str, name: str) -> None:
    upstream, server = serve(gateway, tmp_path, authority().issue(name))
    client = gateway.client().send(get(host))
    connection = accept(gateway, upstream, server)
    connection.request()
    connection.send(OK)
    assert client.response().status == 200
    assert server.seen == [None]


UNTRUSTED = Authority("Nobody's CA")
BAD = {
    "wrong name": lambda: authority().issue("other.example.org"),
    "wildcard of a deeper name": lambda: authority().issue("*.example.org.example.org", "*.org"),
    "partial wildcard": lambda: authority().issue("a*.example.org"),
    "address only": lambda: authority().issue("127.0.0.1"),
    "subject without alternative names": lambda: authority().issue(subject=NAME),
    "expired": lambda: authority().issue(NAME, days=-1),
    "unknown CA": lambda: UNTRUSTED.issue(NAME),
}


@VERSIONS
@pytest.mark.parametrize("what", BAD)
def test_a_bad_certificate_is_a_503(gateway: Gateway, tmp_path: Path, what: str, version: ssl.TLSVersion) -> None:
    upstream, server = serve(gateway, tmp_path, BAD[what]())
    server.context.maximum_version = version
    assert "ALERT" in refused(gateway, upstream, server).upper()


def test_a_self_signed_certificate_is_a_503(gateway: Gateway, tmp_path: Path) -> None:
    lone = Authority(NAME)
    upstream, server = serve(gateway, tmp_path, Pair(lone.x509, lone.key))
    refused(gateway, upstream, server)


def test_a_wildcard_certificate_covers_one_label(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, authority().issue("*.example.org"))
    believed(gateway, upstream, server)


@pytest.mark.parametrize("sans", [
    ("x.example.org", "real.example.org"), ("spiffe://mesh/ns/a/sa/b",), ("10.1.2.3",), ("a.wild.example.org",),
])  # fmt: skip
def test_one_of_the_alternative_names_is_enough(gateway: Gateway, tmp_path: Path, sans: tuple[str, ...]) -> None:
    names = ("real.example.org", "spiffe://mesh/ns/a/sa/b", "10.1.2.3", "*.wild.example.org")
    upstream, server = serve(gateway, tmp_path, authority().issue(*names), sans=sans)
    believed(gateway, upstream, server)
    assert server.seen == [NAME]


@pytest.mark.parametrize("sans", [("x.example.org",), ("spiffe://mesh/ns/a/sa",), ("10.1.2.4",), ("wild.example.org",)])
def test_alternative_names_replace_the_sni(gateway: Gateway, tmp_path: Path, sans: tuple[str, ...]) -> None:
    names = (NAME, "spiffe://mesh/ns/a/sa/b", "10.1.2.3", "*.wild.example.org")
    upstream, server = serve(gateway, tmp_path, authority().issue(*names), sans=sans)
    refused(gateway, upstream, server)


@pytest.mark.parametrize("pair", [UNTRUSTED.issue("other"), authority().issue("other", days=-5)])
def test_nothing_is_verified_when_that_is_asked_for(gateway: Gateway, tmp_path: Path, pair: Pair) -> None:
    upstream, server = serve(gateway, tmp_path, pair, verify="none", ca="")
    believed(gateway, upstream, server)


def test_the_chain_alone(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(
        gateway, tmp_path, authority().issue("spiffe://mesh/ns/a/sa/b"), verify="chain", sni="outbound_.80_._.c"
    )
    believed(gateway, upstream, server)
    assert server.seen == ["outbound_.80_._.c"]


def test_the_chain_alone_still_needs_the_ca(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, UNTRUSTED.issue(NAME), verify="chain")
    refused(gateway, upstream, server)


def test_revoked(gateway: Gateway, tmp_path: Path) -> None:
    good, bad = authority().issue(NAME), authority().issue(NAME)
    ca = {"ca": Content(ca=authority().pem, crl=authority().revoke(bad))}
    upstream, server = serve(gateway, tmp_path, bad, credentials=ca)
    refused(gateway, upstream, server)
    believed(gateway, upstream, ServerContext(good, tmp_path))


def test_the_systems_authorities(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    upstream, server = serve(gateway, tmp_path, credentials={}, ca="system")
    believed(gateway, upstream, server)
    assert UNTRUSTED.pem not in bundle.read_bytes()


def test_an_authority_that_the_system_does_not_know(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, credentials={}, ca="system")
    refused(gateway, upstream, server)


# ---- credentials that are not there


@pytest.mark.parametrize("credentials", [{}, {"ca": Content(chain=b"x", key=b"y")}, {"ca": Content(ca=b"no PEM")}])
def test_without_its_ca_no_connection_is_made(gateway: Gateway, tmp_path: Path, credentials: dict[str, Content]) -> None:
    """G13: it fails closed, and heals when the CA appears."""
    upstream, server = serve(gateway, tmp_path, credentials=credentials)
    assert gateway.client().send(GET).response().status == 503
    assert not upstream.has_connection(gateway)
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    gateway.serve(upstream, tls=UpstreamTls(ca="ca"))
    believed(gateway, upstream, server)


def test_without_the_certificate_to_show_no_connection_is_made(gateway: Gateway, tmp_path: Path) -> None:
    upstream, _ = serve(gateway, tmp_path, certificate="client")
    assert gateway.client().send(GET).response().status == 503
    assert not upstream.has_connection(gateway)


def test_a_mended_ca_is_used_and_a_lost_one_is_not(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, credentials={"ca": Content(ca=UNTRUSTED.pem)})
    refused(gateway, upstream, server)
    trusting(gateway, upstream)
    client, connection = asked(gateway, upstream, server)
    connection.send(OK)
    client.response()
    connection.finish().peer.close()
    trusting(gateway, upstream, {})
    assert gateway.client().send(GET).response().status == 503
    assert not upstream.has_connection(gateway)


# ---- what is shown


@VERSIONS
def test_our_certificate_is_shown(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = authority().issue("gateway.example.org")
    upstream = gateway.upstream()
    trusting(gateway, upstream, client_credentials(pair), certificate="client")
    server = ServerContext(authority().issue(NAME), tmp_path, authority().pem, maximum_version=version)
    client = gateway.client().send(GET)
    connection = accept(gateway, upstream, server)
    shown = connection.tls.getpeercert()
    assert shown is not None
    assert shown["subjectAltName"] == (("DNS", "gateway.example.org"),)
    connection.request()
    connection.send(OK)
    assert client.response().status == 200


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("shows", [True, False])
def test_an_upstream_that_refuses_us_is_a_503(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion, shows: bool) -> None:
    """With TLS 1.3 the refusal comes after our side of the handshake, and still is no answer of the upstream."""
    upstream = gateway.upstream()
    strange = UNTRUSTED.issue("gateway.example.org")
    trusting(gateway, upstream, client_credentials(strange), **({"certificate": "client"} if shows else {}))
    server = ServerContext(authority().issue(NAME), tmp_path, authority().pem, maximum_version=version)
    client = gateway.client().send(GET)
    for _ in range(gateway.context.connect_attempts if version == V12 else 1):
        with pytest.raises(ssl.SSLError):
            TlsServer(upstream.accept(gateway), server).handshake()
    assert client.response().status == 503


def test_a_new_certificate_is_shown_by_new_connections(gateway: Gateway, tmp_path: Path) -> None:
    upstream = gateway.upstream()
    server = ServerContext(authority().issue(NAME), tmp_path, authority().pem)
    first, second = authority().issue("one.example.org"), authority().issue("two.example.org")
    trusting(gateway, upstream, client_credentials(first), certificate="client")
    one = gateway.client().send(GET)
    open_ = accept(gateway, upstream, server)
    open_.request()
    trusting(gateway, upstream, client_credentials(second), certificate="client")
    two = gateway.client().send(GET)
    fresh = accept(gateway, upstream, server)
    fresh.request()
    for connection in (open_, fresh):
        connection.send(OK)
    assert one.response().status == two.response().status == 200
    names = [connection.tls.getpeercert()["subjectAltName"] for connection in (open_, fresh)]  # type: ignore[index]
    assert names == [(("DNS", "one.example.org"),), (("DNS", "two.example.org"),)]
    assert not fresh.tls.session_reused


# ---- what is said about it

TOLD = [("flags", ""), ("text", " "), ("transport_failure", ""), ("text", " "), ("details", ""), ("text", "\n")]
Told = tuple[Gateway, Callable[[], str]]
FAILED = "upstream_reset_before_response_started{remote_connection_failure|TLS_error}"


@pytest.fixture
def told(make_gateway: Callable[..., Gateway]) -> Iterator[tuple[Gateway, Callable[[], str]]]:
    """A gateway with one attempt a request, and its log: flags, reason, details."""
    fd = os.memfd_create("log")
    gateway = make_gateway(log=TOLD, log_fd=fd, limits={"connect_attempts": 1})

    def line() -> str:
        gateway.settle()
        gateway.log.flush()
        return os.pread(fd, 4096, 0).decode().strip()

    yield gateway, line
    os.close(fd)


REASONS = {
    "wrong name": "hostname_mismatch",
    "expired": "certificate_has_expired",
    "unknown CA": "unable_to_get_local_issuer_certificate",
}


@pytest.mark.parametrize("what", REASONS)
def test_the_log_says_why_a_certificate_was_not_believed(told: Told, tmp_path: Path, what: str) -> None:
    gateway, line = told
    upstream, server = serve(gateway, tmp_path, BAD[what]())
    refused(gateway, upstream, server)
    assert line() == f"UF TLS_error:|{REASONS[what]}:TLS_error_end {FAILED}"


def test_the_log_says_which_credential_is_missing(told: Told, tmp_path: Path) -> None:
    gateway, line = told
    serve(gateway, tmp_path, ca="file-ca:/etc/none.pem")
    assert gateway.client().send(GET).response().status == 503
    assert line() == f"UF TLS_error:|no_usable_CA_in_file-ca:/etc/none.pem:TLS_error_end {FAILED}"


def test_the_log_says_that_the_upstream_refused_us(told: Told, tmp_path: Path) -> None:
    gateway, line = told
    upstream = gateway.upstream()
    trusting(gateway, upstream)
    server = ServerContext(authority().issue(NAME), tmp_path, authority().pem)
    client = gateway.client().send(GET)
    with pytest.raises(ssl.SSLError):
        TlsServer(upstream.accept(gateway), server).handshake()
    assert client.response().status == 503
    details = "upstream_reset_before_response_started{connection_termination|TLS_error}"
    assert line() == f"UF TLS_error:|tlsv13_alert_certificate_required:TLS_error_end {details}"


def test_the_log_says_that_the_handshake_took_too_long(told: Told, tmp_path: Path) -> None:
    gateway, line = told
    upstream, _ = serve(gateway, tmp_path)
    client = gateway.client().send(GET)
    upstream.accept(gateway)
    gateway.pass_ms(11_000)
    assert client.response().status == 503
    assert line() == "UF TLS_error:|handshake_timed_out:TLS_error_end upstream_reset_before_response_started{connection_timeout}"


def test_plain_text_where_tls_is_expected(told: Told, tmp_path: Path) -> None:
    gateway, line = told
    upstream, _ = serve(gateway, tmp_path)
    client = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    assert client.response().status == 503
    assert line() == f"UF TLS_error:|wrong_version_number:TLS_error_end {FAILED}"


def test_a_failure_before_a_good_attempt_is_not_the_requests(make_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    fd = os.memfd_create("log")
    gateway = make_gateway(log=TOLD, log_fd=fd)
    upstream, server = serve(gateway, tmp_path)
    client = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    connection = accept(gateway, upstream, server)
    connection.request()
    connection.send(OK)
    assert client.response().status == 200
    gateway.log.flush()
    assert os.pread(fd, 4096, 0) == b"- - via_upstream\n"
    os.close(fd)


# ---- connections and sessions


def answered(gateway: Gateway, connection: TlsServer, request: bytes) -> None:
    client = gateway.client().send(request)
    connection.request()
    connection.send(OK)
    assert client.response().status == 200
    client.close()


def test_connections_are_kept_by_name(gateway: Gateway, tmp_path: Path) -> None:
    """The upstream chose its certificate, and perhaps more, by the SNI."""
    upstream, server = serve(gateway, tmp_path, authority().issue("*.example.org"))
    connections = {}
    for host in ("a.example.org", "b.example.org"):
        client = gateway.client().send(get(host))
        connections[host] = accept(gateway, upstream, server)
        connections[host].request()
        connections[host].send(OK)
        assert client.response().status == 200
    for host in ("a.example.org", "b.example.org", "a.example.org"):
        answered(gateway, connections[host], get(host))
    assert server.seen == ["a.example.org", "b.example.org"]
    assert gateway.pool.idle == 2


def test_with_a_configured_sni_hosts_share_connections(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, sni=NAME)
    client = gateway.client().send(get("a.example.org"))
    connection = accept(gateway, upstream, server)
    connection.request()
    connection.send(OK)
    client.response()
    answered(gateway, connection, get("b.example.org"))
    assert server.seen == [NAME]


CHANGES: list[tuple[dict[str, Any] | None, dict[str, Any] | None]] = [
    ({}, {"sni": NAME}), ({}, {"sans": (NAME,)}), ({}, {"verify": "none"}), (None, {}), ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_other_settings_make_new_connections(
    gateway: Gateway, tmp_path: Path, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> None:
    """Neither after a change of the DestinationRule nor from plain text to TLS or back is a connection used again."""
    upstream = gateway.upstream()
    server = ServerContext(authority().issue(NAME), tmp_path)
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    for settings in (before, after):
        gateway.serve(upstream, tls=None if settings is None else UpstreamTls(**{"ca": "ca", **settings}))
        client = gateway.client().send(GET)
        if settings is None:
            plain = upstream.accept(gateway)
            assert plain.request().start == "GET / HTTP/1.1"
            plain.send(OK)
        else:
            connection = accept(gateway, upstream, server)
            connection.request()
            connection.send(OK)
        assert client.response().status == 200
    assert gateway.pool.idle == 1


@VERSIONS
def test_sessions_are_resumed(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    upstream, server = serve(gateway, tmp_path)
    server.context.maximum_version = version
    reused = []
    for _ in range(3):
        client = gateway.client().send(GET)
        connection = accept(gateway, upstream, server)
        reused.append(connection.tls.session_reused)
        connection.request()
        connection.send(OK)
        assert client.response().status == 200
        connection.finish().peer.close()
    assert reused == [False, True, True]
    assert gateway.counter("FGW_C_UPSTREAM_TLS_RESUMED") == 2


def test_a_session_is_resumed_under_its_own_name_alone(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path, authority().issue("*.example.org"))
    reused = []
    for host in ("a.example.org", "b.example.org", "b.example.org", "a.example.org"):
        client = gateway.client().send(get(host))
        connection = accept(gateway, upstream, server)
        reused.append(connection.tls.session_reused)
        connection.request()
        connection.send(OK)
        client.response()
        connection.finish().peer.close()
    assert reused == [False, False, True, True]


def test_an_upstream_that_knows_no_session_any_more(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path)
    pair = authority().issue(NAME)
    for number in range(3):
        client = gateway.client().send(GET)
        connection = accept(gateway, upstream, ServerContext(pair, tmp_path) if number else server)
        assert not connection.tls.session_reused
        connection.request()
        connection.send(OK)
        assert client.response().status == 200
        connection.finish().peer.close()


def test_a_ticket_is_used_once(gateway: Gateway, tmp_path: Path) -> None:
    """RFC 8446 appendix C.4: an observer must not be able to tell connections by equal tickets."""
    upstream, server = serve(gateway, tmp_path)
    server.context.num_tickets = 1
    client, connection = asked(gateway, upstream, server)
    connection.send(OK)
    client.response()
    connection.finish().peer.close()
    both = [gateway.client().send(GET) for _ in range(2)]
    connections = [TlsServer(upstream.accept(gateway), server) for _ in range(2)]
    for connection in connections:
        connection.handshake()
    assert sorted(connection.tls.session_reused for connection in connections) == [False, True]
    for connection in connections:
        connection.request()
        connection.send(OK)
    assert [client.response().status for client in both] == [200, 200]


# ---- what comes in


FALSE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfalse"


@pytest.mark.parametrize("injected", [OK, FALSE, b"\x16\x03\x03\x00\x02ok", b"\0" * 100])
def test_bytes_before_the_handshake_are_never_relayed(gateway: Gateway, tmp_path: Path, injected: bytes) -> None:
    """T17."""
    upstream, server = serve(gateway, tmp_path)
    client = gateway.client().send(GET)
    for _ in range(gateway.context.connect_attempts):
        upstream.accept(gateway).send(injected).close()
    answer = client.response()
    assert answer.status == 503
    assert b"false" not in answer.body
    client = gateway.client().send(GET)
    peer = upstream.accept(gateway).send(injected)
    connection = TlsServer(peer, server)
    assert connection.plain == b""
    peer.close()
    for _ in range(gateway.context.connect_attempts - 1):
        upstream.accept(gateway).close()
    assert client.response().status == 503


class Dripping(TlsServer):
    """Sends a byte at a time, and nothing after ``left`` bytes."""

    left = 1 << 30

    def _flush(self) -> None:
        for byte in self.outgoing.read():
            if self.left:
                self.left -= 1
                self.peer.send(bytes([byte]))


@VERSIONS
def test_records_in_pieces(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    upstream, server = serve(gateway, tmp_path)
    server.context.maximum_version = version
    client = gateway.client().send(GET)
    connection = Dripping(upstream.accept(gateway), server)
    connection.handshake()
    connection.request()
    connection.send(OK)
    assert client.response().body == b"ok"
    assert gateway.pool.idle == 1


@VERSIONS
def test_a_handshake_cut_anywhere_is_a_503(make_gateway: Callable[..., Gateway], tmp_path: Path, version: ssl.TLSVersion) -> None:
    gateway = make_gateway(limits={"connect_attempts": 1})
    upstream, server = serve(gateway, tmp_path)
    server.context.maximum_version = version
    flight = 500 if version == V12 else 600  # less than the server's part in either version
    for left in [0, 1, 4, 5, 6, 80, 100, *range(120, flight, 97), flight]:
        client = gateway.client().send(GET)
        connection = Dripping(upstream.accept(gateway), server)
        connection.left = left
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connection.tls.do_handshake()
        connection._more()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connection.tls.do_handshake()
        connection._flush()
        connection.peer.close()
        assert client.response().status == 503
        client.close()
    assert gateway.pool.idle == 0


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_handshake_is_a_503(make_gateway: Callable[..., Gateway], tmp_path: Path, seed: int) -> None:
    """One byte of the server's part is another: in TLS 1.3 nothing of it can change unnoticed."""
    random = Random(seed)
    gateway = make_gateway(limits={"connect_attempts": 1})
    upstream, server = serve(gateway, tmp_path)
    client = gateway.client().send(GET)
    connection = TlsServer(upstream.accept(gateway), server)
    with pytest.raises(ssl.SSLWantReadError):
        connection.tls.do_handshake()
    connection._more()
    with pytest.raises(ssl.SSLWantReadError):
        connection.tls.do_handshake()
    data = bytearray(connection.outgoing.read())
    at = random.randrange(len(data))
    data[at] ^= random.randrange(1, 256)
    connection.peer.send(bytes(data)).close()
    answer = client.response()
    assert answer.status == 503


def test_an_end_without_close_notify_is_no_end_of_an_answer(gateway: Gateway, tmp_path: Path) -> None:
    """T14: a FIN may be anybody's."""
    upstream, server = serve(gateway, tmp_path)
    client, connection = asked(gateway, upstream, server)
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
    client.until(lambda data: b"half" in data)
    connection.peer.close()
    client.until_end()
    assert not client.data.endswith(b"0\r\n\r\n")


def test_close_notify_is_the_end_of_an_answer(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path)
    client, connection = asked(gateway, upstream, server)
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole")
    connection.finish().peer.close()
    assert client.response().body == b"whole"


def test_a_stale_connection_is_replaced(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path)
    client, connection = asked(gateway, upstream, server)
    connection.send(OK)
    client.response()
    connection.finish().peer.close()
    assert gateway.pool.idle == 0
    client.send(GET)
    connection = accept(gateway, upstream, server)
    connection.request()
    connection.send(OK)
    assert client.response().status == 200


@VERSIONS
def test_large_bodies_go_both_ways(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    upstream, server = serve(gateway, tmp_path)
    server.context.maximum_version = version
    body = bytes(range(256)) * 4096
    client = gateway.client()
    client.send(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    connection = accept(gateway, upstream, server)
    client.send(body)
    assert connection.request().body == body
    connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert client.response().body == body
    answered(gateway, connection, GET)


def test_a_handshake_that_takes_too_long(gateway: Gateway, tmp_path: Path) -> None:
    upstream = gateway.upstream()
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    gateway.serve(upstream, tls=UpstreamTls(ca="ca"), connect_timeout_ms=1000)
    client = gateway.client().send(GET)
    for _ in range(gateway.context.connect_attempts):
        upstream.accept(gateway)
        gateway.pass_ms(1500)
    answer = client.response()
    assert answer.status == 503
    assert b"connection timeout" in answer.body
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_TIMEOUTS") == gateway.context.connect_attempts
    assert gateway.counter("FGW_C_UPSTREAM_TLS_FAILED") == gateway.context.connect_attempts


def test_another_endpoint_is_tried(gateway: Gateway, tmp_path: Path) -> None:
    upstreams = [gateway.upstream(), gateway.upstream()]
    good, bad = ServerContext(authority().issue(NAME), tmp_path), ServerContext(UNTRUSTED.issue(NAME), tmp_path)
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    gateway.serve(*upstreams, tls=UpstreamTls(ca="ca"))
    client = gateway.client().send(GET)
    gateway.until(lambda: gateway.cell(upstreams[0].port).active + gateway.cell(upstreams[1].port).active == 1)
    first = 0 if gateway.cell(upstreams[0].port).active else 1
    TlsServer(upstreams[first].accept(gateway), bad).alerts()
    connection = accept(gateway, upstreams[1 - first], good)
    assert connection.request()["x-envoy-attempt-count"] == "2"
    connection.send(OK)
    assert client.response().status == 200
    assert gateway.cell(upstreams[first].port).failures == 1


def test_two_clusters_with_their_own_settings(gateway: Gateway, tmp_path: Path) -> None:
    """An endpoint that two clusters share is spoken to as each of them says."""
    upstream = gateway.upstream()
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    endpoints = [Endpoint("127.0.0.1", upstream.port)]
    plain = Cluster("plain", "p", 80, endpoints=endpoints)
    secret = Cluster("secret", "s", 443, endpoints=endpoints, tls=UpstreamTls(ca="ca"))
    server = ServerContext(authority().issue(NAME), tmp_path)

    def ask(cluster: str) -> Peer:
        gateway.attach(make_plan([plain, secret], [(cluster, 100)]))
        return gateway.client().send(GET)

    first = ask("plain")
    open_ = upstream.accept(gateway)
    open_.request()
    open_.send(OK)
    assert first.response().status == 200
    second = ask("secret")
    connection = accept(gateway, upstream, server)
    connection.request()
    connection.send(OK)
    assert second.response().status == 200
    again = ask("plain")
    open_.request()
    open_.send(OK)
    assert again.response().status == 200
    again = ask("secret")
    connection.request()
    connection.send(OK)
    assert again.response().status == 200
    assert gateway.pool.idle == 2


# ---- relayed connections


def relay(gateway: Gateway, tmp_path: Path, pair: Pair | None = None, **tls: Any) -> tuple[Upstream, ServerContext]:
    """A TCP chain whose destination is spoken to over TLS; the host of its service is "c"."""
    upstream = gateway.upstream()
    give_credentials(gateway, {"ca": Content(ca=authority().pem)})
    gateway.relay(upstream, tls=UpstreamTls(**{"ca": "ca", **tls}))
    return upstream, ServerContext(pair or authority().issue("c"), tmp_path)


@VERSIONS
def test_plain_bytes_are_relayed_over_tls(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Without a request, the service's host is the SNI."""
    upstream, server = relay(gateway, tmp_path)
    server.context.maximum_version = version
    client = gateway.client().send(b"early")
    connection = accept(gateway, upstream, server)
    assert server.seen == ["c"]
    connection.until(b"early")
    connection.send(b"pong")
    client.until(lambda data: bytes(data) == b"pong")
    data = bytes(range(256)) * 2048
    connection.send(data)
    client.until(lambda got: bytes(got) == b"pong" + data)
    client.finish()
    assert connection.until_end() == "notified"
    connection.send(b"last").finish().peer.close()
    client.until(lambda got: got.endswith(b"last"))
    assert client.until_end() == "fin"


def test_a_relayed_stream_without_close_notify_is_reset(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = relay(gateway, tmp_path)
    client = gateway.client()
    connection = accept(gateway, upstream, server)
    connection.send(b"half")
    client.until(lambda data: bytes(data) == b"half")
    connection.peer.close()
    assert client.until_end() == "reset"


def test_nothing_is_relayed_to_who_is_not_believed(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = relay(gateway, tmp_path, authority().issue("d"))
    client = gateway.client().send(b"secret")
    for _ in range(gateway.context.connect_attempts):
        connection = TlsServer(upstream.accept(gateway), server)
        assert "ALERT" in connection.alerts().upper()
        assert connection.plain == b""
    client.until_end()
    assert client.data == b""
    assert gateway.counter("FGW_C_UPSTREAM_TLS_FAILED") == gateway.context.connect_attempts


def test_a_relayed_connection_without_its_ca_is_closed(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.relay(upstream, tls=UpstreamTls(ca="ca"))
    client = gateway.client().send(b"secret")
    client.until_end()
    assert not upstream.has_connection(gateway)


def test_bytes_that_nobody_asked_for_end_an_idle_connection(gateway: Gateway, tmp_path: Path) -> None:
    upstream, server = serve(gateway, tmp_path)
    client, connection = asked(gateway, upstream, server)
    connection.send(OK)
    client.response()
    assert gateway.pool.idle == 1
    connection.send(OK)
    gateway.settle()
    assert gateway.pool.idle == 0


def test_many_names_do_not_keep_each_other_out(gateway: Gateway, tmp_path: Path) -> None:
    """Idle connections under other names are passed over, up to a bound."""
    upstream, server = serve(gateway, tmp_path, authority().issue("*.example.org"))
    connections = {}
    for number in range(40):
        host = f"h{number}.example.org"
        client = gateway.client().send(get(host))
        connections[host] = accept(gateway, upstream, server)
        connections[host].request()
        connections[host].send(OK)
        client.response()
        client.close()
    assert gateway.pool.idle == 40
    answered(gateway, connections["h20.example.org"], get("h20.example.org"))
    client = gateway.client().send(get("h0.example.org"))
    connection = accept(gateway, upstream, server)
    connection.request()
    connection.send(OK)
    client.response()
    assert gateway.pool.idle == 41
