"""Terminating TLS: handshakes, records, certificates, clients' certificates, resumption."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

import pytest
from dataplane_support import Gateway, Upstream
from tls_support import (
    HOST,
    Authority,
    TlsPeer,
    authority,
    client_context,
    credential,
    give_credentials,
    https_chain,
    server_pair,
    tls_plan,
    whole_response,
)

GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def key(number: int = 0) -> bytes:
    """A new object each time: it is overwritten by whom it is given to."""
    return bytes(i + number for i in range(80))


def serve(gateway: Gateway, *chains, hosts=None, **credentials) -> Upstream:
    """One upstream behind the chains. ``credentials``: the server's own as "cert" by default."""
    upstream = gateway.upstream()
    give_credentials(gateway, {"cert": credential(server_pair()), **credentials})
    gateway.attach(tls_plan([upstream.port], list(chains) or [https_chain()], hosts))
    return upstream


def test_a_request_over_tls(gateway: Gateway) -> None:
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context()).handshake()
    assert client.tls.version() == "TLSv1.3"
    for _ in range(3):
        client.send(GET)
        if _ == 0:
            far = upstream.accept(gateway)
        request = far.request()
        assert request["x-forwarded-proto"] == "https"
        far.send(OK)
        assert whole_response(client).body == b"ok"


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_a_handshake_in_pieces(gateway: Gateway, piece: int) -> None:
    upstream = serve(gateway)
    peer = gateway.client()
    send = peer.send

    def in_pieces(data: bytes):
        for at in range(0, len(data), piece):
            send(data[at : at + piece])
        return peer

    peer.send = in_pieces  # type: ignore[method-assign]
    client = TlsPeer(peer, client_context()).handshake().send(GET)
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"


def test_bodies_both_ways_through_small_windows(gateway: Gateway) -> None:
    upstream = serve(gateway)
    body = bytes(range(256)) * 4096
    client = TlsPeer(gateway.client(), client_context()).handshake()
    client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    far = upstream.accept(gateway)
    for at in range(0, len(body), 50_000):
        client.send(body[at : at + 50_000])
        far.poll()
    assert far.request().body == body
    far.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(body), 100_000):
        far.send(b"%x\r\n%s\r\n" % (len(body[at : at + 100_000]), body[at : at + 100_000]))
        client.read()
    far.send(b"0\r\n\r\n")
    assert whole_response(client).body == body


def test_tls_1_2_and_the_refusal_of_older_ones(gateway: Gateway) -> None:
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context(maximum_version=ssl.TLSVersion.TLSv1_2)).handshake().send(GET)
    assert client.tls.version() == "TLSv1.2"
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = client_context(minimum_version=ssl.TLSVersion.TLSv1)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsPeer(gateway.client(), old).handshake()


def test_alpn(gateway: Gateway) -> None:
    serve(gateway)
    both = client_context()
    both.set_alpn_protocols(["h2", "http/1.1"])
    assert TlsPeer(gateway.client(), both).handshake().tls.selected_alpn_protocol() == "h2"
    old = client_context()
    old.set_alpn_protocols(["http/1.1"])
    assert TlsPeer(gateway.client(), old).handshake().tls.selected_alpn_protocol() == "http/1.1"
    strange = client_context()
    strange.set_alpn_protocols(["spdy/1"])
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        TlsPeer(gateway.client(), strange).handshake()


def test_an_unknown_server_name_is_told_so(gateway: Gateway) -> None:
    serve(gateway)
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        TlsPeer(gateway.client(), client_context(), "other.example.com").handshake()


def test_a_missing_credential_costs_its_own_host(gateway: Gateway) -> None:
    broken = https_chain(1, ("broken.example.com",), certificates=("nowhere",))
    upstream = serve(gateway, https_chain(), broken)
    with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
        TlsPeer(gateway.client(), client_context(), "broken.example.com").handshake()
    client = TlsPeer(gateway.client(), client_context()).handshake().send(GET)
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"


def test_a_client_certificate_is_asked_for_and_checked(gateway: Gateway, tmp_path: Path) -> None:
    known, stranger = authority().issue("spiffe://a/b", subject="known"), server_pair(HOST)
    upstream = serve(
        gateway, https_chain(client_auth="require", ca="ca", sans=("spiffe://a/b",)), ca=credential(known, authority().pem)
    )
    client = TlsPeer(gateway.client(), client_context(pair=known, tmp=str(tmp_path))).handshake().send(GET)
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"
    for pair in (None, stranger):
        refused = TlsPeer(gateway.client(), client_context(pair=pair, tmp=str(tmp_path)))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            refused.handshake().send(GET).until(b"200")


def test_any_certificate_will_do_where_none_is_verified(gateway: Gateway, tmp_path: Path) -> None:
    upstream = serve(gateway, https_chain(client_auth="require_unverified"))
    stranger = Authority("nobody's").issue(subject="anybody")
    client = TlsPeer(gateway.client(), client_context(pair=stranger, tmp=str(tmp_path))).handshake().send(GET)
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"
    with pytest.raises((ssl.SSLError, AssertionError)):
        TlsPeer(gateway.client(), client_context()).handshake().send(GET).until(b"200")


def test_a_revoked_client_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    good, bad = authority().issue(subject="good"), authority().issue(subject="bad")
    ca = credential(good, authority().pem, authority().revoke(bad))
    upstream = serve(gateway, https_chain(client_auth="require", ca="ca"), ca=ca)
    client = TlsPeer(gateway.client(), client_context(pair=good, tmp=str(tmp_path))).handshake().send(GET)
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"
    with pytest.raises((ssl.SSLError, AssertionError)):
        TlsPeer(gateway.client(), client_context(pair=bad, tmp=str(tmp_path))).handshake().send(GET).until(b"200")


def resumed(gateway: Gateway, first: ssl.SSLContext, name: str = HOST, again: str = HOST) -> bool:
    """Does a session made at ``name`` resume at ``again``?"""
    one = TlsPeer(gateway.client(), first, name).handshake()
    one.read()
    two = TlsPeer(gateway.client(), first, again, one.tls.session).handshake()
    two.read()
    return bool(two.tls.session_reused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_resume_by_tickets(gateway: Gateway, version: ssl.TLSVersion) -> None:
    serve(gateway)
    client = client_context(maximum_version=version)
    assert not resumed(gateway, client)
    gateway.context.take_ticket_keys([key()])
    assert resumed(gateway, client)
    session = TlsPeer(gateway.client(), client).handshake()
    session.read()
    gateway.context.take_ticket_keys([key(1), key()])
    later = TlsPeer(gateway.client(), client, HOST, session.tls.session).handshake()
    assert later.tls.session_reused
    gateway.context.take_ticket_keys([key(1)])
    assert not TlsPeer(gateway.client(), client, HOST, session.tls.session).handshake().tls.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_bound_to_its_server(gateway: Gateway, version: ssl.TLSVersion) -> None:
    other = https_chain(1, (f"admin.{HOST}",), client_auth="optional", ca="ca")
    serve(gateway, https_chain(), other, ca=credential(server_pair(), authority().pem))
    gateway.context.take_ticket_keys([key()])
    client = client_context(maximum_version=version)
    assert resumed(gateway, client)
    assert not resumed(gateway, client, HOST, f"admin.{HOST}")


def test_a_rotated_certificate_is_for_new_connections(gateway: Gateway) -> None:
    upstream = serve(gateway)
    old = TlsPeer(gateway.client(), client_context()).handshake().send(GET)
    far = upstream.accept(gateway)
    far.request()
    far.send(OK)
    assert whole_response(old).body == b"ok"
    fresh = authority().issue(HOST)
    give_credentials(gateway, {"cert": credential(fresh)})
    gateway.attach(tls_plan([upstream.port], [https_chain()]))
    new = TlsPeer(gateway.client(), client_context()).handshake()
    assert ssl.DER_cert_to_PEM_cert(new.tls.getpeercert(True)).encode().split() == fresh.certificate.split()
    old.send(GET)
    far.request()
    far.send(OK)
    assert whole_response(old).body == b"ok"


def test_the_end_is_announced(gateway: Gateway) -> None:
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context()).handshake()
    client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    upstream.accept(gateway).send(OK)
    assert whole_response(client).body == b"ok"
    assert client.until_end() == "notified"


def test_plain_text_on_a_tls_listener_is_refused(gateway: Gateway) -> None:
    serve(gateway)
    peer = gateway.client().send(GET)
    assert peer.until_end() == "fin" and not peer.data


def test_a_stalled_handshake_ends(gateway: Gateway) -> None:
    serve(gateway)
    silent, half = gateway.client(), TlsPeer(gateway.client(), client_context())
    with pytest.raises(ssl.SSLWantReadError):
        half.tls.do_handshake()
    half._flush()
    gateway.pass_ms(6000)
    assert silent.until_end() == "fin"
    assert not half.peer.poll().end
    gateway.pass_ms(16000)
    assert half.peer.until_end()
