"""Single health checks against real servers: HTTP/1.1 and HTTP/2, gRPC's own server, TLS, and servers that are none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from fastgw.credentials.block import write_block
from fastgw.credentials.content import Content
from fastgw.model.plan import HealthCheck, UpstreamTls
from fastgw.supervisor import memfd
from fastgw.supervisor.health_probe import Asked, Failed, health_answer, health_request, probe
from fastgw.supervisor.health_tls import ClientContexts, NotVerified

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "credentials"))
from pki import Party

HTTP = HealthCheck("http", "/healthz", timeout_ms=20_000)
GRPC = HealthCheck("grpc", timeout_ms=20_000)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that handles each connection so, and closes it afterwards."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answering(data: bytes, seen: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(data)
        await writer.drain()

    return handle


def result(handler: Handler, check: HealthCheck = HTTP, **more: object) -> str:
    async def main() -> str:
        async with serving(handler) as port:
            return await probe(Asked("127.0.0.1", port, check, "app.test", **more))  # type: ignore[arg-type]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("head", "expected", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ((200, 299),), ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ((200, 299),), ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ((200, 299),), ""),
        (b"HTTP/1.0 200 OK\r\n\r\n", ((200, 299),), ""),
        (b"HTTP/1.1 500 Oops\r\n\r\n", ((200, 299),), "status 500, wanted 200-299"),
        (b"HTTP/1.1 401 No\r\n\r\n", ((200, 299), (401, 401)), ""),
        (b"HTTP/1.1 404 No\r\n\r\n", ((200, 299), (401, 401)), "status 404, wanted 200-299,401"),
    ],
)
def test_http_is_well_when_the_status_is_expected(head: bytes, expected: tuple[tuple[int, int], ...], error: str) -> None:
    check = HealthCheck("http", "/healthz", expected=expected, timeout_ms=20_000)
    assert result(answering(head), check) == error


def test_what_http_asks() -> None:
    seen: list[bytes] = []
    assert result(answering(b"HTTP/1.1 200 OK\r\n\r\n", seen)) == ""
    assert seen[0].split(b"\r\n")[0] == b"GET /healthz HTTP/1.1"
    assert b"Host: app.test\r\n" in seen[0] and b"User-Agent: fastgw-health-check\r\n" in seen[0]


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9000])
def test_what_does_not_speak_http(data: bytes) -> None:
    assert result(answering(data)).startswith("the answer is not HTTP: ")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def test_servers_that_do_not_answer() -> None:
    assert result(hang_up) != ""
    check = HealthCheck("http", "/healthz", timeout_ms=100)
    assert result(say_nothing, check) == "no answer within 0.1 s"
    assert result(hang_up, GRPC) == "the connection was closed without an answer"


@pytest.mark.parametrize("flood", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"])
def test_a_flood_is_not_read_to_its_end(flood: bytes) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(flood * 100)
            sent += len(flood) * 100
            await writer.drain()

    assert result(pour) == "an answer of more than 65536 bytes"
    assert sent < 16 << 20


def test_pings_without_end() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        while True:
            connection.ping(b"12345678")
            writer.write(connection.data_to_send())
            await writer.drain()

    assert result(pour, GRPC, http2=True) == "an answer of more than 65536 bytes"


def test_a_port_that_nobody_listens_on() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        for check in (HTTP, GRPC, HealthCheck("tcp")):
            error = asyncio.run(probe(Asked("127.0.0.1", held.getsockname()[1], check, "app.test")))
            assert "refused" in error or "connect call failed" in error.lower()


def test_tcp_wants_a_connection_and_no_more() -> None:
    assert result(say_nothing, HealthCheck("tcp")) == ""


def test_unix_sockets(tmp_path: Path) -> None:
    async def main() -> str:
        server = await asyncio.start_unix_server(answering(b"HTTP/1.1 200 OK\r\n\r\n"), str(tmp_path / "s"))
        async with server:
            return await probe(Asked(f"unix:{tmp_path}/s", 0, HTTP, "app.test"))

    assert asyncio.run(main()) == ""
    assert asyncio.run(probe(Asked(f"unix:{tmp_path}/none", 0, HTTP, "app.test"))) == "no such file or directory"


def http2(*answers: tuple[str, str], reset: bool = False, goaway: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        asked = False
        while not asked:
            events = connection.receive_data(await reader.read(65536))
            asked = any(isinstance(event, h2.events.StreamEnded) for event in events)
        if reset:
            connection.reset_stream(1, 8)
        elif goaway:
            connection.close_connection(11)
        else:
            connection.send_headers(1, list(answers), end_stream=True)
        writer.write(connection.data_to_send())
        await writer.drain()

    return handle


def test_http2_without_a_choice() -> None:
    assert result(http2((":status", "200")), http2=True) == ""
    assert result(http2((":status", "503")), http2=True) == "status 503, wanted 200-299"
    assert result(http2(reset=True), http2=True) == "the stream was reset (8)"
    assert result(http2(goaway=True), http2=True) == "the connection was ended (GOAWAY 11)"
    assert result(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), http2=True) == "the connection was closed without an answer"


def test_grpc_health() -> None:
    async def main() -> None:
        servicer = health.aio.HealthServicer()
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()

        async def ask(service: str = "") -> str:
            check = HealthCheck("grpc", service=service, timeout_ms=20_000)
            return await probe(Asked("127.0.0.1", port, check, "app.test", http2=True))

        serving_status = health_pb2.HealthCheckResponse.ServingStatus
        await servicer.set("", serving_status.SERVING)
        await servicer.set("shop.Cart", serving_status.NOT_SERVING)
        await servicer.set("x" * 200, serving_status.SERVING)
        assert await ask() == ""
        assert await ask("shop.Cart") == "NOT_SERVING, wanted SERVING"
        assert await ask("x" * 200) == ""
        assert (await ask("nobody")).startswith("grpc-status 5")
        await servicer.set("shop.Cart", serving_status.SERVING)
        assert await ask("shop.Cart") == ""
        await server.stop(None)

    asyncio.run(main())


def test_a_grpc_server_without_the_health_service() -> None:
    async def main() -> str:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            return await probe(Asked("127.0.0.1", port, GRPC, "app.test", http2=True))
        finally:
            await server.stop(None)

    assert asyncio.run(main()).startswith("grpc-status 12")


@given(service=st.text(max_size=300))
def test_the_grpc_question_is_protobuf(service: str) -> None:
    assert health_pb2.HealthCheckRequest.FromString(health_request(service)).service == service


@given(status=st.integers(0, 2**31 - 1))
def test_the_grpc_answer_is_protobuf(status: int) -> None:
    message = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    assert health_answer(b"\0" + len(message).to_bytes(4, "big") + message) == status


@given(body=st.binary(max_size=40))
def test_strange_grpc_answers_are_failures(body: bytes) -> None:
    for answer in (body, b"\0" + len(body).to_bytes(4, "big") + body):
        try:
            assert health_answer(answer) >= 0
        except Failed:
            continue


# --- TLS ---


class World:
    """A server's certificate and what a gateway knows."""

    def __init__(self, tmp_path: Path, name: str = "app.test") -> None:
        self.ca, self.other = Party("ca.test"), Party("other.test")
        self.server = Party(name, self.ca)
        client = Party("gateway.test", self.ca)
        block = write_block(
            {
                "ca": Content(ca=self.ca.pem),
                "other": Content(ca=self.other.pem),
                "crl": Content(ca=self.ca.pem, crl=self.ca.crl(9)),
                "mine": Content(chain=client.chain, key=client.key),
            }
        )
        self.fd = memfd.make_sealed("block", bytes(block))
        self.contexts = ClientContexts(lambda: self.fd)
        (tmp_path / "chain").write_bytes(self.server.chain)
        (tmp_path / "key").write_bytes(self.server.key)
        (tmp_path / "ca").write_bytes(self.ca.pem)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(tmp_path / "chain", tmp_path / "key")
        self.tls.load_verify_locations(tmp_path / "ca")

    def check(self, settings: UpstreamTls, http2_only: bool = False, http2_server: bool = False) -> str:
        speaks_http2 = http2_only or http2_server
        handler = http2((":status", "200")) if speaks_http2 else answering(b"HTTP/1.1 200 OK\r\n\r\n")

        async def main() -> str:
            async with serving(handler, self.tls) as port:
                try:
                    context = self.contexts.find(settings, "app.test", http2_only)
                except NotVerified as error:
                    return str(error)
                return await probe(Asked("127.0.0.1", port, HTTP, "app.test", http2_only, context))

        return asyncio.run(main())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        UpstreamTls(ca="ca"),
        UpstreamTls(ca="crl"),
        UpstreamTls(ca="ca", sni="app.test"),
        UpstreamTls(ca="ca", sni="else.test", sans=("spare.test", "app.test")),
        UpstreamTls(ca="ca", verify="chain", sni="else.test"),
        UpstreamTls(ca="", verify="none"),
    ],
)
def test_tls_as_the_destination_rule_says(world: World, settings: UpstreamTls) -> None:
    assert world.check(settings) == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (UpstreamTls(ca="other"), "self-signed certificate|unable to get local issuer certificate"),
        (UpstreamTls(), "self-signed certificate|unable to get local issuer certificate"),
        (UpstreamTls(ca="ca", sni="else.test"), "Hostname mismatch"),
        (UpstreamTls(ca="ca", sans=("else.test",)), "none of the subjectAltNames"),
        (UpstreamTls(ca="nobody"), "no usable CA in nobody"),
        (UpstreamTls(ca="ca", certificate="nobody"), "no usable certificate in nobody"),
    ],
)
def test_tls_that_requests_would_not_get_either(world: World, settings: UpstreamTls, words: str) -> None:
    error = world.check(settings)
    assert error.startswith("TLS: ") and any(part in error for part in words.split("|")), error


def test_a_certificate_is_shown(world: World) -> None:
    world.tls.verify_mode = ssl.CERT_REQUIRED
    assert world.check(UpstreamTls(ca="ca", certificate="mine")) == ""
    assert world.check(UpstreamTls(ca="ca")) != ""


def test_http2_over_tls(world: World) -> None:
    world.tls.set_alpn_protocols(["h2"])
    assert world.check(UpstreamTls(ca="ca"), http2_only=True) == ""
    assert world.check(UpstreamTls(ca="ca", alpn=("h2", "http/1.1")), http2_server=True) == "", "agreed on"


def test_grpc_over_tls(world: World, tmp_path: Path) -> None:
    async def main() -> str:
        servicer, server = health.aio.HealthServicer(), grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        pair = ((tmp_path / "key").read_bytes(), (tmp_path / "chain").read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        await server.start()
        try:
            context = world.contexts.find(UpstreamTls(ca="ca"), "app.test", True)
            return await probe(Asked("127.0.0.1", port, GRPC, "app.test", True, context))
        finally:
            await server.stop(None)

    assert asyncio.run(main()) == ""


def test_plain_text_where_tls_is_wanted(world: World) -> None:
    async def main() -> str:
        async with serving(hang_up) as port:
            context = world.contexts.find(UpstreamTls(ca="ca"), "app.test", False)
            return await probe(Asked("127.0.0.1", port, HTTP, "app.test", tls=context))

    assert asyncio.run(main()) != ""


def test_contexts_are_kept_until_their_credentials_change(world: World) -> None:
    settings = UpstreamTls(ca="ca")
    first = world.contexts.find(settings, "app.test", False).context
    assert world.contexts.find(settings, "other.test", False).context is first
    world.fd = memfd.make_sealed("block", bytes(write_block({"ca": Content(ca=world.other.pem)})))
    assert world.contexts.find(settings, "app.test", False).context is not first


@pytest.mark.parametrize(
    ("wanted", "shown", "good"),
    [
        ("a.test", ("DNS", "a.test"), True),
        ("A.test", ("DNS", "*.test"), False),
        ("x.a.test", ("DNS", "*.a.test"), True),
        ("y.x.a.test", ("DNS", "*.a.test"), False),
        ("spiffe://td/ns/a", ("URI", "spiffe://td/ns/a"), True),
        ("::1", ("IP Address", "0:0:0:0:0:0:0:1\n"), True),
        ("a.test", ("IP Address", "10.0.0.1"), False),
    ],
)
def test_names_of_certificates(world: World, wanted: str, shown: tuple[str, str], good: bool) -> None:
    context = world.contexts.find(UpstreamTls(ca="ca", sans=(wanted,)), "app.test", False)
    if good:
        context.verify_names({"subjectAltName": (shown,)})
    else:
        with pytest.raises(NotVerified):
            context.verify_names({"subjectAltName": (shown,)})
