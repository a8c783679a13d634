"""TLS towards upstreams, between real processes: Python's ssl and OpenSSL's s_server judge what arrives."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .conftest import StartGateway
from .support.certificates import Authority, Identity, make_authority, mount, secret
from .support.config import Document, destination, gateway, gateway_of, route, virtual_service
from .support.gateway import Gateway
from .support.load import Load
from .support.log import whole_lines
from .support.origin import ok
from .support.poll import eventually
from .support.ports import free_port, listening_inodes
from .support.tls_origin import TlsOrigin

HOST = "api.test"
FORM = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n"


def upstream(name: str, port: int, tls: Document | None, **entry: Any) -> list[Document]:
    """The service NAME.svc.test:443 on a port of this machine, and how it is spoken to."""
    host = f"{name}.svc.test"
    spec = {
        "hosts": [host],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 443, "name": "https", "protocol": "HTTPS"}],
        "endpoints": [{"address": "127.0.0.1", "ports": {"https": port}}],
        **entry,
    }
    documents: list[Document] = [_object("ServiceEntry", name, spec)]
    if tls is not None:
        documents.append(_object("DestinationRule", name, {"host": host, "trafficPolicy": {"tls": tls}}))
    return documents


def _object(kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def routes(*names: str, hosts: tuple[str, ...] = ("*",)) -> list[Document]:
    """/NAME goes to the service NAME."""
    rules = [{"match": [{"uri": {"prefix": f"/{name}"}}], "route": [destination(f"{name}.svc.test", 443)]} for name in names]
    return [gateway(hosts=list(hosts)), virtual_service("all", list(hosts), rules)]


def strangers(authority: Authority, stranger: Authority) -> dict[str, Identity]:
    """Certificates that a client must not believe, by what is wrong with them (T18)."""
    middle = stranger.intermediate("middle")
    return {
        "wrong-name": authority.issue("other.test"),
        "expired": authority.expired(HOST),
        "self-signed": Identity(stranger.certificate, stranger.private_key),
        "unknown-ca": middle.issue(HOST),
        "only-an-address": authority.issue("127.0.0.1", common_name=HOST),
        "no-names": authority.issue(common_name=HOST),
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def ca(authority: Authority, tmp_path: Path) -> str:
    return str(authority.write(tmp_path / "ca.pem"))


def logged(log: Path) -> list[str]:
    return whole_lines(log)


def test_certificates_that_are_not_believed(
    start_gateway: StartGateway, authority: Authority, tmp_path: Path, log: Path, ca: str
) -> None:
    """T18, G13: 503 with the reason in the log, and not one byte of a request to any of them."""
    origins: dict[str, TlsOrigin] = {}
    documents: list[Document] = []
    for name, identity in strangers(authority, make_authority("stranger")).items():
        origins[name] = TlsOrigin(name, identity, tmp_path)
        documents += upstream(name, origins[name].port, {"mode": "SIMPLE", "caCertificates": ca})
    good = origins["good"] = TlsOrigin("good", authority.issue(HOST), tmp_path)
    documents += upstream("good", good.port, {"mode": "SIMPLE", "caCertificates": ca})
    documents += upstream("system", good.port, {"mode": "SIMPLE"})
    documents += upstream("no-ca", good.port, {"mode": "SIMPLE", "caCertificates": str(tmp_path / "none.pem")})
    documents += upstream("no-secret", good.port, {"mode": "SIMPLE", "credentialName": "nothing"})
    documents += upstream("unverified", origins["wrong-name"].port, {"mode": "SIMPLE", "insecureSkipVerify": True})
    names = [*origins, "system", "no-ca", "no-secret", "unverified"]
    try:
        running = start_gateway(
            [*documents, *routes(*names)],
            options=["--access-log", str(log), "--access-log-format", FORM, "--connect-attempts", "1"],
        )
        statuses = {name: running.get(f"/{name}", HOST).status for name in names}
        assert statuses == {name: 200 if name in ("good", "unverified") else 503 for name in names}
        for name, origin in origins.items():
            wanted = [HOST] if name in ("good", "wrong-name") else []
            assert [shaken.name for shaken in origin.handshakes if not shaken.failed] == wanted, name
        told = eventually(lambda: told_of(log, len(names)), "the log")
        reasons = {
            "wrong-name": "hostname_mismatch",
            "expired": "certificate_has_expired",
            "only-an-address": "hostname_mismatch",
            "no-names": "hostname_mismatch",
            "no-ca": f"no_usable_CA_in_file-ca:{tmp_path / 'none.pem'}",
            "no-secret": "no_usable_CA_in_kubernetes://istio-system/nothing-cacert",
        }
        for name, reason in reasons.items():
            assert told[name] == f"503 UF TLS_error:|{reason}:TLS_error_end", name
        assert told["good"] == "200 - -"
        assert all(told[name].startswith("503 UF TLS_error:|") for name in names if statuses[name] == 503)
        failed = running.metrics().total("fastgw_upstream_tls_handshakes_failed_total")
        assert failed == sum(status == 503 for status in statuses.values())
    finally:
        for origin in origins.values():
            origin.stop()


def told_of(log: Path, count: int) -> dict[str, str]:
    """What the log says of each path."""
    lines = logged(log)
    assert len(lines) >= count, lines
    parts = [line.partition(" ") for line in lines]
    return {path.removeprefix("/"): rest for path, _, rest in parts}


def test_names(start_gateway: StartGateway, authority: Authority, tmp_path: Path, ca: str) -> None:
    """Q17: SNI and the name to be verified are the request's host, or what the DestinationRule and the ServiceEntry say."""
    identity = authority.issue("*.wild.test", "real.test", "10.9.8.7", uris=["spiffe://mesh/ns/a/sa/b"])
    simple = {"mode": "SIMPLE", "caCertificates": ca}
    with TlsOrigin("one", identity, tmp_path) as origin:
        documents = [
            *upstream("auto", origin.port, simple),
            *upstream("sni", origin.port, {**simple, "sni": "real.test"}),
            *upstream("uri", origin.port, {**simple, "subjectAltNames": ["none.test", "spiffe://mesh/ns/a/sa/b"]}),
            *upstream("entry", origin.port, simple, subjectAltNames=["10.9.8.7"]),
            *upstream("entry-no", origin.port, simple, subjectAltNames=["10.9.8.8"]),
            *upstream("rule-first", origin.port, {**simple, "subjectAltNames": ["real.test"]}, subjectAltNames=["no.test"]),
        ]
        running = start_gateway([*documents, *routes("auto", "sni", "uri", "entry-no", "entry", "rule-first")], workers=1)
        asked = [
            ("/auto", "a.wild.test:8443", 200, "a.wild.test"), ("/auto", "10.9.8.7", 200, None),
            ("/auto", "b.a.wild.test", 503, None), ("/auto", "10.9.8.8", 503, None), ("/sni", "x.test", 200, "real.test"),
            ("/uri", "x.test", 200, "x.test"),
            ("/entry", "x.test", 200, "x.test"), ("/entry-no", "x.test", 503, None), ("/rule-first", "x.test", 200, "x.test"),
        ]  # fmt: skip
        assert [(path, host, running.get(path, host).status) for path, host, _, _ in asked] == [row[:3] for row in asked]
        seen = [shaken.name for shaken in origin.handshakes if not shaken.failed]
        assert seen == [name for _, _, status, name in asked if status == 200]


def test_m15_the_name_follows_the_new_host(start_gateway: StartGateway, authority: Authority, tmp_path: Path, ca: str) -> None:
    """Whoever changes the host: the route, its headers, those of one of several destinations."""
    identity = authority.issue("*.wild.test")
    target = destination("auto.svc.test", 443)
    by_header = {"headers": {"request": {"set": {"host": "header.wild.test"}}}}
    weighted = [{**target, "weight": 1, "headers": {"request": {"set": {"host": f"{n}.wild.test"}}}} for n in ("one", "two")]
    rules = [
        {"match": [{"uri": {"exact": "/rewrite"}}], "rewrite": {"authority": "rewrite.wild.test:99"}, "route": [target]},
        {"match": [{"uri": {"exact": "/header"}}], "route": [target], **by_header},
        {"match": [{"uri": {"exact": "/weighted"}}], "route": weighted},
        {"match": [{"uri": {"exact": "/both"}}], "route": weighted, **by_header},
    ]
    with TlsOrigin("one", identity, tmp_path) as origin:
        documents = upstream("auto", origin.port, {"mode": "SIMPLE", "caCertificates": ca})
        service = virtual_service("all", ["client.test"], rules)
        running = start_gateway([*documents, gateway(hosts=["client.test"]), service], workers=1)

        def names(path: str, count: int = 1) -> set[str | None]:
            before = len(origin.handshakes)
            assert {running.get(path, "client.test").status for _ in range(count)} == {200}
            return {shaken.name for shaken in origin.handshakes[before:]}

        assert names("/rewrite") == {"rewrite.wild.test"}
        assert names("/header") == {"header.wild.test"}
        assert names("/weighted", 40) == {"one.wild.test", "two.wild.test"}
        assert names("/both", 5) == set(), "the connection of /header is used again"


def test_sessions_are_resumed(start_gateway: StartGateway, authority: Authority, tmp_path: Path, ca: str) -> None:
    with TlsOrigin("one", authority.issue(HOST), tmp_path) as origin:
        origin.answer = lambda head: ok(b"once", "Connection: close")
        tls = {"mode": "SIMPLE", "caCertificates": ca}
        running = start_gateway([*upstream("one", origin.port, tls), *routes("one")], workers=1)
        for _ in range(4):
            assert running.get("/one", HOST).status == 200
        assert [shaken.reused for shaken in origin.handshakes] == [False, True, True, True]
        metrics = running.metrics()
        assert metrics.total("fastgw_upstream_tls_handshakes_total") == 4
        assert metrics.total("fastgw_upstream_tls_handshakes_resumed_total") == 3
        origin.answer = origin.echo
        for _ in range(4):
            assert running.get("/one", HOST).status == 200
        assert len(origin.handshakes) == 5


def test_client_certificates_and_their_rotation(
    start_gateway: StartGateway, authority: Authority, client_authority: Authority, tmp_path: Path, ca: str
) -> None:
    """MUTUAL by files and by a mounted Secret. A new certificate is shown by new connections, and the open one stays."""
    secrets = tmp_path / "secrets"
    mount(secrets, "client", client_authority.issue(common_name="first"), ca=authority.pem)
    chain, key = client_authority.issue(common_name="by-files").write(tmp_path, "client")
    files = {"mode": "MUTUAL", "clientCertificate": str(chain), "privateKey": str(key), "caCertificates": ca}
    with TlsOrigin("one", authority.issue(HOST), tmp_path, clients=client_authority) as origin:
        mounted = {"mode": "MUTUAL", "credentialName": "client"}
        documents = [
            *upstream("files", origin.port, files),
            *upstream("mounted", origin.port, mounted),
            *upstream("probe", origin.port, mounted),
            *upstream("nobody", origin.port, {"mode": "SIMPLE", "caCertificates": ca}),
            *routes("files", "mounted", "probe", "nobody"),
        ]
        running = start_gateway(documents, workers=1, options=["--secrets", str(secrets)])
        assert running.get("/files", HOST).status == 200
        assert running.get("/mounted", HOST).status == 200
        assert [shaken.subject for shaken in origin.handshakes] == ["by-files", "first"]
        assert running.get("/nobody", HOST).status == 503
        mount(secrets, "client", client_authority.issue(common_name="second"), ca=authority.pem)
        origin.answer = lambda head: ok(b"", "Connection: close") if b"/probe" in head else origin.echo(head)

        def rotated() -> bool:
            assert running.get("/probe", HOST).status == 200
            assert origin.handshakes[-1].subject == "second"
            return True

        eventually(rotated, "the second certificate")
        assert not next(shaken for shaken in origin.handshakes if shaken.subject == "second").reused
        count = len(origin.handshakes)
        assert running.get("/mounted", HOST).status == 200
        assert len(origin.handshakes) == count, "the open connection stays"


def test_rotation_under_load_fails_no_request(
    start_gateway: StartGateway, authority: Authority, client_authority: Authority, tmp_path: Path
) -> None:
    """Every request makes a connection of its own while certificate and CA change again and again."""
    secrets = tmp_path / "secrets"
    mount(secrets, "client", client_authority.issue(common_name="0"), ca=authority.pem)
    with TlsOrigin("one", authority.issue(HOST), tmp_path, clients=client_authority) as origin:
        origin.answer = lambda head: ok(f'"{head.split()[1].decode()}"'.encode(), "Connection: close")
        documents = [*upstream("one", origin.port, {"mode": "MUTUAL", "credentialName": "client"})]
        documents += [gateway(hosts=["*"]), virtual_service("all", ["*"], [route("one.svc.test", 443)])]
        running = start_gateway(documents, options=["--secrets", str(secrets)])
        with Load(running.port(), HOST) as load:
            for number in range(1, 6):
                mount(secrets, "client", client_authority.issue(common_name=str(number)), ca=authority.pem * (1 + number % 2))
                load.more(20)
                eventually(partial(_shown, origin, str(number)), f"certificate {number}")
        assert load.failures == []
        assert not [shaken for shaken in origin.handshakes if shaken.failed]
        subjects = [shaken.subject for shaken in origin.handshakes]
        assert list(dict.fromkeys(subjects)) == ["0", "1", "2", "3", "4", "5"]


def _shown(origin: TlsOrigin, subject: str) -> bool:
    assert origin.handshakes[-1].subject == subject
    return True


def test_a_destination_rule_that_changes(
    start_gateway: StartGateway, authority: Authority, tmp_path: Path, ca: str, make_origin: Any
) -> None:
    """From plain text to TLS and back, without a request on a connection of the other kind."""
    plain = make_origin("plain")
    with TlsOrigin("one", authority.issue(HOST), tmp_path) as origin:
        tls = {"mode": "SIMPLE", "caCertificates": ca}
        running = start_gateway([*upstream("one", plain.port, None), *routes("one")], workers=1)
        assert running.get("/one", HOST).status == 200
        running.write("main.yaml", [*upstream("one", origin.port, tls), *routes("one")])
        eventually(lambda: _from(running, "one"), "TLS")
        running.write("main.yaml", [*upstream("one", origin.port, {**tls, "sni": "never.test"}), *routes("one")])
        eventually(lambda: _status(running, 503), "another name is not believed")
        running.write("main.yaml", [*upstream("one", plain.port, {"mode": "DISABLE"}), *routes("one")])
        eventually(lambda: _from(running, "plain"), "plain text")


def _from(running: Gateway, name: str) -> bool:
    answer = running.get("/one", HOST)
    assert answer.status == 200 and answer.value("x-origin") == name, answer
    return True


def _status(running: Gateway, status: int) -> bool:
    assert running.get("/one", HOST).status == status
    return True


def test_an_authority_that_appears_later(start_gateway: StartGateway, authority: Authority, tmp_path: Path) -> None:
    """It fails closed until then, and other destinations serve on."""
    late = tmp_path / "late.pem"
    with TlsOrigin("one", authority.issue(HOST), tmp_path) as origin:
        documents = [*upstream("one", origin.port, {"mode": "SIMPLE", "caCertificates": str(late)}), *routes("one")]
        running = start_gateway(documents)
        assert running.get("/one", HOST).status == 503
        authority.write(late)
        eventually(lambda: _status(running, 200), "the authority is used")


def test_secrets_as_documents_and_revoked_upstreams(start_gateway: StartGateway, authority: Authority, tmp_path: Path) -> None:
    good, bad = authority.issue(HOST), authority.issue(HOST)
    authority.revoke(bad)
    try:
        crl = authority.crl()
    finally:
        authority.revoked.clear()
    with TlsOrigin("good", good, tmp_path) as one, TlsOrigin("bad", bad, tmp_path) as two:
        tls = {"mode": "SIMPLE", "credentialName": "trusted"}
        ca_file, crl_file = str(authority.write(tmp_path / "ca.pem")), tmp_path / "crl.pem"
        crl_file.write_text(crl)
        by_file = {"mode": "SIMPLE", "caCertificates": ca_file, "caCrl": str(crl_file)}
        documents = [
            *upstream("good", one.port, tls),
            *upstream("bad", two.port, tls),
            *upstream("bad-by-file", two.port, by_file),
            *upstream("good-by-file", one.port, by_file),
            secret("trusted-cacert", ca=authority.pem, crl=crl, namespace="istio-system"),
            *routes("good-by-file", "bad-by-file", "good", "bad"),
        ]
        running = start_gateway(documents)
        asked = {name: running.get(f"/{name}", HOST).status for name in ("good", "bad", "good-by-file", "bad-by-file")}
        assert asked == {"good": 200, "bad": 503, "good-by-file": 200, "bad-by-file": 503}


@pytest.fixture
def s_server(authority: Authority, tmp_path: Path) -> Iterator[Any]:
    """``openssl s_server -www`` on a free port: a page about the session it was asked in, ended by close_notify."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> int:
        port = free_port()
        chain, key = authority.issue(HOST, key="rsa").write(tmp_path, f"s-server-{port}")
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(chain), "-key", str(key), "-www", *words]
        running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        eventually(lambda: listening_inodes(port) or None, "s_server listens")
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("version", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_openssl_s_server(start_gateway: StartGateway, s_server: Any, ca: str, version: str, name: str) -> None:
    port = s_server(version)
    running = start_gateway([*upstream("one", port, {"mode": "SIMPLE", "caCertificates": ca}), *routes("one")], workers=1)
    pages = [running.get("/one", HOST) for _ in range(3)]
    assert [page.status for page in pages] == [200, 200, 200]
    assert [f"New, {name}" in page.text for page in pages] == [True, False, False]
    assert all(f"Reused, {name}" in page.text for page in pages[1:])


def test_istio_mutual(start_gateway: StartGateway, authority: Authority, tmp_path: Path) -> None:
    """The mesh's certificate on both sides; the SNI is Istio's name of the cluster."""
    mesh = tmp_path / "certs"
    mesh.mkdir()
    ours = authority.issue(common_name="gateway", uris=["spiffe://cluster.local/ns/istio-system/sa/gateway"])
    for file, text in {"cert-chain.pem": ours.chain, "key.pem": ours.key, "root-cert.pem": authority.pem}.items():
        (mesh / file).write_text(text)
    workload = authority.issue(common_name="web", uris=["spiffe://cluster.local/ns/default/sa/web"])
    with TlsOrigin("one", workload, tmp_path, clients=authority) as origin:
        names = {"subjectAltNames": ["spiffe://cluster.local/ns/default/sa/other"]}
        documents = [
            *upstream("one", origin.port, {"mode": "ISTIO_MUTUAL"}),
            *upstream("other", origin.port, {"mode": "ISTIO_MUTUAL", **names}),
            *routes("one", "other"),
        ]
        running = start_gateway(documents, options=["--mesh-cert", str(mesh)])
        assert running.get("/one", HOST).status == 200
        assert running.get("/other", HOST).status == 503
        shaken = origin.handshakes[0]
        assert (shaken.name, shaken.subject) == ("outbound_.443_._.one.svc.test", "gateway")


def test_tcp_to_tls(start_gateway: StartGateway, authority: Authority, tmp_path: Path, ca: str) -> None:
    """Plain TCP in, TLS out: what a client without TLS needs in front of a server that has nothing else."""
    with TlsOrigin("one", authority.issue("one.svc.test"), tmp_path) as origin:
        server = {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
        service = {"hosts": ["*"], "gateways": ["gw"], "tcp": [{"route": [destination("one.svc.test", 443)]}]}
        tls = {"mode": "SIMPLE", "caCertificates": ca}
        documents = [gateway_of("gw", [server]), _object("VirtualService", "tcp", service), *upstream("one", origin.port, tls)]
        running = start_gateway(documents, ports=[9000])
        assert running.get("/x", "anything.test", wanted=9000).status == 200
        assert [shaken.name for shaken in origin.handshakes] == ["one.svc.test"]
