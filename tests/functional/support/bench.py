"""One gateway between clients and upstreams of both HTTP versions, for statements that hold whatever either side speaks."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire.h2 import data, headers, long_headers, rst_stream

from .client import Client, Disconnected, request_bytes
from .config import NETWORKING, Document, destination, gateway_of, http_server, service_entry, virtual_service
from .gateway import Gateway
from .h2_wire import H2Wire
from .http1 import Response
from .log import whole_lines
from .poll import eventually
from .scripted import Asked, OriginHttp1, OriginHttp2, Pair, ScriptedOrigin

VERSIONS = ("HTTP/1.1", "HTTP/2")
SERVICES = {"HTTP/1.1": "one", "HTTP/2": "two"}
AT_ONCE = 50  # streams
AT_ONCE_HTTP1 = 10  # connections
FRAME_BYTES = 16384
LOG_FORMAT = json.dumps(
    [
        f"%{name}%"
        for name in (
            "REQ(:PATH)",
            "PROTOCOL",
            "RESPONSE_CODE",
            "RESPONSE_FLAGS",
            "RESPONSE_CODE_DETAILS",
            "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        )
    ]
)


@dataclass(frozen=True)
class Leg:
    """What the client speaks and what the upstream does."""

    client: str
    upstream: str = VERSIONS[0]

    @property
    def service(self) -> str:
        return SERVICES[self.upstream]

    @property
    def host(self) -> str:
        """The name that leads to that upstream, under the same rules as the other one."""
        return f"{self.service}.test"

    def __str__(self) -> str:
        return f"{self.client[5:]}-to-{self.upstream[5:]}"


LEGS = [Leg(client, upstream) for client in VERSIONS for upstream in VERSIONS]
CLIENTS = [Leg(client) for client in VERSIONS]


@dataclass
class Answer:
    """An answer of either version. ``cut``: it ended before its end, with what is here (status 0: nothing)."""

    status: int
    fields: list[Pair]
    body: bytes
    cut: bool = False

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def value(self, name: str) -> str | None:
        found = self.values(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None


@dataclass
class Logged:
    """One line of the access log."""

    protocol: str
    status: int
    flags: set[str]
    details: str
    attempts: int


@dataclass
class Begun:
    """A request under way."""

    peer: Client | H2Wire
    method: str

    def wait_for(self, piece: bytes) -> None:
        """Returns when that much of the body has come."""
        if isinstance(self.peer, H2Wire):
            wire = self.peer
            wire.read_until(lambda: piece in wire.body(1))
            return
        while piece not in self.peer.received:
            assert self.peer._receive(), f"ended: {self.peer.ended}"

    def answer(self) -> Answer:
        if isinstance(self.peer, H2Wire):
            return end_http2(self.peer)
        return end_http1(self.peer, self.method)

    def cancel(self) -> None:
        """HTTP/2: the stream alone; HTTP/1.1: the connection."""
        if isinstance(self.peer, H2Wire):
            self.peer.send(rst_stream(1))
        else:
            self.peer.close()


@dataclass
class Bench:
    gateway: Gateway
    origins: dict[str, ScriptedOrigin]
    log: Path
    others: dict[str, ScriptedOrigin] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def origin(self, leg: Leg) -> ScriptedOrigin:
        return self.origins[leg.upstream]

    def ask(
        self,
        leg: Leg,
        target: str = "/",
        *fields: str,
        method: str = "GET",
        body: bytes | None = None,
        host: str | None = None,
        port: int = 80,
    ) -> Answer:
        """One request on a connection of its own. Fields as ``Name: value``; port: the Gateway's."""
        wanted = host or leg.host
        if leg.client == VERSIONS[0]:
            with self.gateway.client(port) as client:
                return ask_http1(client, request_bytes(method, target, wanted, fields, body), method)
        with self.wire(wanted, port) as wire:
            return ask_http2(wire.start(), target, pairs_of(fields), method, body)

    @contextmanager
    def begun(self, leg: Leg, target: str, *fields: str, method: str = "GET") -> Iterator[Begun]:
        """A request without a body that is under way; the connection ends with the block."""
        if leg.client == VERSIONS[0]:
            with self.gateway.client() as client:
                client.send(request_bytes(method, target, leg.host, fields))
                yield Begun(client, method)
        else:
            with self.wire(leg.host) as wire:
                wire.start().send(
                    headers(1, wire.request(*pairs_of(fields), method=method.encode(), path=target.encode("latin-1")))
                )
                yield Begun(wire, method)

    def many(self, leg: Leg, targets: Sequence[str], *fields: str, at_once: int = AT_ONCE) -> list[Answer]:
        """GET after GET, with HTTP/2 so many at a time on one connection; ``at_once=1``: one after the other, of either version."""
        if leg.client == VERSIONS[0]:
            return self._many_http1([request_bytes("GET", target, leg.host, fields) for target in targets], at_once)
        found: list[Answer] = []
        with self.wire(leg.host) as wire:
            wire.start()
            for at in range(0, len(targets), at_once):
                found += ask_together(wire, targets[at : at + at_once], pairs_of(fields), 2 * at + 1)
        return found

    def _many_http1(self, requests: list[bytes], at_once: int) -> list[Answer]:
        """On as many connections, at the most ten."""
        found: list[Answer] = []
        with ExitStack() as stack:
            clients = [stack.enter_context(self.gateway.client()) for _ in range(min(at_once, AT_ONCE_HTTP1))]
            for at in range(0, len(requests), len(clients)):
                asked = list(zip(clients, requests[at : at + len(clients)], strict=False))
                for client, raw in asked:
                    client.send(raw)
                found += [end_http1(client, "GET") for client, _ in asked]
        return found

    def seen(self, leg: Leg, target: str = "/", *fields: str, **rest: Any) -> Asked:
        """What the upstream sees of a request."""
        mark = self.origin(leg).mark()
        answer = self.ask(leg, target, *fields, **rest)
        assert answer.status == 200, answer
        (found,) = self.origin(leg).since(mark)
        return found

    def wait_idle(self) -> None:
        """No request is under way: the worker lets go of its places when the answer has been written."""
        eventually(lambda: self.gateway.metrics().total("fastgw_exchanges_active") == 0, "no request is under way")

    def wire(self, authority: str, port: int = 80) -> H2Wire:
        return H2Wire(socket.create_connection(("127.0.0.1", self.gateway.port(port))), "http", authority)

    def ask_logged(self, leg: Leg, target: str, *fields: str, **rest: Any) -> tuple[Answer, Logged]:
        """One request with its line in the log, which a number in the query tells from all others."""
        own = self.own(target)
        answer = self.ask(leg, own, *fields, **rest)
        return answer, self.logged(own)

    def own(self, target: str) -> str:
        """The target with a query that no other request has."""
        return f"{target}?{next(self.numbers)}"

    def logged(self, target: str, since: int = 0) -> Logged:
        """The line of a request; ``since``: lines before are not looked at."""

        def found() -> list[str] | None:
            lines = [json.loads(line) for line in whole_lines(self.log)[since:]]
            return next((line[1:] for line in lines if line[0] == target), None)

        protocol, status, flags, details, attempts = eventually(found, f"a line for {target}")
        told = set() if flags == "-" else set(flags.split(","))
        return Logged(protocol, int(status), told, details, 0 if attempts == "-" else int(attempts))

    def lines(self) -> int:
        """How many the log has."""
        return len(whole_lines(self.log))


def pairs_of(fields: Sequence[str]) -> list[tuple[bytes, bytes]]:
    split = (line.partition(":") for line in fields)
    return [(name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")) for name, _, value in split]


def ask_http1(client: Client, raw: bytes, method: str) -> Answer:
    client.send(raw)
    return end_http1(client, method)


def end_http1(client: Client, method: str) -> Answer:
    try:
        return answer_http1(client.response(method))
    except Disconnected as gone:
        return Answer(0, [], b"", True) if gone.partial is None else answer_http1(gone.partial, cut=True)


def answer_http1(response: Response, *, cut: bool = False) -> Answer:
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.fields]
    return Answer(response.status, pairs, bytes(response.body), cut)


def ask_http2(wire: H2Wire, target: str, fields: list[tuple[bytes, bytes]], method: str, body: bytes | None) -> Answer:
    block = wire.request(*fields, method=method.encode(), path=target.encode("latin-1"))
    wire.send(long_headers(1, block, end=not body))
    content = body or b""
    if len(content) > 65535:
        raise ValueError("larger than the first window")
    for at in range(0, len(content), FRAME_BYTES):
        wire.send(data(1, content[at : at + FRAME_BYTES], end=at + FRAME_BYTES >= len(content)))
    return end_http2(wire)


def end_http2(wire: H2Wire) -> Answer:
    wire.read_until(lambda: wire.answered(1) or 1 in wire.resets)
    return answer_http2(wire, 1)


def ask_together(wire: H2Wire, targets: Sequence[str], fields: list[tuple[bytes, bytes]], first: int) -> list[Answer]:
    streams = [first + 2 * number for number in range(len(targets))]
    for stream, target in zip(streams, targets, strict=True):
        wire.send(headers(stream, wire.request(*fields, path=target.encode("latin-1"))))
    wire.read_until(lambda: all(wire.answered(stream) or stream in wire.resets for stream in streams))
    return [answer_http2(wire, stream) for stream in streams]


def answer_http2(wire: H2Wire, stream: int) -> Answer:
    plain = [(name, value) for name, value in wire.head(stream) if not name.startswith(":")]
    return Answer(wire.status(stream), plain, wire.body(stream), not wire.answered(stream))


Rules = Callable[[str], list[Document]]


def both(rules: Rules, **options: Any) -> list[Document]:
    """The same rules for each upstream: of one.test to "one" by HTTP/1.1, of two.test to "two" by HTTP/2."""
    return [virtual_service(service, [f"{service}.test"], rules(service), **options) for service in SERVICES.values()]


def rule(path: str, **rest: Any) -> Document:
    return {"match": [{"uri": {"prefix": path}}], **rest}


def to(service: str, **rest: Any) -> list[Document]:
    return [{**destination(service, 8080), **rest}]


def entry_of(origin: ScriptedOrigin, host: str | None = None) -> Document:
    """The ServiceEntry of a scripted upstream, which says what it speaks."""
    made = service_entry(host or origin.name, [("127.0.0.1", origin.port)])
    if origin.version == "HTTP/2":
        (port,) = made["spec"]["ports"]
        port.update(name="http2", protocol="HTTP2")
        for endpoint in made["spec"]["endpoints"]:
            endpoint["ports"] = {"http2": origin.port}
    return made


def destination_rule(host: str, policy: Document, **spec: Any) -> Document:
    kind: Document = {"apiVersion": NETWORKING, "kind": "DestinationRule", "metadata": {"name": host}}
    return {**kind, "spec": {"host": host, "trafficPolicy": policy, **spec}}


def under_policy(origin: ScriptedOrigin, host: str, policy: Document) -> list[Document]:
    """The upstream under one more name, with a policy of its own."""
    return [entry_of(origin, host), destination_rule(host, policy)]


@contextmanager
def running_bench(
    folder: Path, make: Callable[[dict[str, ScriptedOrigin]], list[Document]], *others: str, **options: Any
) -> Iterator[Bench]:
    """``make`` gives the resources beside the gateway's server and the upstreams' entries; ``others`` are more
    of HTTP/1.1 or, named h2-..., of HTTP/2."""
    log = folder / "access.log"
    log.touch()
    origins: dict[str, ScriptedOrigin] = {"HTTP/1.1": OriginHttp1("one"), "HTTP/2": OriginHttp2("two")}
    more: dict[str, ScriptedOrigin] = {name: (OriginHttp2 if name.startswith("h2-") else OriginHttp1)(name) for name in others}
    every = {origin.name: origin for origin in (*origins.values(), *more.values())}
    try:
        documents = [gateway_of("gw", [http_server()]), *make(every), *(entry_of(origin) for origin in every.values())]
        words = ["--access-log", str(log), "--access-log-format", LOG_FORMAT + "\n", *options.pop("options", ())]
        with Gateway(folder, documents, options=words, **options) as running:
            yield Bench(running, origins, log, more)
            running.assert_no_bugs()
            for origin in every.values():  # a worker watches idle connections that count for a limit with a timer
                origin.close_connections()
            running.assert_no_leaks()
    finally:
        for origin in every.values():
            origin.stop()
