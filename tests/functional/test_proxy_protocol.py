"""Behind proxies that speak the PROXY protocol: HAProxy, nginx and curl in front of HTTP, TLS and TCP listeners."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from .conftest import StartGateway, StartTls
from .support.certificates import Authority, mount
from .support.client import Client, request_bytes
from .support.config import Document, gateway_of, http_server, https_server, route, service_entry, simple, virtual_service
from .support.curl import curl, curl_fails
from .support.fronts import STREAM_MODULE, haproxy, nginx
from .support.gateway import Gateway
from .support.layer4 import Handed, connect, read_exactly, tcp_entry, tcp_route, tcp_server, tcp_service
from .support.origin import RecordingOrigin
from .support.poll import eventually
from .support.tls_client import TlsClient, client_context

HOST = "webapp.test"
ANNOTATION = "gateway.fastgw.io/proxy-protocol"
CLIENT = "127.0.0.77"
"""Where the clients of these tests connect from, which is neither the proxy nor the gateway."""
LOG = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_CODE%\n"

Front = Callable[[Path, int], AbstractContextManager[int]]
FRONTS: dict[str, Front] = {
    "haproxy-v1": lambda directory, port: haproxy(directory, port, "send-proxy"),
    "haproxy-v2": lambda directory, port: haproxy(directory, port, "send-proxy-v2"),
    "haproxy-v2-entries": lambda directory, port: haproxy(
        directory, port, "send-proxy-v2 proxy-v2-options crc32c,ssl,cert-cn,authority,unique-id"
    ),
    # where it is there; the header is the same as HAProxy's
    **({"nginx": nginx} if STREAM_MODULE.exists() else {}),
}


def annotated(documents: list[Document], value: str = "true") -> list[Document]:
    for document in documents:
        if document["kind"] == "Gateway":
            document["metadata"]["annotations"] = {ANNOTATION: value}
    return documents


def fields_seen(body: bytes) -> dict[str, str]:
    """Of a request, as the echoing upstream answers."""
    return {name.lower(): value for name, value in json.loads(body)["headers"]}


def from_elsewhere(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(CLIENT, 0))


def ask(sock: socket.socket, host: str = HOST) -> dict[str, str]:
    sock.sendall(request_bytes("GET", "/", host, ["connection: close"]))
    answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer[:300]
    return fields_seen(body)


@pytest.mark.parametrize("front", FRONTS)
def test_requests_behind_a_proxy(start_gateway: StartGateway, origin: RecordingOrigin, tmp_path: Path, front: str) -> None:
    log = tmp_path / "log"
    settings = {"access-log": str(log), "access-log-format": LOG}
    gateway = start_gateway(annotated(simple(HOST, origin.port)), settings=settings)
    with FRONTS[front](tmp_path, gateway.port()) as port:
        for _ in range(3):
            with from_elsewhere(port) as sock:
                own = sock.getsockname()
                seen = ask(sock)
            assert (seen["x-forwarded-for"], seen["x-envoy-external-address"]) == (CLIENT, CLIENT)
            line = f"{own[0]}:{own[1]} 127.0.0.1:{port} 200"
            eventually(lambda line=line: line in log.read_text().splitlines(), line)  # type: ignore[misc]
    assert gateway.metrics().total("fastgw_proxy_headers_total") == 3
    gateway.assert_no_leaks()


@pytest.mark.parametrize("front", ["haproxy-v1", "haproxy-v2-entries"])
def test_tls_behind_a_proxy(start_tls: StartTls, authority: Authority, origin: RecordingOrigin, tmp_path: Path, front: str) -> None:
    documents = [
        gateway_of("gw", [https_server([HOST], "cert")]),
        virtual_service("webapp", [HOST], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    world = start_tls(annotated(documents), lambda secrets: mount(secrets, "cert", authority.issue(HOST)))
    with FRONTS[front](tmp_path, world.port) as port, TlsClient(port, HOST, client_context(authority, None, tmp_path)) as client:
        seen = fields_seen(client.get("/", HOST).body)
        assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "https")
    assert world.gateway.metrics().total("fastgw_proxy_headers_total") == 1
    assert world.refusal(HOST), "without the header there is no handshake"


@pytest.mark.parametrize("front", sorted(FRONTS.keys() - {"haproxy-v2-entries"}))
@pytest.mark.parametrize("version", ["", "V1", "V2"])
def test_bytes_behind_a_proxy(start_gateway: StartGateway, tmp_path: Path, front: str, version: str) -> None:
    """The upstream is told of the real client, where its DestinationRule asks for a header."""
    with Handed() as handed:
        documents = [
            gateway_of("gw", [tcp_server(9000)]),
            tcp_service("db", tcp=[tcp_route("db.test", port=9000)]),
            tcp_entry("db.test", handed.port),
        ]
        if version:
            policy = {"host": "db.test", "trafficPolicy": {"proxyProtocol": {"version": version}}}
            documents.append({**documents[0], "kind": "DestinationRule", "metadata": {"name": "db"}, "spec": policy})
        gateway = start_gateway(annotated(documents), ports=[9000])
        with FRONTS[front](tmp_path, gateway.port(9000)) as port, from_elsewhere(port) as client:
            own = client.getsockname()
            upstream = handed.take()
            line = f"PROXY TCP4 {CLIENT} 127.0.0.1 {own[1]} {port}\r\n".encode()
            block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton(CLIENT) + socket.inet_aton("127.0.0.1")
            block += own[1].to_bytes(2, "big") + port.to_bytes(2, "big")
            client.sendall(b"hello")
            wanted = {"": b"", "V1": line, "V2": block}[version] + b"hello"
            assert read_exactly(upstream, len(wanted)) == wanted
            upstream.sendall(b"and back")
            assert read_exactly(client, 8) == b"and back"
            upstream.close()


def test_the_option_names_ports_of_gateways(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """curl has the header, too, and tells of itself."""
    documents = [
        gateway_of("gw", [http_server(port=80), http_server(port=81)]),
        virtual_service("webapp", [HOST], [route("webapp", 8080)]),
        service_entry("webapp", [("127.0.0.1", origin.port)]),
    ]
    gateway = start_gateway(documents, ports=[80, 81], options=["--proxy-protocol", "81"])
    assert gateway.get("/", HOST).status == 200
    words = ["--resolve", f"{HOST}:{gateway.port(81)}:127.0.0.1", f"http://{HOST}:{gateway.port(81)}/"]
    answer = curl("--haproxy-protocol", *words)
    assert answer.status == 200 and fields_seen(answer.body.encode())["x-forwarded-for"] == "127.0.0.1"
    assert curl_fails(*words) in (52, 56)
    with pytest.raises(AssertionError):
        curl("--haproxy-protocol", "--fail", "--resolve", f"{HOST}:{gateway.port()}:127.0.0.1", f"http://{HOST}:{gateway.port()}/")
    listeners = json.loads(json.dumps(gateway.admin("/config/plan")))["listeners"]
    assert {listener["port"]: listener["proxy_protocol"] for listener in listeners} == {80: False, 81: True}


def refused(gateway: Gateway) -> dict[str, float]:
    metrics = gateway.metrics()
    names = ("missing", "malformed", "checksum", "timeout")
    return {name: metrics.total("fastgw_rejected_requests_total", reason=f"proxy_header_{name}") for name in names}


def test_connections_without_a_good_header_end(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(annotated(simple(HOST, origin.port)), settings={"hello-timeout": 60})
    impatient = start_gateway(annotated(simple(HOST, origin.port)), settings={"hello-timeout": 0.3})
    request = request_bytes("GET", "/", HOST)
    for sent in (
        request,
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n" + request,
        b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\7\3\0\4abcd" + request,
    ):
        with connect(gateway.port()) as sock:
            sock.sendall(sent)
            assert _rest(sock) == b""
    with connect(impatient.port()) as sock:
        sock.sendall(b"PROXY")
        assert _rest(sock) == b""
    assert refused(gateway) == {"missing": 1, "malformed": 1, "checksum": 1, "timeout": 0}
    assert refused(impatient) == {"missing": 0, "malformed": 0, "checksum": 0, "timeout": 1}
    assert not origin.seen
    with Client(gateway.port()) as client:
        client.send(b"PROXY UNKNOWN\r\n" + request)
        assert client.response().status == 200
    gateway.assert_no_leaks()


def _rest(sock: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: sock.recv(65536), b""))
    except ConnectionResetError:
        return b""
