"""Clients that take their time with TLS, and clients that send what no client sends: cut off, without cost to others."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.certificates import Authority, mount
from .support.config import gateway_of, https_server
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually, in_time
from .support.tls_client import client_context, refusal
from .support.tls_world import PLAIN, TlsWorld, upstreams

CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"
EMPTY_DATA = b"\x17\x03\x03\x00\x00"
WARNING = b"\x15\x03\x03\x00\x02\x01\x5a"


@pytest.fixture(scope="module")
def world(
    shared_origin: RecordingOrigin,
    authority: Authority,
    client_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsWorld]:
    """A gateway with more patience than a busy machine needs."""
    home = tmp_path_factory.mktemp("patience")
    with running_world(home, shared_origin, authority, client_authority, "60") as made:
        yield made


@pytest.fixture(scope="module")
def impatient(
    shared_origin: RecordingOrigin,
    authority: Authority,
    client_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsWorld]:
    """One without: for those who are cut off. A second for a hello, two for a handshake; a busy client may be cut off as well."""
    home = tmp_path_factory.mktemp("impatience")
    with running_world(home, shared_origin, authority, client_authority, "1", "2") as made:
        yield made
        made.gateway.assert_no_leaks()


@contextlib.contextmanager
def running_world(
    home: Path, origin: RecordingOrigin, authority: Authority, client_authority: Authority, hello_s: str, handshake_s: str = "60"
) -> Iterator[TlsWorld]:
    secrets = home / "secrets"
    mount(secrets, "web", authority.issue(PLAIN))
    options = ["--secrets", str(secrets), "--hello-timeout", hello_s, "--handshake-timeout", handshake_s]
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    with Gateway(home / "gateway", documents, ports=(443,), options=options) as running:
        yield TlsWorld(running, authority, client_authority, home, secrets)


@pytest.fixture
def tls(world: TlsWorld) -> Iterator[TlsWorld]:
    yield world
    assert world.get(PLAIN).status == 200
    world.gateway.assert_no_leaks()


def hello(authority: Authority) -> tuple[bytes, ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A first flight, and what goes on from there."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(authority).wrap_bio(incoming, outgoing, server_hostname=PLAIN)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read(), tls, incoming, outgoing


def test_a_client_that_says_nothing_is_cut_off(impatient: TlsWorld) -> None:
    with impatient.gateway.client(443) as client:
        assert client.wait_closed() and not client.received


def test_a_hello_byte_by_byte_is_cut_off_whatever_its_progress(impatient: TlsWorld) -> None:
    """T1: it would take half a minute."""
    first = hello(impatient.authority)[0]
    with impatient.gateway.client(443) as client:
        began = time.monotonic()
        client.send_segments((bytes([byte]), 0.1) for byte in first)
        assert client.wait_closed() and time.monotonic() - began < len(first) * 0.1


def test_a_handshake_that_stops_after_the_hello_is_cut_off(impatient: TlsWorld) -> None:
    first = hello(impatient.authority)[0]

    def answer() -> bytes:
        """Empty: the hello was not there in time."""
        with impatient.gateway.client(443) as client, contextlib.suppress(ConnectionError):
            client.send(first)
            assert client.wait_closed()
        return bytes(client.received)

    assert in_time(answer, late=lambda received: not received)[:3] == b"\x16\x03\x03"


def test_many_that_stall_do_not_keep_others_waiting(tls: TlsWorld, impatient: TlsWorld) -> None:
    """T3."""
    first = hello(tls.authority)[0]
    with contextlib.ExitStack() as stack:
        for world in (tls, impatient):
            stalled = [stack.enter_context(world.gateway.client(443)) for _ in range(300)]
            for number, client in enumerate(stalled):
                with contextlib.suppress(ConnectionError):
                    client.send(first[: len(first) // 2] if number % 2 else first)
        for _ in range(5):
            assert tls.get(PLAIN).status == 200
        for client in stalled:
            assert client.wait_closed()


@pytest.mark.parametrize("record", [CHANGE_CIPHER_SPEC, EMPTY_DATA, WARNING])
@pytest.mark.parametrize("when", ["first", "after the hello"])
def test_records_that_carry_nothing_do_not_go_on_for_ever(tls: TlsWorld, record: bytes, when: str) -> None:
    """T10: the connection ends before the client is through."""
    with tls.gateway.client(443) as client:
        if when == "after the hello":
            client.send(hello(tls.authority)[0])
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                client.socket.sendall(record * 10)
        assert client.wait_closed()


def test_warning_alerts_in_an_open_connection_end_it(tls: TlsWorld) -> None:
    """T10: in the clear, as somebody between the two could send them."""
    with tls.connect(PLAIN) as client:
        assert client.get("/", PLAIN).status == 200
        raw = socket.socket(fileno=client.tls.detach())
        try:
            raw.settimeout(60)
            with contextlib.suppress(ConnectionError):
                raw.sendall(WARNING * 10)
                while raw.recv(4096):
                    pass
        finally:
            raw.close()


def test_a_record_that_is_too_long_is_refused(tls: TlsWorld) -> None:
    """T11."""
    with tls.gateway.client(443) as client:
        client.send(hello(tls.authority)[0])
        length = 2**14 + 257
        with contextlib.suppress(ConnectionError):
            client.send(b"\x17\x03\x03" + length.to_bytes(2) + b"x" * length)
        assert client.wait_closed()


def test_data_right_behind_the_handshake_is_read(tls: TlsWorld) -> None:
    """The client's last flight and its first request in one segment."""
    first, shaking, incoming, outgoing = hello(tls.authority)
    with tls.gateway.client(443) as client:
        client.send(first)
        while True:
            incoming.write(client.socket.recv(65536))
            try:
                shaking.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        shaking.write(b"GET / HTTP/1.1\r\nHost: webapp.test\r\nConnection: close\r\n\r\n")
        client.send(outgoing.read())
        answer = b""
        while data := client.socket.recv(65536):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while piece := shaking.read(65536):
                    answer += piece
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_fails_is_counted(tls: TlsWorld, impatient: TlsWorld) -> None:
    names = (
        "tls_hellos_refused",
        "tls_hello_timeouts",
        "tls_handshake_timeouts",
        "tls_handshakes_failed",
        "tls_unknown_server_names",
    )

    def counts() -> list[float]:
        both = [world.gateway.metrics() for world in (tls, impatient)]
        return [sum(metrics.total(f"fastgw_{name}_total") for metrics in both) for name in names]

    before = counts()
    first = hello(tls.authority)[0]
    with contextlib.ExitStack() as stack:
        silent, stalled = (stack.enter_context(impatient.gateway.client(443)) for _ in range(2))
        garbage = stack.enter_context(tls.gateway.client(443))
        garbage.send(b"\x16\x03\x01\x00\x05hello")
        with contextlib.suppress(ConnectionError):
            stalled.send(first)
        assert "UNRECOGNIZED_NAME" in tls.refusal("nobody.test")
        stranger = tls.context()
        stranger.maximum_version = ssl.TLSVersion.TLSv1_2
        stranger.set_ciphers("ECDHE+AES256+SHA384:@SECLEVEL=0")
        assert refusal(tls.port, PLAIN, stranger) != ""
        for client in (silent, stalled, garbage):
            assert client.wait_closed()

    def all_counted() -> bool:
        with impatient.gateway.client(443) as one_more, contextlib.suppress(ConnectionError):
            one_more.send(first)  # of which a busy machine has some cut off before their hello has come
            assert one_more.wait_closed()
        return all(after > start for after, start in zip(counts(), before, strict=True))

    eventually(all_counted, "all are counted")
