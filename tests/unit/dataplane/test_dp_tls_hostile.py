"""TLS with peers that stall, flood, cut, break off or bend the protocol. T..: cases of TLS with hostile peers."""

from __future__ import annotations

import ctypes
import os
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dataplane_support import LISTENER, Gateway, Peer, Upstream, tcp_chain
from test_dp_tls import GET, OK, key, serve
from tls_raw import TLS_1_2, TLS_1_3, RawTls
from tls_support import (
    HOST,
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
from tls_upstream_support import NAME, ServerContext, accept, get, trusting

from fastgw.dataplane import buffers
from fastgw.model.plan import Cluster, Endpoint, Listener, Plan, TlsContext

TOLD = [("flags", ""), ("text", " "), ("transport_failure", ""), ("text", "\n")]
BIG = bytes(range(251)) * 4000
SMALL = 16384


@pytest.fixture
def raw(gateway: Gateway) -> Iterator[Callable[..., RawTls]]:
    made: list[RawTls] = []

    def make(**options: object) -> RawTls:
        made.append(RawTls(gateway.client(), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def half_shaken(gateway: Gateway, raw: Callable[..., RawTls]) -> Callable[[], RawTls]:
    """A client of TLS 1.3 that has all of the gateway's handshake and holds back its own end of it; there are tickets to be had."""

    def begin() -> RawTls:
        gateway.context.take_ticket_keys([key()])
        client = raw(version=TLS_1_3)
        client.lib.SSL_do_handshake(client.ssl)
        client.flush()
        client.feed()
        assert client.lib.SSL_do_handshake(client.ssl) == 1
        return client

    return begin


def relay_plan(upstream: Upstream) -> Plan:
    tls = TlsContext("default/gw#0", certificates=("cert",))
    chain = tcp_chain("tls", tls="terminate", server_names=(HOST,), tls_context=tls)
    cluster = Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", upstream.port)])
    return Plan([Listener(LISTENER, "", 443, "TLS", [], [chain])], {}, {"c": cluster})


def relay(gateway: Gateway) -> Upstream:
    """TCP whose TLS ends here."""
    upstream = gateway.upstream()
    give_credentials(gateway, {"cert": credential(server_pair())})
    gateway.attach(relay_plan(upstream))
    return upstream


def served(gateway: Gateway, client: RawTls | TlsPeer, upstream: Upstream) -> None:
    """A request passes."""
    client.send(GET)
    far = upstream.accept(gateway)
    far.request()
    far.send(OK)
    client.until(b"ok")


def still_serves(gateway: Gateway, upstream: Upstream) -> None:
    served(gateway, TlsPeer(gateway.client(), client_context()).handshake(), upstream)


# ---- floods


@pytest.mark.parametrize("answer", [False, True])
def test_floods_of_key_updates_end_the_connection(gateway: Gateway, raw: Callable[..., RawTls], answer: bool) -> None:
    """T10"""
    upstream = serve(gateway)
    client = raw(version=TLS_1_3).handshake()
    flood = b"".join(client.key_update(answer) for _ in range(5000))
    for at in range(0, len(flood), 5000):
        client.peer.send(flood[at : at + 5000])
        if client.peer.poll().end:
            break
    assert client.peer.until_end() in {"fin", "reset"}
    assert len(flood) - at > 100_000
    still_serves(gateway, upstream)


def test_key_updates_between_requests_are_fine(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    upstream = serve(gateway)
    client = raw(version=TLS_1_3).handshake()
    client.send(GET)
    far = upstream.accept(gateway)
    for _ in range(100):
        far.request()
        far.send(OK)
        client.until(b"ok")
        client.plain.clear()
        client.peer.send(client.key_update(True))
        client.peer.send(client.key_update(False) + client.records(GET))


def test_requests_to_renegotiate_are_refused(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    """OpenSSL's client gives up when it is told so."""
    upstream = serve(gateway)
    client = raw(version=TLS_1_2).handshake()
    for _ in range(400):
        if client.lib.SSL_renegotiate(client.ssl) != 1:
            break
        client.lib.SSL_do_handshake(client.ssl)
        client.flush()
        client.read()
    assert client.end
    still_serves(gateway, upstream)


def test_empty_records_end_the_connection(gateway: Gateway) -> None:
    """T10"""
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context()).handshake()
    client.peer.send(b"\x17\x03\x03\x00\x00" * 1000)
    assert client.peer.until_end()
    still_serves(gateway, upstream)


def test_a_record_that_is_too_long_is_refused(gateway: Gateway) -> None:
    """T11"""
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context()).handshake()
    client.read()
    client.peer.send(b"\x17\x03\x03" + (16384 + 257).to_bytes(2, "big") + bytes(16384 + 257))
    with pytest.raises(ssl.SSLError, match="RECORD_OVERFLOW"):
        client.until_end()
    still_serves(gateway, upstream)


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_spoiled_record_is_answered_by_an_alert(gateway: Gateway, raw: Callable[..., RawTls], version: int) -> None:
    upstream = serve(gateway)
    gateway.context.take_ticket_keys([key()])
    client = raw(version=version).handshake()
    client.read()
    record = bytearray(client.records(GET))
    record[-1] ^= 1
    client.peer.send(bytes(record))
    assert client.until_end() == "error"  # a fatal alert, not just a FIN
    still_serves(gateway, upstream)


# ---- hellos


def test_a_second_hello_with_another_share(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    """T8: P-521 is not ours, so that the server asks for another share."""
    upstream = serve(gateway)
    served(gateway, raw(version=TLS_1_3, groups=b"P-521:P-384").handshake(), upstream)


def test_a_second_hello_with_another_name(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    """T9: it is refused, and no route is chosen by it."""
    other = https_chain(1, ("b" + HOST[1:],))
    upstream = serve(gateway, https_chain(), other)
    client = raw(version=TLS_1_3, groups=b"P-521:P-384")
    client.lib.SSL_do_handshake(client.ssl)
    client.flush()
    client.feed()
    client.lib.SSL_do_handshake(client.ssl)
    second = client.taken()
    assert HOST.encode() in second
    client.peer.send(second.replace(HOST.encode(), b"b" + HOST[1:].encode()))
    assert client.peer.until_end()
    assert not upstream.has_connection(gateway)


def test_early_data_is_skipped(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    """T7"""
    upstream = serve(gateway)
    gateway.context.take_ticket_keys([key()])
    first = raw(version=TLS_1_3).handshake()
    first.read()
    session = first.session()
    assert first.lib.SSL_SESSION_set_max_early_data(ctypes.c_void_p(session), 16384) == 1
    client = raw(version=TLS_1_3, session=session)
    client.early(GET.replace(b"GET / ", b"GET /early "))
    client.handshake()
    client.send(GET)
    far = upstream.accept(gateway)
    assert far.request().start.split()[1] == "/"
    far.send(OK)
    client.until(b"ok")
    assert not far.poll().data


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_forged_ticket_costs_a_whole_handshake_only(gateway: Gateway, raw: Callable[..., RawTls], version: int) -> None:
    """T6"""
    upstream = serve(gateway)
    gateway.context.take_ticket_keys([key()])
    first = raw(version=version).handshake()
    first.read()
    session = first.session()
    forged = bytearray(key())
    forged[20] ^= 1  # the same name, other keys
    gateway.context.take_ticket_keys([bytes(forged)])
    client = raw(version=version, session=session).handshake()
    assert not client.resumed()
    served(gateway, client, upstream)


# ---- bytes split everywhere


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_flight_split_anywhere(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Resumed or not, with a client certificate: each flight goes in two parts, cut at every 29th byte in turn."""
    known = authority().issue(subject="known")
    upstream = serve(gateway, https_chain(client_auth="require", ca="ca"), ca=credential(known, authority().pem))
    gateway.context.take_ticket_keys([key()])
    context = client_context(pair=known, tmp=str(tmp_path), maximum_version=version)
    session, far = None, None
    longest, cut = 1, 0
    while cut < longest:
        peer = gateway.client()
        send = peer.send

        def in_two(data: bytes, cut: int = cut, send: Callable[[bytes], Peer] = send) -> Peer:
            nonlocal longest
            longest = max(longest, len(data))
            send(data[:cut])
            return send(data[cut:])

        peer.send = in_two  # type: ignore[method-assign]
        client = TlsPeer(peer, context, HOST, session).handshake().send(GET)
        far = far or upstream.accept(gateway)
        far.request()
        far.send(OK)
        assert whole_response(client).body == b"ok"
        session = client.tls.session if cut % 58 else None
        peer.close()
        cut += 29
    assert longest > 500


# ---- slow readers, broken connections


@pytest.fixture
def narrow(make_gateway: Callable[..., Gateway]) -> Gateway:
    """Small socket buffers towards clients and upstreams."""
    gateway = make_gateway(listeners=())
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER, send_bytes=SMALL))])
    return gateway


def test_a_long_answer_ends_whole_and_announced(narrow: Gateway) -> None:
    """Longer than the socket buffer, the last before a close."""
    gateway = narrow
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(receive_bytes=SMALL), client_context()).handshake()
    client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    far = upstream.accept(gateway)
    far.request()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (8 * len(BIG)) + 8 * BIG
    sent = far.try_send(answer)
    while True:
        gateway.settle()
        more = far.try_send(answer[sent:])
        sent += more
        if not more:
            break
    assert sent < len(answer)
    assert buffers.live_buffer_bytes() < 1 << 20
    while sent < len(answer):
        client.read()
        sent += far.try_send(answer[sent:])
    assert client.until_end() == "notified"
    assert bytes(client.plain).endswith(BIG) and len(client.plain) > 8 * len(BIG)


def test_an_upload_that_pauses_goes_on(narrow: Gateway) -> None:
    """What OpenSSL holds when reading pauses is delivered after it resumes, without another byte from the client."""
    gateway = narrow
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(send_bytes=SMALL), client_context()).handshake()
    client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {8 * len(BIG)}\r\n\r\n".encode())
    far = upstream.accept(gateway)
    client.tls.write(8 * BIG)
    data = client.outgoing.read()
    sent = 0
    while True:
        gateway.settle()
        more = client.peer.try_send(data[sent : sent + 10_001])
        sent += more
        if not more:
            break
    assert sent < len(data)
    while sent < len(data):
        far.poll(50_000)
        gateway.settle()
        sent += client.peer.try_send(data[sent : sent + 10_001])
    assert far.request().body == 8 * BIG


@pytest.mark.parametrize("progress", range(4))
def test_a_reset_at_any_time(gateway: Gateway, progress: int) -> None:
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context())
    if progress == 0:
        with suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client._flush()
    else:
        client.handshake()
    if progress >= 2:
        client.send(GET)
        far = upstream.accept(gateway)
        far.request()
        if progress == 3:
            far.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + BIG[:500_000])
    client.peer.reset()
    gateway.settle()
    assert gateway.counter("FGW_G_TLS_HANDSHAKING") == 0 and gateway.counter("FGW_G_CLIENT_ACTIVE") == 0
    gateway.until(lambda: gateway.counter("FGW_G_UPSTREAM_ACTIVE") == 0)


def test_half_a_record_costs_no_turns(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    """OpenSSL holds something, but nothing can be done with it."""
    upstream = serve(gateway)
    client = raw().handshake()
    records = client.records(GET)
    client.peer.send(records[:20])
    gateway.settle()
    assert [gateway.turn(0) for _ in range(3)] == [0, 0, 0]
    client.peer.send(records[20:])
    far = upstream.accept(gateway)
    far.request()
    far.send(OK)
    client.until(b"ok")


def test_what_follows_a_close_notify_is_nothing(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    upstream = serve(gateway)
    client = raw().handshake()
    client.peer.send(client.notice() + GET)
    assert client.peer.until_end()
    assert not upstream.has_connection(gateway)


def test_certificates_change_during_a_handshake(gateway: Gateway) -> None:
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context())
    with suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client._flush()
    give_credentials(gateway, {"cert": credential(authority().issue(HOST))})
    gateway.attach(tls_plan([upstream.port], [https_chain()]))
    served(gateway, client.handshake(), upstream)


def test_a_chain_goes_during_a_handshake(gateway: Gateway) -> None:
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context())
    with suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client._flush()
    gateway.attach(tls_plan([upstream.port], [https_chain(1, ("other.example.com",))]))
    with suppress(ConnectionError):
        client.handshake()
    assert client.until_end()
    assert gateway.counter("FGW_G_TLS_HANDSHAKING") == 0


# ---- ends of relayed connections


def test_each_direction_of_a_relay_ends_by_itself(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    upstream = relay(gateway)
    client = raw().handshake().send(b"question")
    up = upstream.accept(gateway)
    up.until(lambda data: data == b"question")
    client.peer.send(client.notice())
    client.peer.finish()
    assert up.until_end() == "fin"
    up.send(b"answer")
    client.until(b"answer")
    up.close()
    assert client.until_end() == "notified"


def test_an_upstream_that_ends_first(gateway: Gateway, raw: Callable[..., RawTls]) -> None:
    upstream = relay(gateway)
    client = raw().handshake().send(b"question")
    up = upstream.accept(gateway)
    up.send(b"answer").finish()
    client.until(b"answer")
    assert client.until_end() == "notified"
    client.send(b"more")
    up.until(lambda data: data == b"questionmore")
    client.peer.send(client.notice())
    client.peer.close()
    assert up.until_end() == "fin"


def test_an_end_finds_a_ticket_that_waits(gateway: Gateway, half_shaken: Callable[[], RawTls]) -> None:
    """The ticket was held for an answer, but there is none."""
    upstream = relay(gateway)
    client = half_shaken()
    client.peer.send(client.taken() + client.records(b"question"))
    up = upstream.accept(gateway)
    up.until(lambda data: data == b"question")
    up.finish()
    assert client.until_end() == "notified"
    client.peer.close()


# ---- upstreams


def test_an_answer_before_a_broken_upload_over_tls(gateway: Gateway, tmp_path: Path) -> None:
    """Requirement H8: the reason for the end is passed on."""
    upstream = gateway.upstream()
    trusting(gateway, upstream, sni=NAME)
    server = ServerContext(authority().issue(NAME), tmp_path)
    client = gateway.client().send(get(NAME))
    far = accept(gateway, upstream, server)
    far.request()
    far.send(OK)
    assert client.response().status == 200
    client.send(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {8 * len(BIG)}\r\n\r\n".encode() + BIG[:1000])
    client.sock.send(BIG[:8000])  # to be relayed when it is too late
    far.tls.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    far.peer.sock.send(far.outgoing.read())
    far.peer.reset()
    assert client.response("POST").status == 413


# ---- clients' certificates and strange hellos


def test_a_very_long_chain_of_a_client_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """T12: more than 64 KiB."""
    known = authority().issue(subject="known")
    upstream = serve(
        gateway,
        https_chain(client_auth="require", ca="ca"),
        https_chain(1, (f"open.{HOST}",)),
        ca=credential(known, authority().pem),
    )
    known.chain += known.certificate * 400
    client = TlsPeer(gateway.client(), client_context(pair=known, tmp=str(tmp_path)))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.handshake().send(GET).until(b"200")
    assert not upstream.has_connection(gateway)
    TlsPeer(gateway.client(), client_context(), f"open.{HOST}").handshake()


@pytest.mark.parametrize("size", [1, 5, 64])
def test_a_hello_over_many_records(gateway: Gateway, size: int) -> None:
    """What was looked at is handed to OpenSSL whole."""
    upstream = serve(gateway)
    peer = gateway.client()
    send = peer.send

    def in_records(data: bytes) -> Peer:
        peer.send = send  # type: ignore[method-assign]
        assert data[0] == 22 and int.from_bytes(data[3:5], "big") == len(data) - 5
        parts = [data[at : at + size] for at in range(5, len(data), size)]
        records = b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)
        send(records[: len(records) // 2])
        return send(records[len(records) // 2 :])

    peer.send = in_records  # type: ignore[method-assign]
    try:
        client = TlsPeer(peer, client_context()).handshake()
    except (ssl.SSLError, ConnectionError):
        assert size == 1  # more records than a hello may have
    else:
        served(gateway, client, upstream)


def test_a_wait_for_an_answer_holds_no_ticket_for_ever(
    gateway: Gateway, raw: Callable[..., RawTls], half_shaken: Callable[[], RawTls]
) -> None:
    """A ticket that was held goes out with the answer, and the next connection resumes by it."""
    upstream = serve(gateway)
    client = half_shaken()
    client.peer.send(client.taken() + client.records(GET))
    far = upstream.accept(gateway)
    far.request()
    gateway.pass_ms(3_000)
    assert not client.read() and not client.end
    far.send(OK)
    client.until(b"ok")
    assert raw(version=TLS_1_3, session=client.session()).handshake().resumed()


def test_an_answer_that_ends_with_its_connection_has_a_notice(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"http10": True})
    upstream = serve(gateway)
    client = TlsPeer(gateway.client(), client_context()).handshake()
    client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    far = upstream.accept(gateway)
    far.request()
    far.send(b"HTTP/1.1 200 OK\r\n\r\nthe body").finish()
    client.until(b"the body")
    assert client.until_end() == "notified"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_any_spoiled_byte_of_a_handshake(gateway: Gateway, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """The connection goes on, is refused or waits for what the wrong length promised; nothing else is harmed."""
    known = authority().issue(subject="known")
    upstream = serve(gateway, https_chain(client_auth="optional", ca="ca"), ca=credential(known, authority().pem))
    context = client_context(pair=known, tmp=str(tmp_path), maximum_version=version)
    for at in range(0, 1400, 23):
        peer = gateway.client()
        send, passed = peer.send, 0

        def spoiled(data: bytes, at: int = at, send: Callable[[bytes], Peer] = send) -> Peer:
            nonlocal passed
            changed = bytearray(data)
            if passed <= at < passed + len(data):
                changed[at - passed] ^= 0x41
            passed += len(data)
            return send(bytes(changed))

        peer.send = spoiled  # type: ignore[method-assign]
        client = TlsPeer(peer, context)
        with suppress(ssl.SSLError):
            for _ in range(6):
                with suppress(ssl.SSLWantReadError):
                    client.tls.do_handshake()
                client._flush()
                gateway.settle()
                client.peer.poll()
                client._feed()
        peer.close()
    assert gateway.counter("FGW_G_TLS_HANDSHAKING") == 0 and gateway.counter("FGW_G_CLIENT_ACTIVE") == 0
    still_serves(gateway, upstream)


def test_much_through_a_narrow_relay_both_ways(narrow: Gateway) -> None:
    """Nothing is lost or held back, and each direction ends by itself although its sink is slow."""
    gateway = narrow
    upstream = relay(gateway)
    client = TlsPeer(gateway.client(send_bytes=SMALL, receive_bytes=SMALL), client_context()).handshake()
    client.tls.write(BIG)
    with suppress(ssl.SSLWantReadError):
        client.tls.unwrap()
    data = client.outgoing.read()
    up = upstream.accept(gateway)
    sent = answered = turns = 0
    while len(up.data) < len(BIG) or len(client.plain) < len(BIG):
        turns += 1
        assert turns < 20_000, (sent, len(up.data), answered, len(client.plain), client.end)
        sent += client.peer.try_send(data[sent : sent + 50_000])
        answered += up.try_send(BIG[answered : answered + 50_000])
        gateway.turn(0)
        assert buffers.live_buffer_bytes() < 1 << 20
        if turns % 3 == 0:
            up.poll(30_000)
        if turns % 5 == 0:
            client.read()
    assert bytes(up.data) == BIG and bytes(client.plain) == BIG
    client.peer.finish()
    assert up.until_end() == "fin"
    up.close()
    assert client.until_end() == "notified"


def test_a_client_that_leaves_behind_much_is_heard_to_the_end(narrow: Gateway) -> None:
    """Its data waits in OpenSSL and in the socket when its end comes."""
    gateway = narrow
    upstream = relay(gateway)
    client = TlsPeer(gateway.client(), client_context()).handshake()
    client.tls.write(BIG)
    with suppress(ssl.SSLWantReadError):
        client.tls.unwrap()
    data, sent = client.outgoing.read(), 0
    up = upstream.accept(gateway)
    while sent < len(data):
        more = client.peer.try_send(data[sent:])
        sent += more
        gateway.settle()
        if not more:
            up.poll(10_000)
    client.peer.sock.shutdown(2)
    client.peer.close()
    assert up.until_end() == "fin"
    assert bytes(up.data) == BIG


@pytest.mark.parametrize("alert", [b"\x15\x03\x03\x00\x02\x02\x28", b""])
def test_an_upstream_that_resets_a_handshake_is_told(make_gateway: Callable[..., Gateway], alert: bytes) -> None:
    """The alert that came before the reset is the reason."""
    fd = os.memfd_create("log")
    gateway = make_gateway(log=TOLD, log_fd=fd, limits={"connect_attempts": 1})
    upstream = gateway.upstream()
    trusting(gateway, upstream, sni=NAME)
    client = gateway.client().send(get(NAME))
    far = upstream.accept(gateway)
    far.until(lambda data: len(data) > 100)
    far.sock.send(alert)
    far.reset()
    assert client.response().status == 503
    assert gateway.counter("FGW_C_UPSTREAM_TLS_FAILED") == 1
    gateway.log.flush()
    line = os.pread(fd, 4096, 0).lower()
    os.close(fd)
    assert b"uf" in line and (b"handshake_failure" if alert else b"connection_") in line


def test_an_upstream_may_send_many_tickets(gateway: Gateway, tmp_path: Path) -> None:
    """More than any real one does, and yet no flood."""
    upstream = gateway.upstream()
    trusting(gateway, upstream, sni=NAME)
    server = ServerContext(authority().issue(NAME), tmp_path, num_tickets=20)
    client = gateway.client()
    far = None
    for _ in range(3):
        client.send(get(NAME))
        far = far or accept(gateway, upstream, server)
        far.request()
        far.send(OK)
        assert client.response().body == b"ok"
    assert not upstream.has_connection(gateway)


@pytest.mark.parametrize("seed", range(4))
def test_many_connections_in_disorder(narrow: Gateway, seed: int) -> None:
    """Clients that stop, leave, break off and go on at random, while certificates change: nothing is left of them."""
    gateway, chance = narrow, random.Random(seed)
    upstream = relay(gateway)
    gateway.context.take_ticket_keys([key()])
    context = client_context()
    clients: list[TlsPeer] = []
    ups: list[Peer] = []
    for step in range(600):
        if len(clients) < 12:
            clients.append(TlsPeer(gateway.client(send_bytes=SMALL, receive_bytes=SMALL), context))
        client = chance.choice(clients)
        with suppress(BlockingIOError):
            ups.append(Peer(gateway, upstream.sock.accept()[0]))
        with suppress(ssl.SSLError):
            client.tls.do_handshake()
            client.tls.write(BIG[: chance.choice([1, 100, 20_000])])
        data = client.outgoing.read()
        cut = chance.randrange(len(data) + 1)
        with suppress(OSError):
            client.peer.try_send(data[:cut])
            if chance.random() < 0.9:
                gateway.turn(0)
                client.peer.try_send(data[cut:])
        client.peer.poll(chance.choice([0, 500, 100_000]))
        client._feed()
        if ups:
            up = chance.choice(ups)
            with suppress(OSError):
                up.try_send(BIG[: chance.choice([0, 1, 3000, 200_000])])
            up.poll(chance.choice([0, 10_000, 1 << 20]))
            what = chance.random()
            if what < 0.1:
                ups.remove(up)
                up.close() if what < 0.05 else up.reset()
        what = chance.random()
        if what < 0.15 or client.peer.end:
            clients.remove(client)
            client.peer.close() if what < 0.1 else client.peer.reset()
        if step % 50 == 0:
            give_credentials(gateway, {"cert": credential(server_pair(HOST) if chance.random() < 0.5 else server_pair())})
            gateway.attach(relay_plan(upstream))
    for peer in [c.peer for c in clients] + ups:
        peer.close()
    while upstream.has_connection(gateway):
        gateway.peers[-1].close()
    gateway.until(lambda: gateway.counter("FGW_G_CLIENT_ACTIVE") == 0 and gateway.counter("FGW_G_UPSTREAM_ACTIVE") == 0)
    assert gateway.counter("FGW_G_TLS_HANDSHAKING") == 0 and gateway.counter("FGW_G_TUNNELS_ACTIVE") == 0
    assert gateway.counter("FGW_C_TLS_HANDSHAKES") > 20
