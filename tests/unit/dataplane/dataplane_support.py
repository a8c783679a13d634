"""A gateway inside the test's own process: loop, context, pool and server, with clients and upstreams that the test scripts.

Nothing runs by itself. `Gateway.settle()` turns the loop until nothing happens any more, `Gateway.until()` until something has
happened; the far ends of all connections are plain non-blocking sockets (`Peer`), read and written when the test says so.
"""

from __future__ import annotations

import mmap
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastgw.dataplane import (
    access_log,
    buffers,
    client_http1,
    client_http2,
    client_http2_stream,
    context,
    exchange,
    listener,
    loop,
    pipes,
    pool,
    tunnel,
    upstream_connection,
    upstream_http2_stream,
)
from fastgw.image.layout import ffi, lib
from fastgw.image.numbers import StateNumbers
from fastgw.image.writer import write_image
from fastgw.model.log_program import Program
from fastgw.model.origin import Origin
from fastgw.model.plan import (
    Action,
    Chain,
    Cluster,
    Endpoint,
    Listener,
    ObjectRef,
    Plan,
    RoutePolicy,
    RouteTable,
    Rule,
    VirtualHost,
    WeightedDestination,
)
from fastgw.model.worker_protocol import Limits

PATIENCE_S = 20.0
MOMENT_MS = 50
OWNER = ObjectRef("VirtualService", "default/shop", Origin("shop.yaml", 1, 1))
LISTENER = "0.0.0.0_80"


class Peer:
    """The far end of a connection. ``data`` collects what was read; ``end`` is "", "fin" or "reset"."""

    def __init__(self, gateway: Gateway, sock: socket.socket) -> None:
        self.gateway, self.sock = gateway, sock
        self.data = bytearray()
        self.end = ""
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gateway.peers.append(self)

    def poll(self, limit_bytes: int = 1 << 30) -> Peer:
        """Read what is there, at most limit_bytes."""
        while not self.end and limit_bytes > 0:
            try:
                piece = self.sock.recv(min(limit_bytes, 1 << 16))
            except BlockingIOError:
                break
            except OSError:
                self.end = "reset"
                break
            if not piece:
                self.end = "fin"
            self.data += piece
            limit_bytes -= len(piece)
        return self

    def send(self, data: bytes) -> Peer:
        """All of it, turning the loop while the socket is full; a connection that has gone away takes the rest."""
        view = memoryview(data)
        started = time.monotonic()
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                self.gateway.turn(1)
                assert time.monotonic() - started < PATIENCE_S, "nobody reads what is sent"
            except OSError:
                break
        self.gateway.settle()
        return self

    def try_send(self, data: bytes) -> int:
        """As much as the socket takes now, without a turn."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def finish(self) -> Peer:
        """Send a FIN; reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)
        self.gateway.settle()
        return self

    def close(self) -> None:
        self.sock.close()
        self.end = self.end or "closed"
        self.gateway.settle()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def until(self, condition: Callable[[bytearray], bool], what: str = "expected bytes") -> Peer:
        self.gateway.until(lambda: condition(self.poll().data), lambda: f"{what}, have {bytes(self.data)[-300:]!r} {self.end}")
        return self

    def until_end(self) -> str:
        self.gateway.until(lambda: self.poll().end != "", lambda: f"end of connection, have {bytes(self.data)[-300:]!r}")
        return self.end

    def response(self, method: str = "GET") -> Message:
        """The next whole response, taken off ``data``."""
        return self._message(lambda: read_message(bytes(self.data), method, self.end != ""))

    def request(self) -> Message:
        """The next whole request, taken off ``data``."""
        return self._message(lambda: read_message(bytes(self.data), None, self.end != ""))

    def _message(self, read: Callable[[], Message | None]) -> Message:
        def whole() -> bool:
            self.poll()
            message = read()
            return message is not None and message.whole

        self.gateway.until(whole, lambda: f"a whole message, have {bytes(self.data)[-300:]!r} {self.end}")
        message = read()
        assert message is not None
        del self.data[: message.size]
        return message


class Upstream:
    """A listening socket; what is done with its connections is up to the test."""

    def __init__(self, gateway_peers: list[Upstream], backlog: int = 64, receive_bytes: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(backlog)
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        gateway_peers.append(self)

    def accept(self, gateway: Gateway) -> Peer:
        taken: list[socket.socket] = []

        def waiting() -> bool:
            try:
                taken.append(self.sock.accept()[0])
            except BlockingIOError:
                return False
            return True

        gateway.until(waiting, lambda: "a connection to the upstream")
        return Peer(gateway, taken[0])

    def has_connection(self, gateway: Gateway) -> bool:
        gateway.settle()
        try:
            sock, _ = self.sock.accept()
        except BlockingIOError:
            return False
        Peer(gateway, sock)
        return True

    def close(self) -> None:
        self.sock.close()


class Message:
    """A message as its receiver understands it. ``whole``: its framing says that it is complete."""

    def __init__(self, start: str, fields: list[tuple[str, str]], body: bytes, whole: bool, size: int) -> None:
        self.start, self.fields, self.body, self.whole, self.size = start, fields, body, whole, size

    def __getitem__(self, name: str) -> str:
        """The one value of a field; AssertionError when it is missing or repeated."""
        values = [v for n, v in self.fields if n == name]
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def values(self, name: str) -> list[str]:
        return [v for n, v in self.fields if n == name]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def stable(self) -> tuple[str, tuple[tuple[str, str], ...], bytes]:
        """Everything but what differs from one exchange to the next."""
        changing = {"date", "x-request-id", "x-envoy-upstream-service-time"}
        return self.start, tuple((n, "*" if n in changing else v) for n, v in self.fields), self.body


def read_message(data: bytes, method: str | None, ended: bool) -> Message | None:
    """The first message in ``data``; None while its head is not there. ``method`` of the request, None: it is a request."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    start, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    named = dict(fields)
    status = 0 if method is None else int(start.split(" ")[1])
    if method == "HEAD" or status in (204, 304) or 100 <= status < 200:
        return Message(start, fields, b"", True, len(head) + 4)
    if "transfer-encoding" in named:
        body, used, whole = read_chunked(rest)
        return Message(start, fields, body, whole, len(head) + 4 + used)
    if "content-length" in named or method is None:
        length = int(named.get("content-length", "0"))
        return Message(start, fields, rest[:length], len(rest) >= length, len(head) + 4 + length)
    return Message(start, fields, rest, ended, len(data))


def read_chunked(data: bytes) -> tuple[bytes, int, bool]:
    """(body so far, bytes used, complete) of a chunked body as the gateway writes it: no extensions, no trailers."""
    body, at = bytearray(), 0
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return bytes(body), at, False
        assert re.fullmatch(rb"[0-9a-f]+", data[at:line_end]), data[at:line_end]
        size = int(data[at:line_end], 16)
        body += data[line_end + 2 : line_end + 2 + size]
        end = line_end + 2 + size
        if len(data) < end + 2:
            return bytes(body), at, False
        assert data[end : end + 2] == b"\r\n"
        at = end + 2
        if size == 0:
            return bytes(body), at, True


def make_plan(
    clusters: Iterable[Cluster],
    destinations: list[tuple[str, int]] | None = None,
    listeners: Iterable[str] = (LISTENER,),
    policy: RoutePolicy | None = None,
) -> Plan:
    """Every host and path goes to ``destinations`` (default: the first cluster)."""
    named = {cluster.name: cluster for cluster in clusters}
    weighted = destinations or [(name, 100) for name in list(named)[:1]]
    action = Action("route", tuple(WeightedDestination(name, weight) for name, weight in weighted), policy=policy)
    rule = Rule("all", OWNER, 0, 0, action, origin=Origin("shop.yaml", 10, 5))
    table = RouteTable("http.80", [VirtualHost("*:80", ["*"], [rule])])
    found = [Listener(name, "", 80 + i, "HTTP", [], [Chain("http.80", route_table="http.80")]) for i, name in enumerate(listeners)]
    return Plan(found, {"http.80": table}, named)


def tcp_chain(name: str = "tcp", destinations: Iterable[tuple[str, int]] = (("c", 1),), **chain: Any) -> Chain:
    """A chain whose connections are relayed; the first destination without a cluster of that name is unknown (NC)."""
    action = Action("route", tuple(WeightedDestination(cluster, weight) for cluster, weight in destinations))
    return Chain(name, kind="tcp", action=action, **chain)


class Gateway:
    """The parts of a worker, put together as the worker does it."""

    def __init__(
        self,
        *,
        limits: dict[str, Any] | None = None,
        log: Program | None = None,
        log_fd: int = -1,
        listeners: Iterable[str] = (LISTENER,),
        workers: int = 1,
    ) -> None:
        """``workers``: slots of the state segment; this one has the first."""
        self.bugs: list[str] = []
        self.peers: list[Peer] = []
        self.upstreams: list[Upstream] = []
        self.addresses: dict[str, Any] = {}
        self.numbers = StateNumbers()
        self.generation = 0
        self.dns_cells: list[int] = []
        self.credentials: Any = None
        self.loop = loop.Loop(self.bugs.append)
        self._turned_s = time.monotonic()
        size = lib.fgw_state_bytes(workers)
        fd = os.memfd_create("state")
        os.ftruncate(fd, size)
        self.memory = mmap.mmap(fd, size)
        self.state = ffi.cast("fgw_state *", ffi.from_buffer(self.memory))
        lib.fgw_state_init(self.state, workers)
        told = Limits(**(limits or {}))
        self.context = context.Context(self.loop, fd, size, 0, told)
        os.close(fd)
        self.log: Any = access_log.AccessLog(self.context, log_fd, log) if log is not None else None
        self.pool = pool.Pool(self.context)
        self.server = listener.Server(self.context, self.pool, self.log, told)
        self.server.listen([(name, self.open_listener(name)) for name in listeners])

    # ---- set-up

    def open_listener(self, name: str, send_bytes: int = 0) -> int:
        """A new listening socket; the descriptor belongs to whom it is given to."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            if send_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, send_bytes)
            sock.bind(("127.0.0.1", 0))
            sock.listen(256)
            sock.setblocking(False)
            self.addresses[name] = sock.getsockname()
            return sock.detach()

    def upstream(self, **options: int) -> Upstream:
        return Upstream(self.upstreams, **options)

    def serve(self, *upstreams: Upstream | int, lb: str = "round_robin", route: RoutePolicy | None = None, **cluster: Any) -> None:
        """One cluster "c" with these endpoints (or ports)."""
        ports = [u if isinstance(u, int) else u.port for u in upstreams]
        cluster.setdefault("endpoints", [Endpoint("127.0.0.1", p) for p in ports])
        found = Cluster("c", "c", 80, lb=lb, **cluster)
        self.attach(make_plan([found], policy=route))

    def relay(self, *upstreams: Upstream | int, chains: Iterable[Chain] = (), lb: str = "round_robin", **cluster: Any) -> None:
        """The same for a listener of these chains; without chains every connection goes to the cluster."""
        ports = [u if isinstance(u, int) else u.port for u in upstreams]
        cluster.setdefault("endpoints", [Endpoint("127.0.0.1", p) for p in ports])
        found = Cluster("c", "c", 80, lb=lb, **cluster)
        self.attach_chains(list(chains) or [tcp_chain()], [found])

    def relay_to(self, upstreams: dict[str, Upstream], weights: dict[str, int], **chain: Any) -> None:
        """One cluster an upstream, drawn by weight."""
        clusters = [Cluster(name, name, 80, endpoints=[Endpoint("127.0.0.1", u.port)]) for name, u in upstreams.items()]
        self.attach_chains([tcp_chain(destinations=weights.items(), **chain)], clusters)

    def attach_chains(self, chains: list[Chain], clusters: list[Cluster]) -> None:
        listener_ = Listener(LISTENER, "", 80, "TCP", [], chains)
        self.attach(Plan([listener_], {}, {cluster.name: cluster for cluster in clusters}))

    def attach(self, plan: Plan) -> None:
        self.plan = plan
        self.generation += 1
        self.numbers.begin(self.generation)
        data = write_image(plan, self.numbers, self.generation)
        fd = os.memfd_create("image")
        os.write(fd, data)
        self.context.attach(context.Image(fd, len(data), self.context.image), self.credentials)
        os.close(fd)
        self.server.on_image()

    def answer_dns(self, cluster: str, status: str, *ports_and_cells: tuple[int, int], weights: Sequence[int] = ()) -> None:
        """What the resolver would write: 127.0.0.1 at these ports, with one cell an address."""
        slot = ffi.new("fgw_dns_slot *")
        slot.status = getattr(lib, f"FGW_DNS_{status}")
        slot.count = len(ports_and_cells)
        for i, (port, cell) in enumerate(ports_and_cells):
            slot.addresses[i].family, slot.addresses[i].port = lib.FGW_FAMILY_IPV4, port
            slot.addresses[i].weight = weights[i] if weights else 1
            slot.addresses[i].cell = cell
            slot.addresses[i].ip[0:4] = [127, 0, 0, 1]
            self.dns_cells.append(cell)
        lib.fgw_dns_write(self.state.dns + self.numbers.dns_slot_of(self.plan.clusters[cluster]), slot)

    # ---- time

    def turn(self, timeout_ms: int = 0) -> int:
        """Of the time since the last turn no more than a moment counts: the machine may have stood still."""
        lost_ms = int((time.monotonic() - self._turned_s) * 1000) - MOMENT_MS
        if lost_ms > 0:
            self.loop.skip_ms(-lost_ms)
        try:
            return self.loop.turn(timeout_ms)
        finally:
            self._turned_s = time.monotonic()

    def settle(self) -> None:
        """Turn until nothing happens."""
        quiet = 0
        while quiet < 2:
            quiet = 0 if self.turn() else quiet + 1

    def until(self, condition: Callable[[], bool], what: Callable[[], str] = lambda: "a condition") -> None:
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < PATIENCE_S, f"waited in vain for {what()}; bugs {self.bugs}"
            self.turn(1)

    def pass_ms(self, ms: int) -> None:
        """Let time pass, in steps as a real loop would have them."""
        while ms > 0:
            self.loop.skip_ms(min(ms, 500))
            ms -= 500
            self.turn()
        self.settle()

    # ---- parties

    def client(self, name: str = LISTENER, receive_bytes: int = 0, send_bytes: int = 0) -> Peer:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if send_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        sock.connect(self.addresses[name])
        peer = Peer(self, sock)
        self.settle()
        return peer

    def client_of(self, port: int) -> Peer:
        """A connection past the gateway, perhaps never accepted."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        return Peer(self, sock)

    # ---- what it says

    @property
    def stats(self) -> Any:
        return self.state.workers[0]

    def counter(self, name: str) -> int:
        return int(self.stats.counters[getattr(lib, name)])

    def cell(self, port: int, cluster: str = "c") -> Any:
        return self.state.cells[self.numbers.cell_of(cluster, "127.0.0.1", port)]

    def rejected(self) -> dict[str, int]:
        """Reason -> count, of those that happened."""
        counts = self.stats.rejected
        return {ffi.string(lib.fgw_reason_name(i)).decode(): int(counts[i]) for i in range(lib.FGW_R_COUNT) if counts[i]}

    # ---- the end

    def close(self) -> None:
        """Close everything, and assert that nothing is left over."""
        for peer in self.peers:
            peer.sock.close()
        for upstream in self.upstreams:
            upstream.close()
        self.server.listen([])
        self.settle()
        self.pass_ms(2500)  # lingering closes
        living = ("exchanges", "clients", "tunnels")
        self.until(lambda: not any(self.alive()[name] for name in living), lambda: f"the end, {self.alive()}")
        self.pool.close_idle()
        self.settle()
        if self.log is not None:
            self.log.flush()
        cells = [number for _, number in self.numbers._cells.items()] + self.dns_cells
        assert {n: self.state.cells[n].active for n in cells} == dict.fromkeys(cells, 0)
        assert {n: self.stats.active[n] for n in cells} == dict.fromkeys(cells, 0)
        assert self.alive() == dict.fromkeys(self.alive(), 0), self.alive()
        gauges = ("CLIENT_ACTIVE", "UPSTREAM_ACTIVE", "UPSTREAM_IDLE", "EXCHANGES_ACTIVE", "TUNNELS_ACTIVE")
        assert {g: self.counter(f"FGW_G_{g}") for g in gauges} == dict.fromkeys(gauges, 0)
        assert not self.server.clients
        assert not any(listener.connections for listener in self.state.listeners)
        assert not any(self.stats.listener_connections)
        assert not self.stats.holders_used or not any(holder.connections for holder in self.stats.holders)
        del self.server, self.pool, self.context, self.log, self.loop

    def alive(self) -> dict[str, int]:
        return {
            "exchanges": exchange.exchanges_alive(),
            "tunnels": tunnel.tunnels_alive(),
            "pipes": pipes.pipes_taken(),
            "clients": client_http1.client_connections_alive() + client_http2.client_connections_alive(),
            "streams": client_http2_stream.client_streams_alive(),
            "upstreams": upstream_connection.upstream_connections_alive(),
            "upstream_streams": upstream_http2_stream.upstream_streams_alive(),
            "buffer_bytes": buffers.live_buffer_bytes(),
            "timers": self.loop.timers,
            "idle": self.pool.idle,
        }


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(length: int, *, path: str = "/", method: str = "POST", extra: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n{extra}\r\n".encode()
