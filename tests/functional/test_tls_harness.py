"""The TLS parts of the harness, judged without the gateway: against OpenSSL and against each other."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from .support.certificates import Authority, Identity, make_authority, mount, secret
from .support.tls_client import client_context, fetch_tls, get_request, refusal, s_client
from .support.tls_origin import TlsOrigin


@pytest.mark.parametrize("key", ["ec", "ec384", "rsa"])
def test_a_certificate_of_each_kind_serves_a_strict_client(authority: Authority, tmp_path: Path, key: str) -> None:
    identity = authority.issue("a.test", "*.b.test", "127.0.0.1", key=key)
    with TlsOrigin("one", identity, tmp_path) as origin:
        answer = fetch_tls(origin.port, "a.test", client_context(authority))
        assert answer.status == 200 and answer.value("x-origin") == "one"
        assert fetch_tls(origin.port, "x.b.test", client_context(authority)).status == 200
        assert [shaken.name for shaken in origin.handshakes] == ["a.test", "x.b.test"]


def test_an_intermediate_is_sent_with_its_certificate(authority: Authority, tmp_path: Path) -> None:
    middle = authority.intermediate("middle").intermediate("lower")
    identity = middle.issue("a.test")
    assert identity.chain.count("BEGIN CERTIFICATE") == 3
    with TlsOrigin("one", identity, tmp_path) as origin:
        assert fetch_tls(origin.port, "a.test", client_context(authority)).status == 200


def test_wrong_certificates_are_seen_as_wrong(authority: Authority, tmp_path: Path) -> None:
    later = authority.issue("a.test", starts=timedelta(days=1))
    for name, identity in {"expired": authority.expired("a.test"), "later": later, "other": authority.issue("b.test")}.items():
        with TlsOrigin(name, identity, tmp_path) as origin:
            assert refusal(origin.port, "a.test", client_context(authority)) == "CERTIFICATE_VERIFY_FAILED", name
    with TlsOrigin("stranger", make_authority("stranger").issue("a.test"), tmp_path) as origin:
        assert refusal(origin.port, "a.test", client_context(authority)) == "CERTIFICATE_VERIFY_FAILED"


def test_clients_are_known_by_their_certificate(authority: Authority, client_authority: Authority, tmp_path: Path) -> None:
    with TlsOrigin("one", authority.issue("a.test"), tmp_path, clients=client_authority) as origin:
        client = client_authority.issue(common_name="alice", uris=["spiffe://cluster.local/ns/a/sa/b"])
        assert fetch_tls(origin.port, "a.test", client_context(authority, client, tmp_path)).status == 200
        assert origin.handshakes[0].subject == "alice"
        assert "CERTIFICATE_REQUIRED" in refusal(origin.port, "a.test", client_context(authority))
        stranger = make_authority("stranger").issue(common_name="mallory")
        assert "UNKNOWN_CA" in refusal(origin.port, "a.test", client_context(authority, stranger, tmp_path))


def test_revocation_lists_name_what_was_revoked(authority: Authority) -> None:
    good, bad = client_of(authority, "good"), client_of(authority, "bad")
    authority.revoke(bad)
    try:
        crl = x509.load_pem_x509_crl(authority.crl().encode())
    finally:
        authority.revoked.clear()
    assert crl.get_revoked_certificate_by_serial_number(bad.certificate.serial_number) is not None
    assert crl.get_revoked_certificate_by_serial_number(good.certificate.serial_number) is None


def client_of(authority: Authority, name: str) -> Identity:
    return authority.issue(common_name=name)


def test_s_client_tells_version_cipher_resumption_and_alerts(authority: Authority, tmp_path: Path) -> None:
    def only_twelve(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    session = str(tmp_path / "session")
    with TlsOrigin("one", authority.issue("a.test"), tmp_path, prepare=only_twelve) as origin:
        ca = str(authority.write(tmp_path / "ca.pem"))
        first = s_client(origin.port, "-CAfile", ca, "-sess_out", session, name="a.test", request=get_request("a.test"))
        assert (first.version, first.reused, first.status, first.alert) == ("TLSv1.2", False, 200, None), first.said
        assert first.value("Verify return code").startswith("0 ") and first.cipher.startswith("ECDHE-ECDSA")
        again = s_client(origin.port, "-sess_in", session, name="a.test", request=get_request("a.test"))
        assert (again.version, again.reused) == ("TLSv1.2", True), again.said
        refused = s_client(origin.port, "-tls1_3", name="a.test")
        assert (refused.version, refused.alert) == ("", 70), refused.said


def test_a_mounted_secret_is_exchanged_as_a_whole(authority: Authority, tmp_path: Path) -> None:
    first, second = authority.issue("a.test"), authority.issue("a.test")
    home = mount(tmp_path, "cert", first)
    assert (home / "tls.crt").read_text() == first.chain and (home / "tls.key").read_text() == first.key
    assert mount(tmp_path, "cert", second, ca=authority.pem) == home
    assert (home / "tls.crt").read_text() == second.chain and (home / "ca.crt").read_text() == authority.pem
    assert (home / "tls.crt").resolve().parent == (home / "..data").resolve()


def test_a_secret_document_has_the_entries_of_its_kind(authority: Authority) -> None:
    identity = authority.issue("a.test")
    assert secret("cert", identity)["type"] == "kubernetes.io/tls" and set(secret("cert", identity)["data"]) == {
        "tls.crt",
        "tls.key",
    }
    generic = secret("cert", identity, ca=authority.pem, crl=authority.crl(), generic=True, namespace="istio-system")
    assert generic["type"] == "Opaque" and set(generic["data"]) == {"cert", "key", "cacert", "crl"}
