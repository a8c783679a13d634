"""Certificates of a running gateway: rotated under open connections, broken one by one, found wherever they may lie."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.certificates import Authority, Identity, mount, secret
from .support.client import Disconnected
from .support.config import Document, gateway_of, https_server, route, service_entry, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.processes import command_of, in_session
from .support.tls_client import TlsClient, client_context, fetch_tls, refusal, s_client

A, B = "a.test", "b.test"
ROTATION_S = 2.0
"""Promised from the change on disk to the first handshake with the new certificate."""


def documents(origin: RecordingOrigin, *servers: Document) -> list[Document]:
    made = list(servers) or [https_server([A], "a"), https_server([B], "b", name="https-b")]
    return [
        gateway_of("gw", made),
        virtual_service("all", [A, B], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]


def shown(gateway: Gateway, authority: Authority, name: str) -> int:
    """Serial number of the certificate that a new connection is shown."""
    with TlsClient(gateway.port(443), name, client_context(authority)) as client:
        der = client.tls.getpeercert(binary_form=True)
    assert der is not None
    from cryptography import x509

    return x509.load_der_x509_certificate(der).serial_number


def serial(identity: Identity) -> int:
    return identity.certificate.serial_number


def served_within(seconds: float, gateway: Gateway, authority: Authority, name: str, wanted: Identity) -> float:
    """Seconds until the certificate is shown; a machine that is busy is given more before the test fails."""
    began = time.monotonic()
    eventually(lambda: shown(gateway, authority, name) == serial(wanted), f"the new certificate of {name}", seconds * 10)
    return time.monotonic() - began


def swap_link(directory: Path, new: Identity) -> None:
    mount(directory, "a", new)


def rename_over(directory: Path, new: Identity) -> None:
    for entry, text in (("tls.key", new.key), ("tls.crt", new.chain)):
        (directory / "a" / f".{entry}.tmp").write_text(text)
        (directory / "a" / f".{entry}.tmp").rename(directory / "a" / entry)


def write_in_place(directory: Path, new: Identity) -> None:
    (directory / "a" / "tls.crt").write_text(new.chain)
    time.sleep(0.3)
    (directory / "a" / "tls.key").write_text(new.key)


def plain(directory: Path, name: str, identity: Identity) -> None:
    (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / name / "tls.crt").write_text(identity.chain)
    (directory / name / "tls.key").write_text(identity.key)


@pytest.mark.parametrize("rotate", [swap_link, rename_over, write_in_place])
def test_a_rotation_is_served_and_open_connections_go_on(
    rotate: Callable[[Path, Identity], None],
    start_gateway: StartGateway,
    origin: RecordingOrigin,
    authority: Authority,
    tmp_path: Path,
) -> None:
    secrets = tmp_path / "secrets"
    old, new, other = authority.issue(A), authority.issue(A), authority.issue(B)
    if rotate is swap_link:
        mount(secrets, "a", old)
    else:
        plain(secrets, "a", old)
    mount(secrets, "b", other)
    gateway = start_gateway(documents(origin), ports=(443,), options=["--secrets", str(secrets)])
    assert shown(gateway, authority, A) == serial(old)
    with TlsClient(gateway.port(443), A, client_context(authority)) as client:
        request = f"GET / HTTP/1.1\r\nHost: {A}\r\n\r\n".encode()
        assert client.request(request).status == 200
        rotate(secrets, new)
        served_within(ROTATION_S, gateway, authority, A, new)
        assert client.request(request).status == 200, "the connection of before is untouched"
    assert shown(gateway, authority, B) == serial(other)


def test_a_bad_credential_breaks_its_own_host_and_heals(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    good, other = authority.issue(A), authority.issue(B)
    plain(secrets, "a", good)
    gateway = start_gateway(documents(origin), ports=(443,), options=["--secrets", str(secrets)])
    context = client_context(authority)
    assert fetch_tls(gateway.port(443), A, context).status == 200
    assert refusal(gateway.port(443), B, context)
    assert gateway.metrics().total("fastgw_credentials", state="unusable") == 1
    eventually(lambda: 'Secret "istio-system/b" not found' in gateway.said(), "the missing credential is told of")
    plain(secrets, "b", other)
    eventually(lambda: not refused(gateway, context, B), "the host heals")
    eventually(lambda: gateway.metrics().total("fastgw_credentials", state="unusable") == 0, "none is unusable")
    # half of a file: what was good stays in use, and it is said
    (secrets / "a" / "tls.crt").write_text(good.chain[:100])
    eventually(lambda: gateway.metrics().total("fastgw_credentials", state="held") == 1, "the broken file is noticed")
    assert shown(gateway, authority, A) == serial(good)
    (entry,) = [entry for entry in gateway.admin("/secrets") if entry["name"] == "kubernetes://a"]
    assert entry["status"] == "ACTIVE" and "its content of before stays in use" in entry["problem"]
    assert "PRIVATE" not in str(gateway.admin("/secrets"))
    # the process that knew what was good dies: its successor is told
    (child,) = [pid for pid in in_session(gateway.pid) if "compile_job" in command_of(pid)]
    os.kill(child, signal.SIGKILL)
    eventually(lambda: "compile process ended" in gateway.said(), "the death is noticed")
    assert gateway.admin("/reload", "POST")["error"] == ""
    assert shown(gateway, authority, A) == serial(good)
    assert gateway.metrics().total("fastgw_credentials", state="held") == 1
    plain(secrets, "a", authority.issue(A))
    eventually(lambda: gateway.metrics().total("fastgw_credentials", state="held") == 0, "the file is mended")
    expiry = gateway.metrics().total("fastgw_certificate_expiry_timestamp_seconds", name="kubernetes://b")
    assert expiry == int(other.certificate.not_valid_after_utc.timestamp())


def refused(gateway: Gateway, context: ssl.SSLContext, name: str) -> bool:
    try:
        return fetch_tls(gateway.port(443), name, context).status != 200
    except (OSError, Disconnected):
        return True


def test_documents_and_files_are_served_and_rotated(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    first, second, third = authority.issue(A), authority.issue(B), authority.issue(B)
    certificate, key = second.write(tmp_path, "b")
    by_files = {"serverCertificate": str(certificate), "privateKey": str(key)}
    servers = https_server([A], "a"), https_server([B], name="https-b", **by_files)
    gateway = start_gateway([*documents(origin, *servers), secret("a", first, generic=True)], ports=(443,))
    assert (shown(gateway, authority, A), shown(gateway, authority, B)) == (serial(first), serial(second))
    third.write(tmp_path, "b")
    served_within(ROTATION_S, gateway, authority, B, third)
    fourth = authority.issue(A)
    gateway.write("main.yaml", [*documents(origin, *servers), secret("a", fourth)])
    served_within(ROTATION_S, gateway, authority, A, fourth)


def test_client_certificates_are_asked_for_by_the_ca_of_the_secret(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, client_authority: Authority, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    alice = client_authority.issue("alice.test")
    mount(secrets, "a", authority.issue(A), ca=client_authority.pem)
    gateway = start_gateway(documents(origin, https_server([A], "a", "MUTUAL")), ports=(443,), options=["--secrets", str(secrets)])
    assert fetch_tls(gateway.port(443), A, client_context(authority, alice, tmp_path)).status == 200
    assert refusal(gateway.port(443), A, client_context(authority))
    client_authority.revoke(alice)
    mount(secrets, "a", authority.issue(A), ca=client_authority.pem, crl=client_authority.crl())
    context = client_context(authority, alice, tmp_path)
    eventually(lambda: refused(gateway, context, A), "the revoked client is refused")


def session_of(gateway: Gateway, directory: Path, authority: Authority, name: str) -> tuple[bool, Path]:
    """A session file, resumed when it is there."""
    file = directory / "session"
    words = ["-CAfile", str(authority.write(directory / "ca.crt")), "-sess_out", str(file), "-tls1_2"]
    talk = s_client(gateway.port(443), *words, *(["-sess_in", str(file)] if file.exists() else []), name=name)
    assert talk.version or talk.reused, talk.said
    return talk.reused, file


def test_sessions_resume_while_their_key_is_kept(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    mount(tmp_path / "secrets", "a", authority.issue(A))
    keys = tmp_path / "tickets"
    keys.write_bytes(b"1" * 80)
    options = ["--secrets", str(tmp_path / "secrets"), "--ticket-keys", str(keys)]
    gateway = start_gateway(documents(origin, https_server([A], "a")), ports=(443,), options=options, workers=2)
    assert not session_of(gateway, tmp_path, authority, A)[0]
    assert all(session_of(gateway, tmp_path, authority, A)[0] for _ in range(6)), "whichever worker"
    keys.write_bytes(b"2" * 80 + b"1" * 80)
    kept = (tmp_path / "session").read_bytes()
    eventually(lambda: "ticket keys read again: 2" in gateway.said(), "the new keys")
    assert session_of(gateway, tmp_path, authority, A)[0], "the key of before is accepted"
    (tmp_path / "session").write_bytes(kept)  # the next one may be of the new key, which a worker may not have yet
    gateway.stop()
    gateway.start()
    assert session_of(gateway, tmp_path, authority, A)[0], "across a restart"
    keys.write_bytes(b"short")
    gateway.signal(signal.SIGHUP)
    eventually(lambda: "the ticket keys stay as they are" in gateway.said(), "the wrong size is told of")
    assert session_of(gateway, tmp_path, authority, A)[0]
    keys.write_bytes(b"3" * 80)
    eventually(lambda: not session_of(gateway, tmp_path, authority, A)[0], "tickets of a key that is gone do not resume")


def test_own_ticket_keys_are_rotated(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    mount(tmp_path / "secrets", "a", authority.issue(A))
    options = ["--secrets", str(tmp_path / "secrets"), "--ticket-rotation", "1"]
    gateway = start_gateway(documents(origin, https_server([A], "a")), ports=(443,), options=options)
    session_of(gateway, tmp_path, authority, A)
    kept = (tmp_path / "session").read_bytes()

    def forgotten() -> bool:
        (tmp_path / "session").write_bytes(kept)
        return not session_of(gateway, tmp_path, authority, A)[0]

    eventually(forgotten, "a ticket outlives its key by two rotations only")


def test_rotations_under_load_lose_no_request(
    start_gateway: StartGateway, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    plain(secrets, "a", authority.issue(A))
    gateway = start_gateway(documents(origin, https_server([A], "a")), ports=(443,), options=["--secrets", str(secrets)])
    context, request = client_context(authority), f"GET / HTTP/1.1\r\nHost: {A}\r\n\r\n".encode()
    over, failures, counts = threading.Event(), [], {"kept": 0, "new": 0}

    def ask(kind: str) -> None:
        try:
            with TlsClient(gateway.port(443), A, context) as client:
                while not over.is_set():
                    assert client.request(request).status == 200
                    counts[kind] += 1
                    if kind == "new":
                        return
        except Exception as error:
            failures.append(f"{kind}: {type(error).__name__}: {error}")

    def ask_anew() -> None:
        while not over.is_set():
            ask("new")

    threads = [threading.Thread(target=ask, args=("kept",)), threading.Thread(target=ask_anew), threading.Thread(target=ask_anew)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(8):
            fresh = authority.issue(A)
            (rename_over, write_in_place)[turn % 2](secrets, fresh)
            served_within(ROTATION_S, gateway, authority, A, fresh)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert failures == [] and min(counts.values()) > 8
