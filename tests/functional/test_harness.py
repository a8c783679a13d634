"""The harness judges what others do, so it is judged first: wrong behaviour must not pass."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from .support.cases import Bench, Case, Observation, complete_requests, judge, load, observe
from .support.client import Client, Disconnected
from .support.http1 import Malformed, Message, request_reader
from .support.metrics import Metrics
from .support.origin import RecordingOrigin, Seen, ok

CASES = {case.id: case for case in load(Path(__file__).with_name("data") / "reliability_cases.jsonl")}


def seen_request(raw: bytes, sequence: int = 1) -> Seen:
    found: list[Message] = []
    request_reader(found.append).feed(raw)
    return Seen(sequence, 1, found[0])  # type: ignore[arg-type]


GOOD = (
    b"GET / HTTP/1.1\r\nhost: webapp.test\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n"
    b"x-request-id: 11111111-2222-4333-8444-555555555555\r\n\r\n"
)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_the_reader_is_strict(raw: bytes) -> None:
    with pytest.raises(Malformed):
        request_reader(lambda message: None).feed(raw)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_the_reader_takes_any_segmentation(step: int) -> None:
    raw = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n\r\n"
    raw += b"PUT /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /c HTTP/1.1\r\n\r\n"
    found: list[Message] = []
    reader = request_reader(found.append)
    for start in range(0, len(raw), step):
        reader.feed(raw[start : start + step])
    assert [bytes(m.body) for m in found] == [b"hello", b"abc", b""]
    assert b"".join(bytes(m.raw) for m in found) == raw
    assert complete_requests(raw) == 3


def wrong(case: str, observation: Observation) -> list[str]:
    return judge(CASES[case], observation)


def answer_for(sequence: int, status: int = 200):  # type: ignore[no-untyped-def]
    from .support.http1 import make_response

    response = make_response(f"HTTP/1.1 {status} X".encode())
    response.fields = [(b"x-seq", str(sequence).encode())] if sequence else []
    response.complete = True
    return response


def test_a_forward_is_judged() -> None:
    right = Observation(responses=[answer_for(1)], upstream=[seen_request(GOOD)], follow=answer_for(2))
    assert wrong("base-01-get", right) == []
    assert wrong("base-01-get", Observation(responses=[answer_for(1)], upstream=[seen_request(GOOD)]))
    assert wrong("base-01-get", Observation(responses=[answer_for(9)], upstream=[seen_request(GOOD)], follow=answer_for(2)))
    assert wrong("base-01-get", Observation(responses=[], upstream=[seen_request(GOOD)], ended="eof"))
    assert wrong("base-01-get", Observation(responses=[answer_for(1)], upstream=[seen_request(GOOD)] * 2, follow=answer_for(2)))
    assert wrong(
        "base-01-get", Observation(responses=[answer_for(1)], upstream=[seen_request(GOOD)], follow=answer_for(2), admin=1)
    )
    assert wrong(
        "base-01-get", Observation(responses=[answer_for(1)], upstream=[seen_request(GOOD)], follow=answer_for(2), faults=["x"])
    )
    for spoiled in (b"x_y: 1\r\n", b"upgrade: h2c\r\n", b"host: b\r\n", b"te: gzip\r\n", b"X-Upper: 1\r\n"):
        head = GOOD[:-2] + spoiled + b"\r\n"
        assert wrong("base-01-get", Observation(responses=[answer_for(1)], upstream=[seen_request(head)], follow=answer_for(2))), (
            spoiled
        )
    without = GOOD.replace(b"x-forwarded-for: 127.0.0.1\r\n", b"")
    assert wrong("base-01-get", Observation(responses=[answer_for(1)], upstream=[seen_request(without)], follow=answer_for(2)))


def test_a_refusal_is_judged() -> None:
    case = "hdr-01-space-colon"
    assert wrong(case, Observation(responses=[answer_for(0, 400)], ended="eof")) == []
    assert wrong(case, Observation(responses=[answer_for(0, 400)]))
    assert wrong(case, Observation(responses=[answer_for(0, 404)], ended="eof"))
    assert wrong(case, Observation(ended="eof"))
    assert wrong(case, Observation(responses=[answer_for(0, 400)] * 2, ended="eof"))
    assert wrong(case, Observation(responses=[answer_for(0, 400)], ended="eof", upstream=[seen_request(GOOD)]))
    assert wrong(case, Observation(responses=[answer_for(1)], ended="eof", upstream=[seen_request(GOOD)]))


def test_a_refused_body_is_judged() -> None:
    case = "chunk-24-size-nonhex"
    assert wrong(case, Observation(responses=[answer_for(0, 400)], ended="eof")) == []
    assert wrong(case, Observation(responses=[answer_for(0, 400)], ended="eof", upstream=[seen_request(GOOD)]))
    assert wrong(case, Observation(responses=[answer_for(0, 400)], ended="eof", still_open=[1]))


def test_evil_without_an_answer_is_judged() -> None:
    evil = seen_request(GOOD.replace(b"GET / ", b"GET /evil "), 2)
    both = [seen_request(GOOD, 1), evil]
    assert wrong("expect-04-100-nobody-pipe", Observation(responses=[answer_for(1), answer_for(2)], upstream=both)) == []
    assert wrong("expect-04-100-nobody-pipe", Observation(responses=[answer_for(1)], upstream=both))


class NaiveProxy:
    """Copies bytes to the upstream and back: what a gateway must not be."""

    def __init__(self, upstream_port: int):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.upstream_port = upstream_port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self.upstream_port))
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return
        finally:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


@pytest.mark.parametrize(
    "case",
    [
        "line-01-bare-lf-line",
        "hdr-01-space-colon",
        "te-01-cl-te",
        "cl-02-dup-diff",
        "chunk-24-size-nonhex",
        "hop-02-conn-private",
        "trust-07-envoy-internal",
        "chunk-01-ext",
    ],
)
def test_a_proxy_that_copies_bytes_fails(case: str) -> None:
    with RecordingOrigin("webapp") as webapp, RecordingOrigin("admin") as admin:
        proxy = NaiveProxy(webapp.port)
        try:
            found: Case = CASES[case]
            assert judge(found, observe(found, Bench(proxy.port, webapp, admin, close_wait_s=0.5)))
        finally:
            proxy.listener.shutdown(socket.SHUT_RDWR)  # or its thread goes on, and accepts for whoever gets the descriptor next
            proxy.listener.close()


def test_the_client_tells_a_cut_answer_from_a_whole_one() -> None:
    for raw, whole in (
        (ok(b"hello"), True),
        (ok(b"hello")[:-1], False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", False),
        (b"", False),
    ):
        with socket.create_server(("127.0.0.1", 0)) as server, Client(server.getsockname()[1]) as client:
            peer, _ = server.accept()
            with peer:
                peer.sendall(raw)
            if whole:
                assert client.response().text == "hello"
            else:
                with pytest.raises(Disconnected):
                    client.response()


def test_metrics_are_read() -> None:
    metrics = Metrics('# TYPE a counter\na_total{x="1",y="q\\"z"} 3.0\na_total{x="2"} 4\n')
    assert (metrics.total("a_total"), metrics.total("a_total", x="1"), metrics.total("b")) == (7, 3, 0)
    with pytest.raises(AssertionError):
        Metrics("a 1\na 2\n")
    with pytest.raises(AssertionError):
        Metrics("not a sample at all\n")
