"""Session tickets: resumed by any worker and after a restart, never at another server, never around a check of the client."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import pytest

from .conftest import StartTls
from .support.certificates import Authority, mount
from .support.config import gateway_of, https_server
from .support.gateway import Gateway
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import Talk, get_request, s_client
from .support.tls_world import OPTIONAL, PLAIN, STRICT, TlsWorld, mount_policies, policy_documents, upstreams

VERSIONS = ["-tls1_2", "-tls1_3"]
TICKET_KEY_BYTES = 80


def talk(world: TlsWorld, name: str, *words: str) -> Talk:
    """One request; s_client writes the session that is in force at its end."""
    return s_client(world.port, "-CAfile", world.ca_file(), *words, name=name, request=get_request(name))


def first_session(world: TlsWorld, name: str, path: Path, *words: str) -> Path:
    made = talk(world, name, *words, "-sess_out", str(path))
    assert made.status == 200 and not made.reused, made.said
    assert path.exists()
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_resumes_at_its_server(tls: TlsWorld, tmp_path: Path, version: str) -> None:
    session = first_session(tls, PLAIN, tmp_path / "session", version)
    again = talk(tls, PLAIN, version, "-sess_in", str(session))
    assert again.reused and again.status == 200, again.said


def test_each_resumption_brings_the_next_ticket(tls: TlsWorld, tmp_path: Path) -> None:
    """TLS 1.3: a client that uses each ticket once resumes for ever."""
    session = first_session(tls, PLAIN, tmp_path / "session-0", "-tls1_3")
    for turn in range(1, 5):
        following = tmp_path / f"session-{turn}"
        again = talk(tls, PLAIN, "-tls1_3", "-sess_in", str(session), "-sess_out", str(following))
        assert again.reused and again.status == 200 and following.exists(), (turn, again.said)
        session = following


@pytest.mark.parametrize("version", VERSIONS)
def test_any_worker_resumes(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, tmp_path: Path, version: str
) -> None:
    """Of four workers that the kernel chooses among, each takes a part of these connections."""
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", authority.issue(PLAIN)), workers=4)
    session = first_session(world, PLAIN, tmp_path / "session", version)
    assert [talk(world, PLAIN, version, "-sess_in", str(session)).reused for _ in range(10)] == [True] * 10


def test_a_new_worker_resumes(tls: TlsWorld, tmp_path: Path) -> None:
    session = first_session(tls, PLAIN, tmp_path / "session")
    old = set(tls.gateway.worker_pids(443))
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(tls.gateway.worker_pids(443)) - old) == 2, "new workers")
    assert talk(tls, PLAIN, "-sess_in", str(session)).reused


def test_a_session_outlives_a_new_generation(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, tmp_path: Path
) -> None:
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", authority.issue(PLAIN)))
    session = first_session(world, PLAIN, tmp_path / "session")
    generation = world.gateway.metrics().total("fastgw_config_generation")
    world.gateway.write("more.yaml", upstreams(origin, ["more.test"])[1:])
    eventually(lambda: world.gateway.metrics().total("fastgw_config_generation") > generation, "a new generation")
    assert talk(world, PLAIN, "-sess_in", str(session)).reused


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_outlive_a_restart_with_a_key_file(
    origin: RecordingOrigin, authority: Authority, client_authority: Authority, tmp_path: Path, version: str
) -> None:
    secrets, keys = tmp_path / "secrets", tmp_path / "keys"
    mount_policies(secrets, authority, client_authority)
    old_key, new_key = os.urandom(TICKET_KEY_BYTES), os.urandom(TICKET_KEY_BYTES)
    keys.write_bytes(old_key)
    session = tmp_path / "session"

    def run(name: str) -> Gateway:
        options = ["--secrets", str(secrets), "--ticket-keys", str(keys)]
        return Gateway(tmp_path / name, policy_documents(origin), ports=(443,), options=options)

    with run("first") as running:
        world = TlsWorld(running, authority, client_authority, tmp_path, secrets)
        first_session(world, PLAIN, session, version)
    keys.write_bytes(new_key + old_key)
    with run("second") as running:
        world = TlsWorld(running, authority, client_authority, tmp_path, secrets)
        assert talk(world, PLAIN, version, "-sess_in", str(session)).reused
    keys.write_bytes(new_key)
    with run("third") as running:
        world = TlsWorld(running, authority, client_authority, tmp_path, secrets)
        foreign = talk(world, PLAIN, version, "-sess_in", str(session))
        assert not foreign.reused and foreign.status == 200, foreign.said


def test_sessions_end_with_the_process_without_a_key_file(
    origin: RecordingOrigin, authority: Authority, client_authority: Authority, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    mount_policies(secrets, authority, client_authority)
    for turn in range(2):
        made = Gateway(tmp_path / f"run-{turn}", policy_documents(origin), ports=(443,), options=["--secrets", str(secrets)])
        with made as running:
            world = TlsWorld(running, authority, client_authority, tmp_path, secrets)
            if turn == 0:
                first_session(world, PLAIN, tmp_path / "session")
            else:
                foreign = talk(world, PLAIN, "-sess_in", str(tmp_path / "session"))
                assert not foreign.reused and foreign.status == 200, foreign.said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("elsewhere", [OPTIONAL, STRICT])
def test_a_session_of_one_server_is_nothing_at_another(tls: TlsWorld, tmp_path: Path, version: str, elsewhere: str) -> None:
    """G7: a full handshake, and the client is asked for its certificate."""
    session = first_session(tls, PLAIN, tmp_path / "session", version)
    asked = talk(tls, elsewhere, version, "-sess_in", str(session))
    assert not asked.reused
    assert asked.status == (200 if elsewhere == OPTIONAL else None), asked.said
    shown = talk(tls, elsewhere, version, "-sess_in", str(session), *tls.client_files(tls.client_identity()))
    assert not shown.reused and shown.status == 200, shown.said


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_a_known_client_resumes_as_that_client(tls: TlsWorld, tmp_path: Path, version: str) -> None:
    session = first_session(tls, STRICT, tmp_path / "session", version, *tls.client_files(tls.client_identity()))
    again = talk(tls, STRICT, version, "-sess_in", str(session))
    assert again.reused and again.status == 200, again.said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("change", ["ca", "crl"])
def test_a_changed_check_of_clients_ends_their_sessions(
    start_tls: StartTls,
    origin: RecordingOrigin,
    authority: Authority,
    client_authority: Authority,
    tmp_path: Path,
    version: str,
    change: str,
) -> None:
    """T5: the client is judged anew."""
    server, identity = authority.issue(PLAIN), client_authority.issue(common_name="leaver")
    documents = [gateway_of("gw", [https_server([PLAIN], "web", "MUTUAL")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", server, ca=client_authority.pem, crl=client_authority.crl()))
    files = world.client_files(identity)
    session = first_session(world, PLAIN, tmp_path / "session", version, *files)
    assert talk(world, PLAIN, version, "-sess_in", str(session), *files).reused
    if change == "ca":
        mount(world.secrets, "web", server, ca=authority.pem, crl=authority.crl())
    else:
        client_authority.revoke(identity)
        mount(world.secrets, "web", server, ca=client_authority.pem, crl=client_authority.crl())
        client_authority.revoked.clear()
    eventually(lambda: talk(world, PLAIN, version, *files).status is None, "the client is refused")
    world.gateway.everywhere()
    resumed = talk(world, PLAIN, version, "-sess_in", str(session), *files)
    assert not resumed.reused and resumed.status is None, resumed.said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("where", [0, 8, 20, 60, -1])
def test_a_damaged_ticket_is_a_full_handshake(tls: TlsWorld, tmp_path: Path, version: str, where: int) -> None:
    """T6: in the key's name, the vector, the content, the MAC."""
    session = first_session(tls, PLAIN, tmp_path / "session", version)
    (tmp_path / "damaged").write_text(damage_ticket(session.read_text(), where))
    answer = talk(tls, PLAIN, version, "-sess_in", str(tmp_path / "damaged"))
    assert not answer.reused and answer.status == 200 and answer.alert is None, answer.said
    assert talk(tls, PLAIN, version, "-sess_in", str(session)).reused


def damage_ticket(pem: str, where: int) -> str:
    """One bit of the ticket, ``where`` bytes from its start or its end, is flipped."""
    head, foot = "-----BEGIN SSL SESSION PARAMETERS-----", "-----END SSL SESSION PARAMETERS-----"
    der = bytearray(base64.b64decode(pem.split(head)[1].split(foot)[0]))
    start, end = ticket_span(bytes(der))
    at = start + where if where >= 0 else end + where
    der[at] ^= 1
    body = base64.encodebytes(bytes(der)).decode()
    return f"{head}\n{body}{foot}\n"


def ticket_span(der: bytes) -> tuple[int, int]:
    """Where the value of field [10] of an SSL_SESSION lies: an octet string."""
    at = header(der, 0)[0]
    while at < len(der):
        tag = der[at]
        value, end = header(der, at)
        if tag == 0xAA:
            return header(der, value)
        at = end
    raise AssertionError("a session without a ticket")


def header(der: bytes, at: int) -> tuple[int, int]:
    """Start and end of the value of the element at ``at``."""
    size = der[at + 1]
    if size < 0x80:
        return at + 2, at + 2 + size
    count = size & 0x7F
    start = at + 2 + count
    return start, start + int.from_bytes(der[at + 2 : start])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_resumes_after_an_upgrade(
    start_tls: StartTls, origin: RecordingOrigin, authority: Authority, tmp_path: Path, version: str
) -> None:
    """The new version has the ticket keys, which were never on disk."""
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    world = start_tls(documents, lambda secrets: mount(secrets, "web", authority.issue(PLAIN)))
    session = first_session(world, PLAIN, tmp_path / "session", version)
    before = world.gateway.worker_pids(443)
    world.gateway.signal(signal.SIGUSR2)
    eventually(
        lambda: world.gateway.worker_pids(443) and not set(world.gateway.worker_pids(443)) & set(before),
        "other workers",
    )
    again = talk(world, PLAIN, version, "-sess_in", str(session))
    assert again.reused and again.status == 200, again.said
