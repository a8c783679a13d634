"""Server-sent events and long polling: every event arrives when it is sent, however long that goes on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import aiohttp
import pytest

from .conftest import StartGateway, StartTls
from .support.certificates import Authority, mount
from .support.config import gateway_of, https_server, simple
from .support.origin import ThreadedOrigin, read_head
from .support.poll import eventually, in_time

HOST = "webapp.test"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
FRAMINGS = {"chunked": b"Transfer-Encoding: chunked\r\n\r\n", "until close": b"Connection: close\r\n\r\n"}


class Events:
    """An origin whose events are sent when the test says so."""

    def __init__(self, framing: str):
        self.framing = framing
        self.go = threading.Semaphore(0)

    def handle(self, sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(HEAD + FRAMINGS[self.framing])
        for i in range(5):
            if not self.go.acquire(timeout=60):
                return
            event = b"id: %d\ndata: event %d\n\n" % (i, i)
            sock.sendall(b"%x\r\n%b\r\n" % (len(event), event) if self.framing == "chunked" else event)
        if self.framing == "chunked":
            sock.sendall(b"0\r\n\r\n")


async def follow(url: str, events: Events, host: str, **options: object) -> list[bytes]:
    """Lets an event go only when the one before has arrived."""
    seen = []
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": host}, **options) as answer:  # type: ignore[arg-type]
        assert answer.headers["content-type"] == "text/event-stream"
        for _ in range(5):
            events.go.release()
            seen.append(await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 20))
        assert await answer.content.read() == b""
    return seen


WANTED = [b"id: %d\ndata: event %d\n\n" % (i, i) for i in range(5)]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_events_arrive_one_by_one(start_gateway: StartGateway, framing: str) -> None:
    events = Events(framing)
    with ThreadedOrigin(events.handle) as origin:
        gateway = start_gateway(simple(HOST, origin.port))
        assert asyncio.run(follow(f"http://127.0.0.1:{gateway.port()}/", events, HOST)) == WANTED


def test_events_over_tls(start_tls: StartTls, authority: Authority) -> None:
    events = Events("chunked")
    with ThreadedOrigin(events.handle) as origin:
        served = [gateway_of("gw", [https_server([HOST], "web")]), *simple(HOST, origin.port)[1:]]
        world = start_tls(served, lambda secrets: mount(secrets, "web", authority.issue(HOST)))
        options = {"ssl": world.context(), "server_hostname": HOST}
        assert asyncio.run(follow(f"https://127.0.0.1:{world.port}/", events, HOST, **options)) == WANTED


def test_silence_is_cut_when_it_is_to_be_and_a_total_is_not(start_gateway: StartGateway) -> None:
    def talk(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(HEAD + FRAMINGS["until close"])
        for _ in range(10):
            sock.sendall(b": still here\n\n")
            time.sleep(0.1)
        sock.recv(1)

    with ThreadedOrigin(talk) as origin:
        settings = {"stream-idle-timeout": 0.6}
        gateway = start_gateway(simple(HOST, origin.port), settings=settings, options=["--access-log", "-"])

        def heard() -> int:
            with gateway.client() as client:
                client.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
                assert client.wait_closed()
                return client.rest().count(b": still here")

        assert in_time(heard, late=lambda count: count < 10) == 10
        eventually(lambda: " SI stream_idle_timeout " in gateway.stdout.read_text(), "the flag in the log")
        assert gateway.metrics().total("fastgw_stream_timeouts_total") >= 1


def test_long_polls_are_answered_when_there_is_news(start_gateway: StartGateway) -> None:
    news = threading.Event()

    def wait(sock: socket.socket) -> None:
        read_head(sock)
        assert news.wait(60)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews")

    with ThreadedOrigin(wait) as origin:
        gateway = start_gateway(simple(HOST, origin.port), settings={"stream-idle-timeout": 0.2, "idle-timeout": 0.2})
        clients = [gateway.client() for _ in range(20)]
        try:
            for client in clients:
                client.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
            eventually(lambda: origin.accepted == 20, "all of them wait")
            time.sleep(0.5)
            news.set()
            assert [client.response().text for client in clients] == ["news"] * 20
        finally:
            for client in clients:
                client.close()
