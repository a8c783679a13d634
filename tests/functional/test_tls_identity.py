"""Who a client is, told to upstreams and logs: x-forwarded-client-cert (section L), and TLS operators in header values and logs."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from .conftest import StartTls
from .support.certificates import Authority, Identity, mount
from .support.config import gateway_of, https_server, route, service_entry, virtual_service
from .support.curl import curl
from .support.http1 import Response
from .support.log import whole_lines
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import TlsClient
from .support.tls_world import OPTIONAL, PLAIN, STRICT, TlsWorld

XFCC = "x-forwarded-client-cert"
FORGED = f'{XFCC}: By=spiffe://forged;Hash=0;Subject="CN=root"'
OPERATORS = (
    "REQUESTED_SERVER_NAME", "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_DNS_SAN", "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_CERT_V_START", "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_LOCAL_DNS_SAN",
)  # fmt: skip
SHOWN = "spiffe://cluster.local/ns/istio-system/sa/gateway"
ServeOne = Callable[..., TlsWorld]


def seen_of(answer: Response) -> dict[str, list[str]]:
    """Fields that the upstream saw."""
    assert answer.status == 200, answer.text
    seen: dict[str, list[str]] = {}
    for name, value in json.loads(answer.body)["headers"]:
        seen.setdefault(name.lower(), []).append(value)
    return seen


def url_pem(identity: Identity) -> str:
    text = identity.certificate.public_bytes(Encoding.PEM).decode()
    return text.replace("\n", "%0A").replace(" ", "%20").replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def expected_xfcc(identity: Identity, common_name: str, uris: list[str], names: list[str], by: str = "") -> str:
    elements = [f"By={by}"] if by else []
    elements += [f"Hash={identity.sha256}", f'Cert="{url_pem(identity)}"', f'Subject="CN={common_name},O=Test"']
    elements += [f"URI={uri}" for uri in uris] or ["URI="]
    return ";".join(elements + [f"DNS={name}" for name in names])


def test_a_client_certificate_is_told_to_the_upstream(tls: TlsWorld) -> None:
    uris, names = ["spiffe://cluster.local/ns/a/sa/b", "urn:uuid:x"], ["alice.test", "b.alice.test"]
    identity = tls.client_authority.issue(*names, common_name="alice", uris=uris)
    wanted = [expected_xfcc(identity, "alice", uris, names)]
    assert seen_of(tls.get(STRICT, None, identity=identity))[XFCC] == wanted
    assert seen_of(tls.get(STRICT, None, FORGED, FORGED, identity=identity))[XFCC] == wanted
    with tls.connect(STRICT, identity) as client:
        assert [seen_of(client.get("/", STRICT))[XFCC] for _ in range(3)] == [wanted] * 3


def test_without_names_of_its_own(tls: TlsWorld) -> None:
    identity = tls.client_identity("bob")
    assert seen_of(tls.get(OPTIONAL, identity=identity))[XFCC] == [expected_xfcc(identity, "bob", [], [])]


def test_without_a_certificate_nothing_is_told(tls: TlsWorld) -> None:
    assert XFCC not in seen_of(tls.get(PLAIN, None, FORGED))
    assert XFCC not in seen_of(tls.get(OPTIONAL, None, FORGED))


def test_a_resumed_session_keeps_its_client(tls: TlsWorld) -> None:
    identity = tls.client_identity("carol")
    context = tls.context(identity)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    wanted = [expected_xfcc(identity, "carol", [], [])]
    with TlsClient(tls.port, STRICT, context) as first:
        assert seen_of(first.get("/", STRICT))[XFCC] == wanted
        session = first.tls.session
    with TlsClient(tls.port, STRICT, context, session=session) as again:
        assert again.tls.session_reused
        assert seen_of(again.get("/", STRICT))[XFCC] == wanted


def test_what_a_certificate_says_cannot_break_out(tls: TlsWorld) -> None:
    """Control characters, quotes and separators in names that a CA has signed."""
    evil = 'a"b;Hash=1,c\\d\r\nx-evil: 1\x00é'
    uri = 'spiffe://x/;Subject="CN=root",URI=spiffe://y\r\nx-evil: 1'
    identity = tls.client_authority.issue(common_name=evil, uris=[uri])
    seen = seen_of(tls.get(STRICT, identity=identity))
    assert "x-evil" not in seen
    (value,) = seen[XFCC]
    subject = re.search(r'Subject="((?:[^"\\]|\\.)*)"', value)
    assert subject is not None and subject.group(1) == 'CN=a\\"b\\;Hash=1\\,c\\\\d\\0D\\0Ax-evil: 1\\00\\C3\\A9,O=Test'
    assert value.endswith(";URI=spiffe://x/%3BSubject=%22CN=root%22%2CURI=spiffe://y%0D%0Ax-evil:%201")


@pytest.fixture
def told(start_tls: StartTls, origin: RecordingOrigin, authority: Authority, client_authority: Authority) -> ServeOne:
    """A gateway that puts every operator on TLS into a header and into its log."""

    def serve(log: Path) -> TlsWorld:
        values = {f"x-{name.lower().replace('_', '-')}": f"%{name}%" for name in OPERATORS}
        headers = {"request": {"set": values}, "response": {"set": {"x-peer": "<%DOWNSTREAM_PEER_SUBJECT%>"}}}
        documents: list[dict[str, Any]] = [
            gateway_of("gw", [https_server([PLAIN], "web", "OPTIONAL_MUTUAL")]),
            service_entry("webapp", [("127.0.0.1", origin.port)]),
            virtual_service("vs", [PLAIN], [route("webapp", 8080, headers=headers)]),
        ]

        def prepare(secrets: Path) -> None:
            mount(secrets, "web", authority.issue(PLAIN, "www.webapp.test", uris=[SHOWN]), ca=client_authority.pem)

        formats = json.dumps({name: f"%{name}%" for name in (*OPERATORS, "DOWNSTREAM_TLS_SESSION_ID")})
        return start_tls(documents, prepare, options=["--access-log", str(log), "--access-log-format", formats])

    return serve


def last_line(log: Path, count: int) -> dict[str, str]:
    eventually(lambda: len(whole_lines(log)) >= count, "the lines of the log")
    line: dict[str, str] = json.loads(log.read_text().splitlines()[count - 1])
    return line


def facts_of(identity: Identity) -> dict[str, str]:
    certificate = identity.certificate
    days = {"START": certificate.not_valid_before_utc, "END": certificate.not_valid_after_utc}
    return {
        "REQUESTED_SERVER_NAME": PLAIN,
        "DOWNSTREAM_TLS_VERSION": "TLSv1.3",
        "DOWNSTREAM_TLS_CIPHER": "TLS_AES_256_GCM_SHA384",
        "DOWNSTREAM_PEER_SUBJECT": "CN=alice,O=Test",
        "DOWNSTREAM_PEER_ISSUER": "CN=clients' CA,O=Test",
        "DOWNSTREAM_PEER_URI_SAN": "spiffe://a/b,urn:x",
        "DOWNSTREAM_PEER_DNS_SAN": "alice.test,b.test",
        "DOWNSTREAM_PEER_SERIAL": f"{certificate.serial_number:x}".rjust(len(f"{certificate.serial_number:x}") + 1 & ~1, "0"),
        "DOWNSTREAM_PEER_FINGERPRINT_256": identity.sha256,
        "DOWNSTREAM_PEER_FINGERPRINT_1": hashlib.sha1(identity.der).hexdigest(),
        "DOWNSTREAM_PEER_CERT": url_pem(identity),
        **{f"DOWNSTREAM_PEER_CERT_V_{name}": day.strftime("%Y-%m-%dT%H:%M:%S.000Z") for name, day in days.items()},
        "DOWNSTREAM_LOCAL_SUBJECT": f"CN={PLAIN},O=Test",
        "DOWNSTREAM_LOCAL_URI_SAN": SHOWN,
        "DOWNSTREAM_LOCAL_DNS_SAN": f"{PLAIN},www.webapp.test",
    }


def test_operators_in_headers_and_logs(told: ServeOne, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    world = told(log)
    while True:  # a serial number whose first digit is 0: it is told by whole bytes
        identity = world.client_authority.issue("alice.test", "b.test", common_name="alice", uris=["spiffe://a/b", "urn:x"])
        if len(f"{identity.certificate.serial_number:x}") % 2:
            break
    chain, key = identity.write(tmp_path, "alice")
    words = ["--cacert", world.ca_file(), "--resolve", f"{PLAIN}:{world.port}:127.0.0.1", "--cert", str(chain), "--key", str(key)]
    words += ["--tls13-ciphers", "TLS_AES_256_GCM_SHA384", "-H", "x-downstream-peer-subject: forged"]
    answer = curl(*words, f"https://{PLAIN}:{world.port}/")
    assert (answer.status, answer.headers["x-peer"]) == (200, "<CN=alice,O=Test>")
    pairs = json.loads(answer.body)["headers"]
    wanted = facts_of(identity)
    line = last_line(log, 1)
    for name in OPERATORS:
        assert [value for field, value in pairs if field.lower() == f"x-{name.lower().replace('_', '-')}"] == [wanted[name]], name
        assert line[name] == wanted[name], name
    assert re.fullmatch("[0-9a-f]{64}|-", line["DOWNSTREAM_TLS_SESSION_ID"])
    xfcc = dict(pairs)[XFCC]
    assert xfcc == expected_xfcc(identity, "alice", ["spiffe://a/b", "urn:x"], ["alice.test", "b.test"], by=SHOWN)


def test_what_is_missing_without_a_client_certificate(told: ServeOne, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    world = told(log)
    answer = world.get(PLAIN, None, "x-downstream-peer-subject: forged")
    seen = seen_of(answer)
    assert answer.value("x-peer") == "<>"
    assert seen["x-downstream-tls-version"] == ["TLSv1.3"]
    assert seen["x-downstream-peer-subject"] == ["forged"], "K4: an empty value changes nothing; remove it first"
    line = last_line(log, 1)
    assert {line[name] for name in OPERATORS if "PEER" in name} == {"-"}
    assert line["DOWNSTREAM_LOCAL_URI_SAN"] == SHOWN
