"""HTTP/1.1 on both sides: framings, persistence, interim answers, versions."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.client import Client, request_bytes
from .support.config import simple
from .support.curl import curl
from .support.gateway import Gateway
from .support.http1 import CHUNKED, NONE, UNTIL_CLOSE
from .support.origin import RecordingOrigin, Reply, ok

HOST = "webapp.test"


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_a_connection_serves_many_requests(web: Gateway) -> None:
    with web.client() as client:
        for i in range(20):
            assert json.loads(client.get(f"/n{i}", HOST).body)["target"] == f"/n{i}"


def test_pipelined_answers_come_in_order(web: Gateway) -> None:
    with web.client() as client:
        client.send(b"".join(request_bytes("GET", f"/p{i}", HOST) for i in range(50)))
        assert [json.loads(client.response().body)["target"] for _ in range(50)] == [f"/p{i}" for i in range(50)]


def test_order_holds_when_the_first_answer_is_slow(web: Gateway, shared_origin: RecordingOrigin) -> None:
    def answer(seen):  # type: ignore[no-untyped-def]
        late = [(b"", 0.2), (shared_origin.echo(seen), 0)]
        return Reply(segments=late) if seen.message.target == "/slow" else shared_origin.echo(seen)

    shared_origin.answer = answer
    with web.client() as client:
        client.send(request_bytes("GET", "/slow", HOST) + request_bytes("GET", "/fast", HOST))
        assert [json.loads(client.response().body)["target"] for _ in range(2)] == ["/slow", "/fast"]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65536, 1_000_000])
def test_bodies_with_a_length(web: Gateway, shared_origin: RecordingOrigin, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    shared_origin.answer = lambda seen: ok(bytes(seen.message.body))
    with web.client() as client:
        client.send_segments([(request_bytes("POST", "/up", HOST, body=body), 0)])
        assert bytes(client.response().body) == body
        assert client.get("/next", HOST).status == 200


@pytest.mark.parametrize("sizes", [[1], [1] * 50, [70_000], [4096, 1, 65_536, 3], []])
def test_chunked_bodies(web: Gateway, shared_origin: RecordingOrigin, sizes: list[int]) -> None:
    pieces = [bytes([65 + i % 26]) * n for i, n in enumerate(sizes)]
    shared_origin.answer = lambda seen: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks(*([bytes(seen.message.body)] if seen.message.body else []))
    )
    with web.client() as client:
        head = f"POST /up HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        client.send_segments([(head + chunks(*pieces), 0)])
        answer = client.response()
        assert bytes(answer.body) == b"".join(pieces)
        assert client.get("/next", HOST).status == 200


def test_chunk_boundaries_and_extensions_of_the_upstream_do_not_matter(web: Gateway, shared_origin: RecordingOrigin) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n03\r\nllo\r\n0;x\r\nX-Trailer: 1\r\n\r\n"
    shared_origin.answer = lambda seen: Reply(segments=[(raw[i : i + 1], 0.001) for i in range(len(raw))])
    with web.client() as client:
        answer = client.get("/", HOST)
        assert (answer.text, answer.framing) == ("hello", CHUNKED)
        assert b";a=b" not in answer.raw


def test_an_answer_until_close(web: Gateway, shared_origin: RecordingOrigin) -> None:
    shared_origin.answer = lambda seen: Reply(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end", close=True)
    with web.client() as client:
        answer = client.get("/", HOST)
        assert answer.text == "until the end"
        assert answer.framing in (CHUNKED, UNTIL_CLOSE)
        if answer.framing == CHUNKED:
            assert client.get("/next", HOST).text == "until the end"


@pytest.mark.parametrize(
    "status",
    ["200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "500 Internal Server Error", "299 Odd", "418 I'm a teapot"],
)
def test_statuses_pass_and_keep_the_connection(web: Gateway, shared_origin: RecordingOrigin, status: str) -> None:
    code = int(status[:3])
    shared_origin.answer = lambda seen: (
        f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode() if code in (204, 304) else ok(b"body", status=status)
    )
    with web.client() as client:
        for _ in range(3):
            answer = client.get("/", HOST)
            assert (answer.status, answer.text) == (code, "" if code in (204, 304) else "body")


def test_head_has_the_fields_of_get_and_no_body(web: Gateway, shared_origin: RecordingOrigin) -> None:
    shared_origin.answer = lambda seen: ok(b"x" * 1234)
    with web.client() as client:
        answer = client.request(request_bytes("HEAD", "/", HOST))
        assert (answer.value("content-length"), answer.framing) == ("1234", NONE)
        assert len(client.get("/", HOST).body) == 1234
        assert client.rest() == b""


def test_early_hints_are_relayed_before_the_answer(web: Gateway, shared_origin: RecordingOrigin) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    shared_origin.answer = lambda seen: Reply(segments=[(hints, 0.05), (ok(b"done"), 0)])
    with web.client() as client:
        answer = client.get("/", HOST)
        assert answer.text == "done"
        assert [(i.status, i.value("link")) for i in answer.interim] == [(103, "</a.css>; rel=preload")]


def test_expect_100_continue_is_answered_before_the_body(web: Gateway) -> None:
    with web.client() as client:
        client.send(f"POST /e HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        interim = client.socket.recv(4096)
        assert interim.startswith(b"HTTP/1.1 100 ") and interim.endswith(b"\r\n\r\n")
        client.send(b"hello")
        assert json.loads(client.response("POST").body)["body"] == "hello"


def test_curl_uploads_with_expect(web: Gateway, shared_origin: RecordingOrigin, tmp_path: Path) -> None:
    shared_origin.answer = lambda seen: ok(str(len(seen.message.body)).encode())
    file = tmp_path / "upload"
    file.write_bytes(b"z" * 3_000_000)
    answer = curl(
        "-H", f"Host: {HOST}", "-H", "Expect: 100-continue", "--data-binary", f"@{file}", f"http://127.0.0.1:{web.port()}/"
    )
    assert (answer.status, answer.body) == (200, "3000000")


def test_curl_uploads_chunked(web: Gateway, shared_origin: RecordingOrigin, tmp_path: Path) -> None:
    shared_origin.answer = lambda seen: ok(str(len(seen.message.body)).encode())
    file = tmp_path / "upload"
    file.write_bytes(b"z" * 300_000)
    answer = curl("-H", f"Host: {HOST}", "-H", "Transfer-Encoding: chunked", "-T", str(file), f"http://127.0.0.1:{web.port()}/")
    assert (answer.status, answer.body) == (200, "300000")


def test_an_early_answer_ends_the_upload(web: Gateway, shared_origin: RecordingOrigin) -> None:
    shared_origin.on_head = lambda connection, message: Reply(ok(b"no", status="413 Content Too Large"), close=True)
    with web.client() as client:
        client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n" + "x" * 5000)
        assert client.response("POST").status == 413
        assert client.wait_closed()


def test_connection_close_is_honoured(web: Gateway) -> None:
    with web.client() as client:
        answer = client.get("/", HOST, "Connection: close")
        assert (answer.value("connection") or "").lower() == "close"
        assert client.wait_closed()


def test_http10_is_refused_with_426(web: Gateway, shared_origin: RecordingOrigin) -> None:
    mark = shared_origin.mark()
    with web.client() as client:
        answer = client.request(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n")
        assert (answer.status, answer.text) == (426, "")
        assert client.wait_closed()
    assert not shared_origin.since(mark)


def test_http10_is_served_when_switched_on(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), options=["--http10"])
    origin.answer = lambda seen: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"hello ", b"old world")
    with gateway.client() as client:
        answer = client.request(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n")
        assert (answer.status, answer.text) == (200, "hello old world")
        assert not answer.values("transfer-encoding"), "HTTP/1.0 knows no chunks"
        assert client.wait_closed()
    answer_curl = curl("--http1.0", "-H", f"Host: {HOST}", f"http://127.0.0.1:{gateway.port()}/")
    assert answer_curl.body == "hello old world"
    origin.answer = lambda seen: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(b"body")
    with gateway.client() as client:
        answer = client.request(f"POST / HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi")
        assert (answer.text, answer.interim) == ("body", []), "HTTP/1.0 knows no interim answers"
    with gateway.client() as client:
        for _ in range(2):
            answer = client.request(f"GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n")
            assert answer.text == "body"
            if (answer.value("connection") or "").lower() == "close":
                assert client.wait_closed()
                return
            assert (answer.value("connection") or "").lower() == "keep-alive"


@pytest.mark.parametrize("upgrade", ["foo/2", "websocket, foo/2", "TLS/1.0"])
def test_upgrades_other_than_websocket_are_403(web: Gateway, shared_origin: RecordingOrigin, upgrade: str) -> None:
    mark = shared_origin.mark()
    with web.client() as client:
        answer = client.get(
            "/",
            HOST,
            "Connection: Upgrade",
            f"Upgrade: {upgrade}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert answer.status == 403
    assert not shared_origin.since(mark)


def test_many_connections_at_once(web: Gateway) -> None:
    clients = [Client(web.port()) for _ in range(200)]
    try:
        for i, client in enumerate(clients):
            client.send(request_bytes("GET", f"/c{i}", HOST))
        assert [json.loads(client.response().body)["target"] for client in clients] == [f"/c{i}" for i in range(200)]
    finally:
        for client in clients:
            client.close()


def test_many_threads_of_keep_alive_clients(web: Gateway) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        with web.client() as client:
            for i in range(50):
                got = json.loads(client.get(f"/t{number}-{i}", HOST).body)["target"]
                if got != f"/t{number}-{i}":
                    wrong.append(got)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
