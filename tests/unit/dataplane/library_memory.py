"""Program of test_dp_no_library_memory.py, in a process of its own: OpenSSL's allocator can only be exchanged before its first use.

library_memory.py HOOK SCENARIO FIRST STEP: one gateway after the other, in which allocation number FIRST, FIRST + STEP, ... of
OpenSSL and libnghttp2 fails, until there are not so many. Prints what went wrong, a line each, and then how many have failed.
"""

from __future__ import annotations

import ctypes
import sys

hook = ctypes.CDLL(sys.argv[1])
hook.failed_at.restype = ctypes.c_char_p
hook.want.argtypes = [ctypes.c_long]
assert hook.install_crypto() == 1, "OpenSSL has been used before"

import contextlib  # noqa: E402
import socket  # noqa: E402
import ssl  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, cast  # noqa: E402

import dataplane_support  # noqa: E402
from dataplane_support import Gateway, Peer, read_message  # noqa: E402
from h2.exceptions import ProtocolError  # noqa: E402
from http2_upstream_support import Http2Peer  # noqa: E402
from tls_support import (  # noqa: E402
    HOST,
    Authority,
    authority,
    client_context,
    credential,
    give_credentials,
    https_chain,
    server_pair,
    tls_plan,
)
from tls_upstream_support import NAME, ServerContext  # noqa: E402
from wire import h2  # noqa: E402

from fastgw.credentials.content import Content  # noqa: E402
from fastgw.dataplane import http2_memory  # noqa: E402
from fastgw.model.plan import UpstreamTls  # noqa: E402

ROUNDS = 300
"""Turns after which a client that has not got anything waits in vain."""
BODY = b"y" * 20_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + BODY


class Armed(Gateway):
    """Allocations fail inside the loop's turns alone: the far ends use the same libraries."""

    def turn(self, timeout_ms: int = 0) -> int:
        hook.arm(1)
        try:
            return self.loop.turn(timeout_ms)
        finally:
            hook.arm(0)

    def settle(self) -> None:
        quiet = 0
        while quiet < 2:
            quiet = 0 if self.turn() else quiet + 1


class TlsEnd:
    """The far end of a connection under TLS, with the face of a Peer; nothing here waits. ``end``: "" or how it ended."""

    def __init__(self, peer: Peer, context: ssl.SSLContext, name: str | None) -> None:
        self.gateway, self.peer = peer.gateway, peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=name is None, server_hostname=name)
        self.data, self.later = bytearray(), bytearray()
        self.open = False
        self.end = ""

    def send(self, data: bytes) -> TlsEnd:
        """Now, or behind the handshake."""
        self.later += data
        return self.poll()

    def poll(self, limit_bytes: int = 0) -> TlsEnd:
        self.peer.poll()
        self.incoming.write(bytes(self.peer.data))
        self.peer.data.clear()
        try:
            self.step()
        except ssl.SSLWantReadError:
            self.end = self.end or self.peer.end
        except ssl.SSLError as error:
            self.end = str(error)
        if self.outgoing.pending:
            self.peer.send(self.outgoing.read())
        return self

    def step(self) -> None:
        if not self.open:
            self.tls.do_handshake()
            self.open = True
        if self.later:
            self.tls.write(bytes(self.later))
            self.later.clear()
        while piece := self.tls.read(65536):
            self.data += piece
        self.end = "fin"


class Scenario:
    """One gateway with an upstream."""

    def __init__(self, directory: Path) -> None:
        self.gateway = Armed()
        self.upstream = self.gateway.upstream()
        self.ups: list[Any] = []
        self.set_up(directory)

    def set_up(self, directory: Path) -> None:
        raise NotImplementedError

    def accepted(self, sock: socket.socket) -> Any:
        """The upstream's end of a connection."""
        raise NotImplementedError

    def answer(self, up: Any) -> None:
        """What the upstream has been asked on a connection."""
        raise NotImplementedError

    def ask(self) -> Callable[[], bool | None]:
        """Connect and ask; what is returned says how it went, None: not known yet."""
        raise NotImplementedError

    def lead(self) -> bool:
        """True: all has been answered, False: the client was told otherwise."""
        how = self.ask()
        for _ in range(ROUNDS):
            with contextlib.suppress(BlockingIOError):
                self.ups.append(self.accepted(self.upstream.sock.accept()[0]))
            for up in self.ups:
                self.answer(up)
            if (found := how()) is not None:
                return found
            self.gateway.turn(1)
        raise TimeoutError("the client waits in vain")


class Clients(Scenario):
    """TLS and HTTP/2 with clients; two requests, one with a body."""

    context: ssl.SSLContext | None = None

    def set_up(self, directory: Path) -> None:
        if Clients.context is None:
            Clients.context = client_context()
            Clients.context.set_alpn_protocols(["h2"])
        give_credentials(self.gateway, {"cert": credential(server_pair())})
        self.gateway.attach(tls_plan([self.upstream.port], [https_chain(alpn=("h2", "http/1.1"))]))

    def accepted(self, sock: socket.socket) -> Peer:
        return Peer(self.gateway, sock)

    def answer(self, up: Peer) -> None:
        while (found := read_message(bytes(up.poll().data), None, False)) is not None and found.whole:
            del up.data[: found.size]
            up.send(ANSWER)

    def ask(self) -> Callable[[], bool | None]:
        seen = h2.Reader()
        assert self.context is not None
        client = TlsEnd(self.gateway.client(), self.context, HOST)
        get, post = h2.head(authority=HOST, scheme="https"), h2.head("POST", authority=HOST, scheme="https")
        client.send(h2.hello() + h2.headers(1, get) + h2.headers(3, post, end=False) + h2.data(3, b"x" * 9000, end=True))

        def how() -> bool | None:
            seen.feed(bytes(client.poll().data))
            client.data.clear()
            ended = [seen.streams[n] for n in (1, 3) if n in seen.streams and seen.streams[n].end]
            if len(ended) == 2:
                return all(stream.status == 200 and stream.body == BODY for stream in ended)
            return False if client.end or seen.goaway else None

        return how


class Mutual(Clients):
    """The same; clients show certificates, which are checked against CAs and revocation lists."""

    context: ssl.SSLContext | None = None
    others: Authority

    def set_up(self, directory: Path) -> None:
        if Mutual.context is None:
            Mutual.context = client_context(pair=authority().issue("client"), tmp=str(directory))
            Mutual.context.set_alpn_protocols(["h2"])
            Mutual.others = Authority("other CA")
        trusted = authority().pem + self.others.pem
        lists = authority().revoke(authority().issue("lost")) + self.others.revoke(self.others.issue("lost"))
        give_credentials(self.gateway, {"cert": credential(server_pair()), "ca": Content(ca=trusted, crl=lists)})
        chain = https_chain(alpn=("h2", "http/1.1"), client_auth="require", ca="ca")
        self.gateway.attach(tls_plan([self.upstream.port], [chain]))


class Upstreams(Scenario):
    """TLS and HTTP/2 with upstreams; clients speak HTTP/1."""

    server: ServerContext | None = None

    def set_up(self, directory: Path) -> None:
        give_credentials(self.gateway, {"ca": Content(ca=authority().pem)})
        self.gateway.serve(self.upstream, protocol="http2", tls=UpstreamTls(ca="ca", alpn=("h2",)))
        if Upstreams.server is None:
            Upstreams.server = ServerContext(authority().issue(NAME), directory)
            Upstreams.server.context.set_alpn_protocols(["h2"])

    def accepted(self, sock: socket.socket) -> Http2Peer:
        assert self.server is not None
        return Http2Peer(self.gateway, cast(Peer, TlsEnd(Peer(self.gateway, sock), self.server.context, None)))

    def answer(self, up: Http2Peer) -> None:
        with contextlib.suppress(ProtocolError, ssl.SSLError):
            up.poll()
            for stream in [stream for stream, request in up.requests.items() if request.ended]:
                del up.requests[stream]
                up.answer(stream, BODY)

    def ask(self) -> Callable[[], bool | None]:
        client = self.gateway.client()
        client.send(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 9000\r\n\r\n".encode() + b"x" * 9000)

        def how() -> bool | None:
            message = read_message(bytes(client.poll().data), "POST", client.end != "")
            if message is not None and message.whole:
                return message.status == 200 and message.body == BODY
            return False if client.end else None

        return how


def attempt(kind: type[Scenario], directory: Path, n: int) -> tuple[str, str]:
    """Where allocation number n failed ("": there are not so many), and what else went wrong."""
    scenario = kind(directory)
    problem = ""
    hook.want(n)
    try:
        scenario.lead()
    except TimeoutError as error:
        problem = str(error)
    place = hook.failed_at().decode()
    hook.want(0)
    scenario.gateway.pass_ms(1500)  # what could not be made is tried again
    try:
        if not scenario.lead():
            problem += "; the next request is not served"
        scenario.gateway.close()
        if http2_memory.reserve_in_use():
            problem += "; the reserve is in use"
        if len(scenario.gateway.bugs) > 1:
            problem += f"; bugs {scenario.gateway.bugs}"
    except (AssertionError, TimeoutError) as error:
        problem += f"; afterwards: {error} {scenario.gateway.bugs}"
    return place, problem


def main(kind: type[Scenario], n: int, step: int) -> None:
    dataplane_support.PATIENCE_S = 5.0
    http2_memory.deny(ctypes.cast(hook.frames_denied, ctypes.c_void_p).value)
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        attempt(kind, Path(directory), 0)  # what OpenSSL does once in a process has been done
        while True:
            place, problem = attempt(kind, Path(directory), n)
            if problem:
                print(f"allocation {n} at {place}: {problem}", flush=True)
            if not place:
                break
            n += step
            failed += 1
    print(failed)


main({"clients": Clients, "mutual": Mutual, "upstreams": Upstreams}[sys.argv[2]], int(sys.argv[3]), int(sys.argv[4]))
