"""Which server a handshake is with: exact, wildcard and catch-all names, no name, unknown names; and credentials that are bad."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from .conftest import StartTls
from .support.certificates import Authority, Identity, mount
from .support.config import gateway_of, https_server
from .support.curl import curl, curl_fails
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import TlsClient, client_context, s_client
from .support.tls_world import PLAIN, STRICT, TlsWorld, upstreams, vhost_of

UNRECOGNIZED_NAME = 112


def shown(world: TlsWorld, name: str | None, port: int = 443) -> bytes:
    """The certificate that a client with this SNI is shown, DER."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with TlsClient(world.gateway.port(port), name, context) as client:
        der = client.tls.getpeercert(binary_form=True)
        assert der is not None
        return der


def refused(world: TlsWorld, name: str | None, port: int = 443) -> bool:
    """No handshake: the alert unrecognized_name, or a close."""
    talk = s_client(world.gateway.port(port), name=name)
    assert talk.version == "", talk.said
    assert talk.alert in (UNRECOGNIZED_NAME, None), talk.said
    return True


def test_the_most_specific_name_wins(start_tls: StartTls, origin: RecordingOrigin, authority: Authority) -> None:
    hosts = {"exact": "a.b.test", "narrow": "*.b.test", "wide": "*.test", "any": "*"}
    identities = {name: authority.issue(host if host != "*" else "any.example") for name, host in hosts.items()}
    servers = [https_server([host], name, name=name, port=8443 if host == "*" else 443) for name, host in hosts.items()]
    servers += [https_server([host], name, name=f"{name}-too", port=8443) for name, host in hosts.items() if host != "*"]

    def prepare(secrets: Path) -> None:
        for name, identity in identities.items():
            mount(secrets, name, identity)

    world = start_tls([gateway_of("gw", servers), *upstreams(origin, list(hosts.values()))], prepare, ports=(443, 8443))
    for sni, owner in {
        "a.b.test": "exact",
        "A.B.TEST": "exact",
        "x.b.test": "narrow",
        "x.a.b.test": "narrow",
        "b.test": "wide",
        "x.y.z.test": "wide",
    }.items():
        for port in (443, 8443):
            assert shown(world, sni, port) == identities[owner].der, (sni, port)
    for sni_or_none in ("test", "a.b.test.example", "b.example", "127.0.0.1", None):
        assert shown(world, sni_or_none, 8443) == identities["any"].der, sni_or_none
        assert refused(world, sni_or_none), sni_or_none


def test_strange_names_are_refused(tls: TlsWorld) -> None:
    for name in ("webapp.test.", "x.webapp.test", "webapp.tes", "ebapp.test", "webapp.test.evil.test"):
        assert refused(tls, name), name
    assert "UNRECOGNIZED_NAME" in tls.refusal("nobody.example") or tls.refusal("nobody.example") in ("reset", "eof")


def test_a_name_that_nobody_has_is_logged(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    """Below the table of section I: NR, and nothing that only a request has."""
    log = tmp_path / "access.log"
    form = (
        "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQUESTED_SERVER_NAME% %DOWNSTREAM_LOCAL_ADDRESS%\n"
    )
    world = start_tls(
        [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])],
        lambda secrets: mount(secrets, "web", authority.issue(PLAIN)),
        options=["--access-log", str(log), "--access-log-format", form],
    )
    for name in ("nobody.test", None):
        assert refused(world, name)
    wanted = [f"- 0 NR filter_chain_not_found {name} 127.0.0.1:{world.port}" for name in ("-", "nobody.test")]
    eventually(lambda: log.exists() and sorted(log.read_text().splitlines()) == wanted, "two lines")
    assert world.get(PLAIN).status == 200
    assert world.gateway.metrics().total("fastgw_client_connections_active") <= 1


def test_curl_sees_its_certificate_by_name(tls: TlsWorld) -> None:
    for host, code in {"webapp.test": 0, "unknown.test": 35}.items():
        words = ["--cacert", tls.ca_file(), "--resolve", f"{host}:{tls.port}:127.0.0.1", f"https://{host}:{tls.port}/"]
        if code:
            assert curl_fails(*words) == code
        else:
            assert curl(*words).status == 200


def test_what_is_not_tls_is_not_answered_in_the_clear(tls: TlsWorld, shared_origin: RecordingOrigin) -> None:
    mark = shared_origin.mark()
    for data in (
        b"GET / HTTP/1.1\r\nHost: webapp.test\r\n\r\n",
        b"\x00" * 64,
        b"\x16\x03\x01\x00\x05hello" + b"x" * 50,
        b"SSH-2.0-x\r\n",
    ):
        with tls.gateway.client(443) as client:
            client.send(data)
            assert client.wait_closed()
            assert not client.received.startswith(b"HTTP/") and len(client.received) <= 7
    assert shared_origin.since(mark) == []


# --- credentials


BROKEN = {
    "missing": lambda good, other: None,
    "no key": lambda good, other: {"tls.crt": good.chain},
    "another's key": lambda good, other: {"tls.crt": good.chain, "tls.key": other.key},
    "garbage": lambda good, other: {"tls.crt": "garbage", "tls.key": good.key},
    "half": lambda good, other: {"tls.crt": good.chain[:300], "tls.key": good.key},
    "empty": lambda good, other: {"tls.crt": "", "tls.key": ""},
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_credential_breaks_its_own_host_alone_and_heals(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, how: str
) -> None:
    good, other = authority.issue(PLAIN), authority.issue(STRICT)

    def prepare(secrets: Path) -> None:
        mount(secrets, "good", other)
        entries = BROKEN[how](good, other)
        if entries is not None:
            (secrets / "broken").mkdir()
            for name, text in entries.items():
                (secrets / "broken" / name).write_text(text)

    servers = [https_server([PLAIN], "broken", name="broken"), https_server([STRICT], "good", name="good")]
    world = start_tls([gateway_of("gw", servers), *upstreams(origin, [PLAIN, STRICT])], prepare)
    assert vhost_of(world.get(STRICT)) == STRICT
    assert s_client(world.port, name=PLAIN).version == ""
    for old in (world.secrets / "broken").glob("*"):
        old.unlink()
    mount(world.secrets, "broken", good)
    eventually(lambda: s_client(world.port, name=PLAIN).version != "", "the host heals")
    assert vhost_of(world.get(PLAIN)) == PLAIN and vhost_of(world.get(STRICT)) == STRICT


def test_good_content_stays_while_what_replaces_it_is_bad(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority
) -> None:
    """T15: a pair that is written in two steps, and one that stays broken."""
    first, second = authority.issue(PLAIN), authority.issue(PLAIN)
    home: list[Path] = []

    def prepare(secrets: Path) -> None:
        home.append(secrets / "web")
        home[0].mkdir()
        write_pair(home[0], first)

    world = start_tls([gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])], prepare)
    assert shown(world, PLAIN) == first.der
    (home[0] / "tls.crt").write_text(second.chain)
    eventually(lambda: "web" in world.gateway.said() and "key" in world.gateway.said().lower(), "the mismatch is reported")
    assert shown(world, PLAIN) == first.der
    (home[0] / "tls.key").write_text(second.key)
    eventually(lambda: shown(world, PLAIN) == second.der, "the new pair is served")


def write_pair(directory: Path, identity: Identity) -> None:
    (directory / "tls.crt").write_text(identity.chain)
    (directory / "tls.key").write_text(identity.key)


def test_certificates_out_of_their_time_are_served(start_tls: StartTls, origin: RecordingOrigin, authority: Authority) -> None:
    """T15, and Istio: pushed with a warning; clients decide."""
    late, early = authority.expired(PLAIN), authority.issue(STRICT, starts=timedelta(days=2))

    def prepare(secrets: Path) -> None:
        mount(secrets, "late", late)
        mount(secrets, "early", early)

    servers = [https_server([PLAIN], "late", name="late"), https_server([STRICT], "early", name="early")]
    world = start_tls([gateway_of("gw", servers), *upstreams(origin, [PLAIN, STRICT])], prepare)
    assert shown(world, PLAIN) == late.der and shown(world, STRICT) == early.der


def test_a_rotated_certificate_is_for_new_connections(start_tls: StartTls, origin: RecordingOrigin, authority: Authority) -> None:
    first, second = authority.issue(PLAIN), authority.issue(PLAIN)
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", first))
    pids = world.gateway.worker_pids(443)
    with TlsClient(world.port, PLAIN, client_context(authority)) as kept:
        assert kept.get("/", PLAIN).status == 200
        mount(world.secrets, "web", second)
        eventually(lambda: shown(world, PLAIN) == second.der, "the new certificate is served")
        assert kept.get("/", PLAIN).status == 200
        assert kept.tls.getpeercert(binary_form=True) == first.der
    assert world.gateway.worker_pids(443) == pids


def test_many_names_in_one_certificate(start_tls: StartTls, origin: RecordingOrigin, authority: Authority) -> None:
    """T13: 5,000 SANs."""
    identity = authority.issue(PLAIN, *(f"n{i}.example.test" for i in range(5000)))
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", identity))
    assert vhost_of(world.get(PLAIN)) == PLAIN
