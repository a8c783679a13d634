"""Terminating TLS with real clients: versions, ciphers, ALPN, and what each mode asks of clients."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from .conftest import StartTls
from .support.certificates import Authority, Identity, make_authority, mount, secret
from .support.config import gateway_of, https_server
from .support.curl import curl, curl_fails
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import get_request, refusal, s_client
from .support.tls_world import OPTIONAL, PLAIN, STRICT, TlsWorld, upstreams, vhost_of

OLD_CLIENT = ["-cipher", "DEFAULT@SECLEVEL=0"]
PROTOCOL_VERSION, HANDSHAKE_FAILURE, UNKNOWN_CA, NO_APPLICATION_PROTOCOL = 70, 40, 48, 120


def curl_words(world: TlsWorld, host: str) -> list[str]:
    return ["--cacert", world.ca_file(), "--resolve", f"{host}:{world.port}:127.0.0.1", f"https://{host}:{world.port}/x"]


@pytest.mark.parametrize("option", ["--tlsv1.2", "--tlsv1.3"])
def test_curl_with_each_version(tls: TlsWorld, option: str) -> None:
    top = option.removeprefix("--tlsv")
    answer = curl(*curl_words(tls, PLAIN), option, "--tls-max", top)
    assert answer.status == 200 and answer.headers["x-origin"] == "webapp"
    seen = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
    assert seen["x-forwarded-proto"] == "https" and "x-forwarded-client-cert" not in seen


def test_curl_refuses_what_it_does_not_trust(tls: TlsWorld) -> None:
    words = curl_words(tls, PLAIN)
    words[1] = str(make_authority("another").write(tls.directory / "another.pem"))
    assert curl_fails(*words) == 60


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(tls: TlsWorld, version: str) -> None:
    refused = s_client(tls.port, version, *OLD_CLIENT, name=PLAIN)
    assert (refused.version, refused.alert) == ("", PROTOCOL_VERSION), refused.said


@pytest.mark.parametrize(("word", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_s_client_with_each_version(tls: TlsWorld, word: str, version: str) -> None:
    talk = s_client(tls.port, word, "-CAfile", tls.ca_file(), name=PLAIN, request=get_request(PLAIN))
    assert (talk.version, talk.status) == (version, 200), talk.said
    assert talk.value("Verify return code") == "0 (ok)" and talk.value("Compression") == "NONE"


def test_the_server_chooses_the_cipher(tls: TlsWorld) -> None:
    words = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"]
    talk = s_client(tls.port, *words, name=PLAIN, request=get_request(PLAIN))
    assert talk.cipher == "ECDHE-ECDSA-AES128-GCM-SHA256", talk.said


@pytest.mark.parametrize(
    "cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"]
)
def test_ciphers_without_aead_or_ephemeral_curves_are_refused(tls: TlsWorld, cipher: str) -> None:
    talk = s_client(tls.port, "-tls1_2", "-cipher", f"{cipher}@SECLEVEL=0", name=PLAIN)
    assert (talk.version, talk.alert) == ("", HANDSHAKE_FAILURE), talk.said


@pytest.mark.parametrize(
    ("offered", "chosen"), [("http/1.1", "http/1.1"), ("h3,http/1.1", "http/1.1"), ("http/1.1,http/1.0", "http/1.1")]
)
def test_alpn_chooses_what_is_spoken(tls: TlsWorld, offered: str, chosen: str) -> None:
    talk = s_client(tls.port, "-alpn", offered, name=PLAIN, request=get_request(PLAIN))
    assert f"ALPN protocol: {chosen}" in talk.out and talk.status == 200, talk.said


def test_no_alpn_is_http(tls: TlsWorld) -> None:
    talk = s_client(tls.port, name=PLAIN, request=get_request(PLAIN))
    assert "No ALPN negotiated" in talk.out and talk.status == 200


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_only_unknown_protocols_are_refused(tls: TlsWorld, version: str) -> None:
    talk = s_client(tls.port, version, "-alpn", "acme-tls/1,spdy/3", name=PLAIN)
    assert talk.alert == NO_APPLICATION_PROTOCOL, talk.said


def test_a_client_cannot_renegotiate(tls: TlsWorld) -> None:
    context = SSL.Context(SSL.TLSv1_2_METHOD)
    with tls.gateway.client(443) as raw:
        raw.socket.settimeout(None)
        connection = SSL.Connection(context, raw.socket)
        connection.set_tlsext_host_name(PLAIN.encode())
        connection.set_connect_state()
        connection.do_handshake()
        connection.renegotiate()
        with pytest.raises(SSL.Error) as refused:
            connection.do_handshake()
    assert "no renegotiation" in str(refused.value) or refused.type is SSL.SysCallError


def test_a_client_that_guessed_another_curve_is_asked_again(tls: TlsWorld) -> None:
    """T8: HelloRetryRequest; the name of the first hello has chosen the server already."""
    talk = s_client(tls.port, "-tls1_3", "-groups", "P-521:P-384", "-msg", name=PLAIN, request=get_request(PLAIN))
    assert talk.status == 200 and talk.out.count("ClientHello") == 2, talk.said
    refused = s_client(tls.port, "-tls1_3", "-groups", "P-521", name=PLAIN)
    assert (refused.version, refused.alert) == ("", HANDSHAKE_FAILURE), refused.said


def test_no_early_data_is_offered(tls: TlsWorld) -> None:
    """T7, G9."""
    talk = s_client(tls.port, "-tls1_3", name=PLAIN, request=get_request(PLAIN))
    assert talk.value("Max Early Data") == "0", talk.out


# --- modes


def test_mutual_serves_those_who_prove_who_they_are(tls: TlsWorld) -> None:
    assert vhost_of(tls.get(STRICT, identity=tls.client_identity())) == STRICT
    chain, key = tls.client_identity("bob").write(tls.directory, "bob")
    assert curl(*curl_words(tls, STRICT), "--cert", str(chain), "--key", str(key)).status == 200
    below = tls.client_authority.intermediate("middle").issue(common_name="carol")
    assert tls.get(STRICT, identity=below).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who", ["nobody", "stranger", "expired", "server"])
def test_mutual_refuses_all_others_in_the_handshake(
    tls: TlsWorld, shared_origin: RecordingOrigin, who: str, version: ssl.TLSVersion
) -> None:
    identities: dict[str, Identity | None] = {
        "nobody": None,
        "stranger": make_authority("stranger").issue(common_name="alice"),
        "expired": tls.client_authority.expired(),
        "server": tls.authority.issue(STRICT),
    }
    mark = shared_origin.mark()
    for host in (STRICT, PLAIN):
        context = tls.context(identities[who])
        context.minimum_version = context.maximum_version = version
        assert refusal(tls.port, STRICT, context, host) != ""
    assert shared_origin.since(mark) == []


def test_a_client_s_chain_has_a_limit(tls: TlsWorld) -> None:
    """T12: 200 certificates are refused before they are looked at."""
    identity = tls.client_identity("long")
    padded = replace(identity, intermediates=tuple(tls.client_authority.issue(f"n{n}.test").certificate for n in range(200)))
    assert tls.refusal(STRICT, padded) != ""
    assert tls.get(STRICT, identity=identity).status == 200


def test_optional_serves_without_a_certificate_but_not_with_a_wrong_one(tls: TlsWorld) -> None:
    assert vhost_of(tls.get(OPTIONAL)) == OPTIONAL
    assert vhost_of(tls.get(OPTIONAL, identity=tls.client_identity())) == OPTIONAL
    stranger = make_authority("stranger").issue(common_name="alice")
    assert "UNKNOWN_CA" in tls.refusal(OPTIONAL, stranger)
    assert "EXPIRED" in tls.refusal(OPTIONAL, tls.client_authority.expired("alice"))


def test_simple_does_not_ask_for_a_certificate(tls: TlsWorld) -> None:
    asked = "Acceptable client certificate CA names"
    assert asked not in s_client(tls.port, name=PLAIN).out
    strict = s_client(tls.port, name=STRICT).out
    assert asked in strict and "clients' CA" in strict


ServeOne = Callable[..., TlsWorld]


@pytest.fixture
def serve_one(start_tls: StartTls, origin: RecordingOrigin, authority: Authority, client_authority: Authority) -> ServeOne:
    """A gateway with one HTTPS server for webapp.test with these ``tls`` fields; credential ``web`` holds the clients' CA too."""

    def serve(mode: str = "SIMPLE", *, crl: str = "", options: Sequence[str] = (), **fields: Any) -> TlsWorld:
        if not fields.keys() & {"credentialNames", "serverCertificate", "tlsCertificates"} and mode != "ISTIO_MUTUAL":
            fields.setdefault("credentialName", "web")
        documents = [gateway_of("gw", [https_server([PLAIN], None, mode, **fields)]), *upstreams(origin, [PLAIN])]

        def prepare(secrets: Path) -> None:
            mount(secrets, "web", authority.issue(PLAIN), ca=client_authority.pem, crl=crl)
            mount(secrets, "web-rsa", authority.issue(PLAIN, key="rsa"))

        return start_tls(documents, prepare, options=options)

    return serve


def test_istio_mutual_shows_and_asks_for_the_mesh_certificate(
    serve_one: ServeOne, authority: Authority, client_authority: Authority, tmp_path: Path
) -> None:
    own = authority.issue(PLAIN, uris=["spiffe://cluster.local/ns/istio-system/sa/gateway"])
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    texts = {"cert-chain.pem": own.chain, "key.pem": own.key, "root-cert.pem": client_authority.pem}
    for name, text in texts.items():
        (mesh / name).write_text(text)
    world = serve_one("ISTIO_MUTUAL", options=["--mesh-cert", str(mesh)])
    peer = world.client_identity("peer", uris=["spiffe://cluster.local/ns/default/sa/peer"])
    with world.connect(PLAIN, peer) as client:
        assert client.tls.getpeercert(binary_form=True) == own.der
        assert client.get("/", PLAIN).status == 200
    assert "CERTIFICATE_REQUIRED" in world.refusal(PLAIN)
    assert "UNKNOWN_CA" in world.refusal(PLAIN, authority.issue("peer"))


@pytest.mark.parametrize("mode", ["MUTUAL", "OPTIONAL_MUTUAL"])
def test_subject_alternative_names_are_an_allow_list(serve_one: ServeOne, mode: str) -> None:
    """P7: any listed value equal to any SAN."""
    world = serve_one(mode, subjectAltNames=["spiffe://cluster.local/ns/a/sa/b", "good.client.test"])
    good = [
        world.client_identity("a", uris=["spiffe://cluster.local/ns/x/sa/y", "spiffe://cluster.local/ns/a/sa/b"]),
        world.client_authority.issue("other.client.test", "good.client.test"),
    ]
    for identity in good:
        assert world.get(PLAIN, identity=identity).status == 200
    bad = [
        world.client_identity("good.client.test"),
        world.client_authority.issue("xgood.client.test"),
        world.client_authority.issue("*.client.test"),
        world.client_authority.issue("good.client.test.evil.test"),
        world.client_identity("a", uris=["spiffe://cluster.local/ns/a/sa/bc"]),
        make_authority("stranger").issue("good.client.test"),
    ]
    for identity in bad:
        assert world.refusal(PLAIN, identity) not in ("", "timeout")
    if mode == "OPTIONAL_MUTUAL":
        assert world.get(PLAIN).status == 200


@pytest.mark.parametrize("field", ["verifyCertificateSpki", "verifyCertificateHash"])
def test_pinned_certificates_are_an_allow_list(serve_one: ServeOne, client_authority: Authority, field: str) -> None:
    pinned, other = client_authority.issue(common_name="pinned"), client_authority.issue(common_name="pinned")
    digest = ":".join(pinned.sha256[i : i + 2].upper() for i in range(0, 64, 2))
    world = serve_one("MUTUAL", **{field: [pinned.spki if field.endswith("Spki") else digest]})
    assert world.get(PLAIN, identity=pinned).status == 200
    assert world.refusal(PLAIN, other) != ""
    assert world.refusal(PLAIN) != ""


def test_revoked_certificates_are_refused(serve_one: ServeOne, authority: Authority, client_authority: Authority) -> None:
    good, revoked = client_authority.issue(common_name="good"), client_authority.issue(common_name="revoked")
    client_authority.revoke(revoked)
    crl = client_authority.crl()
    client_authority.revoked.clear()
    world = serve_one("MUTUAL", crl=crl)
    assert world.get(PLAIN, identity=good).status == 200
    assert "REVOKED" in world.refusal(PLAIN, revoked)


def test_a_revocation_list_that_comes_later_counts_for_new_connections(
    serve_one: ServeOne, authority: Authority, client_authority: Authority
) -> None:
    identity = client_authority.issue(common_name="leaver")
    world = serve_one("MUTUAL", crl=client_authority.crl())
    with world.connect(PLAIN, identity) as kept:
        assert kept.get("/", PLAIN).status == 200
        client_authority.revoke(identity)
        mount(world.secrets, "web", authority.issue(PLAIN), ca=client_authority.pem, crl=client_authority.crl())
        client_authority.revoked.clear()
        eventually(lambda: "REVOKED" in refused_or_served(world, identity), "the revoked certificate is refused")
        assert kept.get("/", PLAIN).status == 200


def refused_or_served(world: TlsWorld, identity: Identity) -> str:
    try:
        return world.refusal(PLAIN, identity)
    except AssertionError as served:
        return str(served)


def test_insecure_skip_verify_takes_any_certificate(serve_one: ServeOne) -> None:
    world = serve_one("OPTIONAL_MUTUAL", insecureSkipVerify=True)
    stranger = make_authority("stranger").issue(common_name="mallory")
    assert world.get(PLAIN, identity=stranger).status == 200
    assert world.get(PLAIN).status == 200


def test_two_certificates_are_chosen_by_what_the_client_can(serve_one: ServeOne) -> None:
    """P8."""
    world = serve_one(credentialNames=["web", "web-rsa"])
    for words, kind in {
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"): "rsa",
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"): "ecdsa",
        ("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"): "rsa",
        ("-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"): "ecdsa",
        ("-tls1_3",): "ecdsa",
    }.items():
        talk = s_client(world.port, *words, "-CAfile", world.ca_file(), name=PLAIN, request=get_request(PLAIN))
        assert talk.status == 200 and talk.value("Verify return code") == "0 (ok)", talk.said
        assert talk.value("Peer signature type") == {"rsa": "RSA-PSS", "ecdsa": "ECDSA"}[kind] or (
            kind == "rsa" and talk.value("Peer signature type") in ("RSA", "RSA-PSS")
        ), (words, talk.out)


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        ({"minProtocolVersion": "TLSV1_3"}, ["-tls1_3"], ["-tls1_2"]),
        ({"maxProtocolVersion": "TLSV1_2"}, ["-tls1_2"], ["-tls1_3"]),
        ({"minProtocolVersion": "TLSV1_0", "cipherSuites": ["ECDHE-ECDSA-AES128-SHA"]}, ["-tls1", *OLD_CLIENT], []),
        (
            {"cipherSuites": ["ECDHE-ECDSA-AES256-GCM-SHA384", "NO-SUCH-CIPHER"]},
            ["-tls1_2", "-cipher", "ALL"],
            ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        ),
        ({"ecdhCurves": ["P-384"]}, ["-groups", "P-384"], ["-groups", "X25519"]),
    ],
)
def test_fields_narrow_or_widen_what_is_spoken(
    serve_one: ServeOne, fields: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    world = serve_one(**fields)
    assert s_client(world.port, *good, name=PLAIN, request=get_request(PLAIN)).status == 200
    if bad:
        refused = s_client(world.port, *bad, name=PLAIN)
        assert refused.version == "" and refused.alert in (PROTOCOL_VERSION, HANDSHAKE_FAILURE), refused.said


def test_certificates_from_files(serve_one: ServeOne, authority: Authority, client_authority: Authority, tmp_path: Path) -> None:
    chain, key = authority.issue(PLAIN).write(tmp_path, "server")
    ca = client_authority.write(tmp_path / "clients.pem")
    world = serve_one("MUTUAL", serverCertificate=str(chain), privateKey=str(key), caCertificates=str(ca))
    assert world.get(PLAIN, identity=world.client_identity()).status == 200
    assert "CERTIFICATE_REQUIRED" in world.refusal(PLAIN)


def test_a_revocation_list_from_a_file(
    serve_one: ServeOne, authority: Authority, client_authority: Authority, tmp_path: Path
) -> None:
    """``caCrl`` beside ``caCertificates``, read again when it changes."""
    chain, key = authority.issue(PLAIN).write(tmp_path, "server")
    ca, crl = client_authority.write(tmp_path / "clients.pem"), tmp_path / "clients.crl"
    crl.write_text(client_authority.crl())
    files = {"serverCertificate": chain, "privateKey": key, "caCertificates": ca, "caCrl": crl}
    world = serve_one("MUTUAL", **{name: str(path) for name, path in files.items()})
    leaver, stayer = client_authority.issue(common_name="leaver"), client_authority.issue(common_name="stayer")
    assert world.get(PLAIN, identity=leaver).status == 200
    client_authority.revoke(leaver)
    crl.write_text(client_authority.crl())
    client_authority.revoked.clear()
    eventually(lambda: "REVOKED" in refused_or_served(world, leaver), "the revoked certificate is refused")
    assert world.get(PLAIN, identity=stayer).status == 200


def test_certificate_pairs_from_files(serve_one: ServeOne, authority: Authority, tmp_path: Path) -> None:
    pairs = []
    for kind in ("ec", "rsa"):
        chain, key = authority.issue(PLAIN, key=kind).write(tmp_path, f"server-{kind}")
        pairs.append({"serverCertificate": str(chain), "privateKey": str(key)})
    world = serve_one(tlsCertificates=pairs)
    for cipher in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        talk = s_client(world.port, "-tls1_2", "-cipher", cipher, name=PLAIN, request=get_request(PLAIN))
        assert talk.status == 200, talk.said


@pytest.mark.parametrize("generic", [False, True])
def test_secret_documents(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, client_authority: Authority, generic: bool
) -> None:
    """The CA in a Secret of its own, and in the same one."""
    servers = [https_server([PLAIN], "one", "MUTUAL", name="one"), https_server([STRICT], "two", "MUTUAL", name="two")]
    documents = [
        gateway_of("gw", servers),
        secret("one", authority.issue(PLAIN), generic=generic),
        secret("one-cacert", ca=client_authority.pem, generic=generic),
        secret("two", authority.issue(STRICT), ca=client_authority.pem, generic=generic, namespace="istio-system"),
        *upstreams(origin, [PLAIN, STRICT]),
    ]
    world = start_tls(documents, lambda secrets: None)
    for host in (PLAIN, STRICT):
        assert vhost_of(world.get(host, identity=world.client_identity())) == host
        assert "CERTIFICATE_REQUIRED" in world.refusal(host)


def test_the_ca_may_be_another_credential(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, client_authority: Authority
) -> None:
    documents = [
        gateway_of("gw", [https_server([PLAIN], "web", "MUTUAL", caCertCredentialName="partners")]),
        *upstreams(origin, [PLAIN]),
    ]

    def prepare(secrets: Path) -> None:
        mount(secrets, "web", authority.issue(PLAIN), ca=make_authority("not this one").pem)
        mount(secrets, "partners", ca=client_authority.pem)

    world = start_tls(documents, prepare)
    assert world.get(PLAIN, identity=world.client_identity()).status == 200
