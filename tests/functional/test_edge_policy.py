"""EdgePolicy from configuration to live traffic: lists of clients and sizes of requests, over HTTP/1.1, HTTP/2 and TCP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire.h2 import data, headers

from .conftest import StartGateway
from .support.client import Client, Disconnected, fetch, request_bytes
from .support.config import Document, destination, gateway_of, http_server, service_entry, text_of, virtual_service
from .support.curl import Answer, curl
from .support.gateway import Gateway, run_cli
from .support.h2_wire import H2Wire
from .support.layer4 import tcp_entry, tcp_route, tcp_server, tcp_service, visit
from .support.log import whole_lines
from .support.origin import RecordingOrigin, ThreadedOrigin, read_head
from .support.poll import eventually
from .support.websocket import WebSocketOrigin, websocket

HOST = "guarded.test"
WEBAPP = [destination("webapp", 8080)]
DENIED = (403, b"RBAC: access denied")
TOO_LARGE = (413, b"Payload Too Large")
LIMIT = 1000


def policy(name: str, *targets: Document, **spec: Any) -> Document:
    refs = [{"kind": "VirtualService", "name": "guarded", **target} for target in targets or ({},)]
    metadata = {"name": name}
    return {
        "apiVersion": "gateway.fastgw.io/v1",
        "kind": "EdgePolicy",
        "metadata": metadata,
        "spec": {"targetRefs": refs, **spec},
    }


def named(name: str, path: str, **rest: Any) -> Document:
    return {"name": name, "match": [{"uri": {"prefix": path}}], **(rest or {"route": WEBAPP})}


def documents(origin: RecordingOrigin, early: ThreadedOrigin, ws: WebSocketOrigin) -> list[Document]:
    cors = {"allowOrigins": [{"exact": "http://a.test"}], "allowMethods": ["GET"]}
    aborts = {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}
    rules = [
        named("inside", "/inside"),
        named("direct", "/direct", directResponse={"status": 200, "body": {"string": "direct"}}),
        named("away", "/away", redirect={"uri": "/elsewhere"}),
        named("cors", "/cors", route=WEBAPP, corsPolicy=cors),
        named("aborted", "/aborted", route=WEBAPP, fault=aborts),
        named("small", "/small"),
        named("large", "/large"),
        named("socket", "/socket", route=[destination("ws", 8080)]),
        named("early", "/early", route=[destination("early", 8080)]),
        named("open", "/open"),
    ]
    inside = [{"routes": ["inside", "direct", "away", "cors", "aborted"]}]
    relayed = tcp_service("relayed", tcp=[tcp_route("tcp.up", port=9000, match=[{"port": 9000}])])
    shut = tcp_service("shut", tcp=[tcp_route("tcp.up", port=9000, match=[{"port": 9001}])])
    return [
        gateway_of("gw", [http_server([HOST]), tcp_server(9000), tcp_server(9001)]),
        virtual_service("guarded", [HOST], rules),
        relayed,
        shut,
        service_entry("webapp", [("127.0.0.1", origin.port)]),
        service_entry("early", [("127.0.0.1", early.port)]),
        service_entry("ws", [("127.0.0.1", ws.port)]),
        tcp_entry("tcp.up", origin.port),
        policy("inside", *inside, sources={"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.1.2.3"]}),
        policy("sizes", {"routes": ["small", "socket", "early"]}, maxRequestBytes=LIMIT),
        policy("whole", {}, maxRequestBytes=100_000),
        policy("large", {"routes": ["large"]}, maxRequestBytes=0),
        policy("gateway", {"kind": "Gateway", "name": "gw"}, sources={"deny": ["192.0.2.0/24"]}),
        policy("shut", {"name": "shut"}, sources={"deny": ["127.0.0.0/8"]}),
    ]


def answer_early(sock: socket.socket) -> None:
    """Begins to answer before the request has ended, and never ends."""
    read_head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    while sock.recv(65536):
        pass


class World:
    def __init__(self, gateway: Gateway, origin: RecordingOrigin, log: Path) -> None:
        self.gateway, self.origin, self._log = gateway, origin, log

    def get(self, target: str, client: str = "10.9.9.9", *headers: str, method: str = "GET", body: bytes | None = None) -> Any:
        return fetch(self.gateway.port(), target, HOST, f"x-forwarded-for: {client}", *headers, method=method, body=body)

    def curl(self, target: str, *words: str, client: str = "10.9.9.9") -> Answer:
        url = f"http://{HOST}:{self.gateway.port()}{target}"
        there = f"{HOST}:{self.gateway.port()}:127.0.0.1"
        return curl("--resolve", there, "-H", f"x-forwarded-for: {client}", *words, url)

    def lines(self) -> list[list[str]]:
        return [json.loads(line) for line in whole_lines(self._log)]

    def logged(self, target: str) -> list[str]:
        """Flags and details of the last request for a target; of a connection its path is "-"."""

        def found() -> list[str] | None:
            return next((line[1:] for line in reversed(self.lines()) if line[0] == target), None)

        return eventually(found, f"a log line for {target}")

    def counted(self, name: str) -> float:
        return self.gateway.metrics().total(f"fastgw_{name}_total")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("edge-policy")
    log = folder / "access.log"
    form = '["%REQ(:PATH)%","%RESPONSE_FLAGS%","%RESPONSE_CODE_DETAILS%"]\n'
    options = ["--access-log", str(log), "--access-log-format", form, "--trusted-hops", "1"]
    with (
        RecordingOrigin("webapp") as origin,
        ThreadedOrigin(answer_early) as early,
        WebSocketOrigin() as ws,
        Gateway(folder, documents(origin, early, ws), ports=[80, 9000, 9001], options=options) as running,
    ):
        yield World(running, origin, log)
        running.assert_no_leaks()
        running.assert_no_bugs()


@pytest.fixture(autouse=True)
def _echo(world: World) -> Iterator[None]:
    yield
    world.origin.answer = world.origin.echo


# --- lists of clients


@pytest.mark.parametrize(
    ("client", "let_in"),
    [
        ("10.0.0.1", True),
        ("10.1.2.3", False),
        ("10.1.2.4", True),
        ("11.0.0.1", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:10.1.2.3", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
    ],
)
def test_the_longest_prefix_decides(world: World, client: str, let_in: bool) -> None:
    mark = world.origin.mark()
    answer = world.get("/inside", client)
    if let_in:
        assert answer.status == 200
    else:
        assert (answer.status, answer.body) == DENIED
        assert not world.origin.since(mark)


def test_i14_details_of_a_client_that_is_kept_out(world: World) -> None:
    before = world.counted("sources_denied")
    world.get("/inside/named", "10.1.2.3")
    assert world.logged("/inside/named") == ["-", "rbac_access_denied_matched_policy[default/inside]"]
    world.get("/inside/unnamed", "11.0.0.1")
    assert world.logged("/inside/unnamed") == ["-", "rbac_access_denied_matched_policy[none]"]
    assert world.counted("sources_denied") == before + 2


@pytest.mark.parametrize(("target", "status"), [("/direct", 200), ("/away", 301), ("/aborted", 418)])
def test_lists_come_before_all_that_a_route_does(world: World, target: str, status: int) -> None:
    assert world.get(target).status == status
    answer = world.get(target, "11.0.0.1")
    assert (answer.status, answer.body) == DENIED


def test_lists_come_before_cors(world: World) -> None:
    asked = ["origin: http://a.test", "access-control-request-method: GET"]
    assert world.get("/cors", "10.9.9.9", *asked, method="OPTIONS").value("access-control-allow-origin") == "http://a.test"
    answer = world.get("/cors", "11.0.0.1", *asked, method="OPTIONS")
    assert (answer.status, answer.value("access-control-allow-origin")) == (403, None)


def test_lists_of_the_gateway_hold_on_every_route_and_without_one(world: World) -> None:
    for target in ("/inside", "/open", "/nothing-there"):
        assert world.get(target, "192.0.2.7").status == 403
    assert [world.get(target, "198.51.100.7").status for target in ("/open", "/nothing-there")] == [200, 404]


def test_lists_over_http2(world: World) -> None:
    assert world.curl("/inside", "--http2-prior-knowledge").status == 200
    answer = world.curl("/inside", "--http2-prior-knowledge", client="10.1.2.3")
    assert (answer.status, answer.body) == (403, "RBAC: access denied")


def test_a_grpc_call_that_is_kept_out(world: World) -> None:
    words = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers", "-X", "POST"]
    answer = world.curl("/inside", *words, client="11.0.0.1")
    assert (answer.status, answer.headers["grpc-status"]) == (200, "7")


def test_connections_that_are_relayed(world: World) -> None:
    before = world.counted("sources_denied")
    with Client(world.gateway.port(9000)) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert client.response().status == 200
    assert visit(world.gateway.port(9001)) == (b"", "reset")
    eventually(lambda: world.counted("sources_denied") == before + 1, "the connection is counted")
    eventually(lambda: ["-", "-", "rbac_access_denied_matched_policy[default/shut]"] in world.lines(), "the connection is logged")


# --- sizes of requests


def chunked(target: str, *sizes: int) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nhost: {HOST}\r\nx-forwarded-for: 10.9.9.9\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in sizes)


def test_i20_a_length_that_is_too_large(world: World) -> None:
    before, mark = world.counted("request_bodies_refused"), world.origin.mark()
    assert world.get("/small/fits", method="POST", body=b"x" * LIMIT).status == 200
    answer = world.get("/small/length", method="POST", body=b"x" * (LIMIT + 1))
    assert (answer.status, answer.body) == TOO_LARGE
    assert world.logged("/small/length") == ["-", "request_payload_too_large"]
    assert len(world.origin.since(mark)) == 1
    assert world.counted("request_bodies_refused") == before + 1


def test_the_most_specific_limit_counts(world: World) -> None:
    assert world.get("/open", method="POST", body=b"x" * 100_001).status == 413
    assert world.get("/open", method="POST", body=b"x" * 100_000).status == 200
    assert world.get("/large", method="POST", body=b"x" * 200_000).status == 200


def test_a_client_that_waits_for_100_is_told_413(world: World) -> None:
    with Client(world.gateway.port()) as client:
        head = request_bytes("POST", "/small", HOST, ["x-forwarded-for: 10.9.9.9", "content-length: 1001", "expect: 100-continue"])
        client.send(head)
        assert client.response("POST").status == 413


def test_what_follows_a_refused_body_is_no_request(world: World) -> None:
    """Its bytes are skipped, or the connection ends."""
    told = ["x-forwarded-for: 10.9.9.9"]
    inner = request_bytes("GET", "/inner", HOST, told)
    body = inner + b"x" * (LIMIT + 1 - len(inner))
    mark = world.origin.mark()
    with Client(world.gateway.port()) as client:
        client.send(request_bytes("POST", "/small", HOST, told, body) + request_bytes("GET", "/open", HOST, told))
        assert client.response("POST").status == 413
        try:
            assert client.response().status == 200
        except Disconnected as ended:
            assert ended.partial is None
    assert all(seen.message.target != "/inner" for seen in world.origin.since(mark))


def test_chunks_that_become_too_much(world: World) -> None:
    with Client(world.gateway.port()) as client:
        client.send(chunked("/small/chunks", 600))
        eventually(lambda: any("/small/chunks" in str(request) for _, request in world.origin.partials()), "the upstream has begun")
        client.send(b"%x\r\n%s\r\n" % (401, b"x" * 401))
        answer = client.response("POST")
    assert (answer.status, answer.body) == TOO_LARGE
    assert world.logged("/small/chunks") == ["-", "request_payload_too_large"]
    eventually(lambda: all(one.ended for one, _ in world.origin.partials()), "the upstream sees the end of an unfinished request")


def test_chunks_at_the_limit(world: World) -> None:
    with Client(world.gateway.port()) as client:
        client.send(chunked("/small/edge", 600, 400, 0))
        assert client.response("POST").status == 200


def test_an_answer_that_has_begun_is_cut(world: World) -> None:
    with Client(world.gateway.port()) as client:
        client.send(chunked("/early", 600))
        eventually(lambda: client.pull() and b"hello" in client.received, "the answer has begun")
        client.send(b"%x\r\n%s\r\n" % (401, b"x" * 401))
        with pytest.raises(Disconnected):
            client.response("POST")
    assert world.logged("/early") == ["-", "request_payload_too_large"]


def test_a_websocket_may_say_as_much_as_it_likes(world: World) -> None:
    with websocket(world.gateway.port(), HOST, "/socket") as talk:
        talk.send(b"x" * (10 * LIMIT))
        assert talk.recv() == b"x" * (10 * LIMIT)


@pytest.mark.parametrize("length", [(b"content-length", b"1001"), None], ids=["with a length", "without one"])
def test_sizes_over_http2(world: World, length: tuple[bytes, bytes] | None) -> None:
    path = "/small/told" if length else "/small/untold"
    fields = [(b"x-forwarded-for", b"10.9.9.9"), *([length] if length else [])]
    with H2Wire(socket.create_connection(("127.0.0.1", world.gateway.port())), "http", HOST) as wire:
        wire.start()
        for stream, sizes in ((1, (600, 401)), (3, (600, 400))):
            more, target = (fields, path) if stream == 1 else (fields[:1], "/small")
            wire.send(headers(stream, wire.request(*more, method=b"POST", path=target.encode()), end=False))
            wire.send(data(stream, b"x" * sizes[0]), data(stream, b"x" * sizes[1], end=True))
            wire.read_until(lambda stream=stream: wire.answered(stream))  # type: ignore[misc]
        assert [wire.status(1), wire.status(3)] == [413, 200]
    assert world.logged(path) == ["-", "request_payload_too_large"]


# --- what is said of it


def test_explain_names_the_guards(world: World, tmp_path: Path) -> None:
    config = str(world.gateway.config)
    done = run_cli("explain", config, "GET", f"http://{HOST}/inside", "-o", "json", "--source-ip", "10.1.2.3")
    told = json.loads(done.stdout)
    assert (told["action"], told["status"]) == ("denied", 403)
    assert told["guards"] == [
        "clients of default/gateway: all, not 192.0.2.0/24",
        "clients of default/inside: 10.0.0.0/8, 2001:db8::/32, not 10.1.2.3/32",
        "request body: at most 100000 bytes",
    ]
    done = run_cli("explain", config, "GET", f"http://{HOST}/inside", "--source-ip", "10.1.2.4")
    assert "guard:        request body: at most 100000 bytes" in done.stdout
    done = run_cli("explain", config, "GET", f"http://{HOST}/nothing", "--source-ip", "192.0.2.1")
    assert "403: default/gateway lets no client of 192.0.2.1 in" in done.stdout


def test_proxy_config_names_the_guards(world: World) -> None:
    done = run_cli("proxy-config", "routes", str(world.gateway.config), "-o", "json")
    assert '"clients of default/inside: 10.0.0.0/8, 2001:db8::/32, not 10.1.2.3/32"' in done.stdout


def test_a_policy_comes_and_goes_while_traffic_flows(world: World) -> None:
    late = policy("late", {"routes": ["open"]}, sources={"deny": ["10.7.0.0/16"]})
    assert world.get("/open", "10.7.0.1").status == 200
    path = world.gateway.write("late.yaml", [late])
    eventually(lambda: world.get("/open", "10.7.0.1").status == 403, "the policy holds")
    assert world.get("/open", "10.8.0.1").status == 200
    path.unlink()
    eventually(lambda: world.get("/open", "10.7.0.1").status == 200, "the policy is gone")


def test_check_names_the_place(tmp_path: Path) -> None:
    wrong = policy("wrong", {"name": "none"}, sources={"allow": ["10.0.0.0/8"]})
    (tmp_path / "wrong.yaml").write_text(text_of([wrong]))
    done = run_cli("check", str(tmp_path))
    assert "wrong.yaml:8" in done.stdout + done.stderr
    assert "IST0101" in done.stdout + done.stderr


@pytest.mark.parametrize("via", ["proxy protocol", "trusted proxy"])
def test_lists_see_the_client_behind_a_proxy(start_gateway: StartGateway, origin: RecordingOrigin, via: str) -> None:
    front = gateway_of("gw", [http_server([HOST]), tcp_server(9000)])
    if via == "proxy protocol":
        front["metadata"]["annotations"] = {"gateway.fastgw.io/proxy-protocol": "true"}
    running = start_gateway(
        [
            front,
            virtual_service("guarded", [HOST], [named("open", "/")]),
            tcp_service("relayed", tcp=[tcp_route("tcp.up", port=9000, match=[{"port": 9000}])]),
            service_entry("webapp", [("127.0.0.1", origin.port)]),
            tcp_entry("tcp.up", origin.port),
            policy("gateway", {"kind": "Gateway", "name": "gw"}, sources={"deny": ["192.0.2.0/24"]}),
        ],
        ports=[80, 9000],
        options=["--trusted-proxies", "127.0.0.0/8"] if via == "trusted proxy" else [],
    )
    for address, status in (("192.0.2.1", 403), ("198.51.100.1", 200)):
        header = f"PROXY TCP4 {address} 203.0.113.1 1000 80\r\n".encode() if via == "proxy protocol" else b""
        told = [] if header else [f"x-forwarded-for: {address}"]
        with Client(running.port(80)) as client:
            client.send(header + request_bytes("GET", "/", HOST, told))
            assert client.response().status == status
        if header:
            with Client(running.port(9000)) as client:
                client.send(header + request_bytes("GET", "/", HOST))
                if status == 200:
                    assert client.response().status == 200
                else:
                    assert client.wait_closed() and not client.received
