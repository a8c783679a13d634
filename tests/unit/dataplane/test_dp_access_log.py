"""The access log: every operation, escaping, cutting, and sinks that do not take what is written."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dataplane_support import GET, OK, OWNER, Gateway, Peer, free_port, make_plan, post, tcp_chain

from fastgw.model.log_program import Program
from fastgw.model.plan import Cluster, Endpoint

END = ("text", "\n")
NAMES = [
    "method", "path", "protocol", "code", "flags", "details", "termination_details", "transport_failure", "bytes_received",
    "bytes_sent", "duration", "upstream_service_time", "authority", "request_id", "upstream_host", "upstream_cluster",
    "upstream_local_address", "downstream_local_address", "downstream_remote_address", "downstream_remote_address_without_port",
    "downstream_remote_port", "requested_server_name", "route_name", "virtual_service", "reject_reason", "attempts", "listener",
    "downstream_local_address_without_port", "downstream_local_port", "downstream_direct_remote_address",
    "downstream_direct_remote_address_without_port", "downstream_direct_remote_port",
]  # fmt: skip


class Logged:
    """A gateway that logs with ``program`` into a file."""

    def __init__(self, gateway: Gateway, fd: int) -> None:
        self.gateway, self.fd = gateway, fd

    def text(self) -> bytes:
        """What has been written so far; the file is emptied."""
        self.gateway.log.flush()
        data = os.pread(self.fd, 1 << 24, 0)
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        return data

    def exchange(self, request: bytes, answer: bytes = OK) -> tuple[Peer, Peer]:
        """One request, answered by the upstream on a connection that is not used again."""
        upstream = self.gateway.upstreams[0]
        client = self.gateway.client().send(request)
        up = upstream.accept(self.gateway)
        up.request()
        up.send(answer + b"burnt")
        client.response()
        return client, up


@pytest.fixture
def logged(make_gateway: Callable[..., Gateway]) -> Iterator[Callable[[Program], Logged]]:
    fds: list[int] = []

    def make(program: Program, **limits: Any) -> Logged:
        fds.append(os.memfd_create("log"))
        gateway = make_gateway(log=[*program, END], log_fd=fds[-1], limits=limits)
        gateway.serve(gateway.upstream())
        return Logged(gateway, fds[-1])

    yield make
    for fd in fds:
        os.close(fd)


def direct(me: str, port: int, here: tuple[str, int]) -> dict[str, str]:
    """Of a client without a proxy before it."""
    return {
        "downstream_local_address_without_port": here[0], "downstream_local_port": str(here[1]),
        "downstream_direct_remote_address": f"{me}:{port}", "downstream_direct_remote_address_without_port": me,
        "downstream_direct_remote_port": str(port),
    }  # fmt: skip


def each(names: list[str], json_mode: bool) -> Program:
    """One line with these operations as a JSON array of texts (in text mode nothing here has to be escaped)."""
    program: Program = [("json", "ON")] if json_mode else []
    for i, name in enumerate(names):
        program += [("text", '["' if i == 0 else '","'), (name, "")]
    return [*program, ("text", '"]')]


@pytest.mark.parametrize("json_mode", [False, True])
def test_every_operation(logged: Callable[..., Logged], json_mode: bool) -> None:
    log = logged(each(NAMES, json_mode))
    client, up = log.exchange(post(3, path="/p%20?q=1") + b"abc")
    found = dict(zip(NAMES, json.loads(log.text()), strict=True))
    me, port = client.sock.getsockname()
    assert re.fullmatch(r"[0-9a-f-]{36}", found.pop("request_id"))
    assert found.pop("duration").isdigit() and found.pop("upstream_service_time").isdigit()
    local = up.sock.getpeername()
    assert found == {
        "method": "POST", "path": "/p%20?q=1", "protocol": "HTTP/1.1", "code": "200", "flags": "-", "details": "via_upstream",
        "termination_details": "-", "transport_failure": "-", "bytes_received": "3", "bytes_sent": "2", "authority": "a.test",
        "upstream_host": f"127.0.0.1:{log.gateway.upstreams[0].port}", "upstream_cluster": "c",
        "upstream_local_address": f"{local[0]}:{local[1]}",
        "downstream_local_address": f"127.0.0.1:{client.sock.getpeername()[1]}", "downstream_remote_address": f"{me}:{port}",
        "downstream_remote_address_without_port": me, "downstream_remote_port": str(port), "requested_server_name": "-",
        "route_name": "all", "virtual_service": "default/shop", "reject_reason": "-", "attempts": "1", "listener": "0.0.0.0_80",
        **direct(me, port, client.sock.getpeername()),
    }  # fmt: skip


def test_what_is_missing_of_a_refused_request(logged: Callable[..., Logged]) -> None:
    log = logged(each(NAMES, False))
    client = log.gateway.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    client.response()
    found = dict(zip(NAMES, json.loads(log.text()), strict=True))
    there = {name: value for name, value in found.items() if value != "-"}
    me, port = client.sock.getsockname()
    assert there.pop("duration").isdigit()
    assert there == {
        "code": "400", "flags": "DPE", "details": "duplicate_host", "reject_reason": "duplicate_host", "bytes_received": "0",
        "bytes_sent": "0", "downstream_local_address": f"127.0.0.1:{client.sock.getpeername()[1]}",
        "downstream_remote_address": f"{me}:{port}", "downstream_remote_address_without_port": me,
        "downstream_remote_port": str(port), "listener": "0.0.0.0_80", **direct(me, port, client.sock.getpeername()),
    }  # fmt: skip


def test_a_relayed_connection(logged: Callable[..., Logged]) -> None:
    log = logged(each(NAMES, False))
    gateway, upstream = log.gateway, log.gateway.upstreams[0]
    gateway.relay(upstream, chains=[tcp_chain("outbound|3306", virtual_service=OWNER)])
    client = gateway.client()
    up = upstream.accept(gateway)
    local, listening = up.sock.getpeername(), client.sock.getpeername()
    gateway.relay(upstream)  # the image it began with is gone when it ends
    client.send(b"12345")
    up.send(b"123").finish()
    client.finish()
    gateway.until(lambda: gateway.alive()["tunnels"] == 0)
    found = dict(zip(NAMES, json.loads(log.text()), strict=True))
    me, port = client.sock.getsockname()
    there = {name: value for name, value in found.items() if value != "-"}
    assert there.pop("duration").isdigit()
    assert there == {
        "code": "0", "bytes_received": "5", "bytes_sent": "3", "upstream_cluster": "c",
        "upstream_host": f"127.0.0.1:{upstream.port}", "upstream_local_address": "{}:{}".format(*local),
        "downstream_local_address": "{}:{}".format(*listening), "downstream_remote_address": f"{me}:{port}",
        "downstream_remote_address_without_port": me, "downstream_remote_port": str(port), "route_name": "outbound|3306",
        "virtual_service": "default/shop", "attempts": "1", "listener": "0.0.0.0_80", **direct(me, port, listening),
    }  # fmt: skip


def test_relayed_connections_that_fail_or_fall_silent(logged: Callable[..., Logged]) -> None:
    names = ["flags", "details", "termination_details", "upstream_host", "upstream_cluster", "attempts", "virtual_service"]
    log = logged(each(names, False))
    gateway, port = log.gateway, free_port()
    gateway.relay(port)
    gateway.client().until_end()
    assert json.loads(log.text()) == ["UF,URX", "remote_connection_failure", "-", f"127.0.0.1:{port}", "c", "3", "-"]
    gateway.relay()
    gateway.client().until_end()
    assert json.loads(log.text()) == ["UH", "no_healthy_upstream", "-", "-", "c", "-", "-"]
    gateway.relay(chains=[tcp_chain(destinations=[("gone", 1)])])
    gateway.client().until_end()
    assert json.loads(log.text()) == ["NC", "cluster_not_found", "-", "-", "gone", "-", "-"]
    gateway.relay(gateway.upstreams[0], chains=[tcp_chain(idle_timeout_ms=1000)])
    client = gateway.client()
    gateway.pass_ms(1500)
    assert client.until_end() == "fin"
    line = json.loads(log.text())
    assert [*line[:3], *line[4:]] == ["-", "-", "tcp_session_idle_timeout", "c", "1", "-"]
    client = gateway.client()
    gateway.upstreams[0].accept(gateway)
    gateway.upstreams[0].accept(gateway).reset()
    assert client.until_end() == "reset"
    line = json.loads(log.text())
    assert line[:3] == ["-", "upstream_remote_disconnect", "-"]


def test_a_pooled_connection_keeps_its_local_address(logged: Callable[..., Logged]) -> None:
    log = logged([("upstream_local_address", "")])
    client = log.gateway.client().send(GET)
    up = log.gateway.upstreams[0].accept(log.gateway)
    for _ in range(2):
        up.request()
        up.send(OK)
        client.response()
        client.send(GET)
    up.request()
    up.send(OK)
    client.response()
    host, port = up.sock.getpeername()
    assert log.text().decode().split() == [f"{host}:{port}"] * 3


# ---- header fields


def test_header_fields_and_alternatives(logged: Callable[..., Logged]) -> None:
    names = ["x-a", "user-agent", "x-missing?x-a", "x-missing", "x-b?x-a"]
    program: Program = []
    for kind in ("request_header", "response_header"):
        for name in names:
            program += [(kind, name), ("text", "|")]
    for name in ("method", "path", "authority", "scheme"):
        program += [("request_header", f"x-missing?:{name}"), ("text", "|")]
    log = logged(program)
    fields = "X-A: one\r\nX-a: two\r\nUser-Agent: curl \r\nX-B:\r\n"
    log.exchange(
        f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok".encode(),
    )
    assert log.text() == b"one|curl|one|-|-|" * 2 + b"GET|/|a|http|\n"


def test_the_values_of_an_answer_are_not_those_of_the_one_before(logged: Callable[..., Logged]) -> None:
    log = logged([("response_header", "x-a")])
    client = log.gateway.client().send(GET)
    up = log.gateway.upstreams[0].accept(log.gateway)
    for extra in (b"X-A: 1\r\n", b"", b"X-A: 3\r\n"):
        up.request()
        up.send(b"HTTP/1.1 200 OK\r\n" + extra + b"Content-Length: 0\r\n\r\n")
        client.response()
        client.send(GET)
    up.request()
    up.close()
    log.gateway.upstreams[0].accept(log.gateway).close()
    client.response()
    assert log.text() == b"1\n-\n3\n-\n"


@pytest.mark.parametrize("name", ["x-envoy-original-path", "x-private", "x_under", "x-forwarded-client-cert"])
def test_what_was_sanitised_away_is_not_logged(logged: Callable[..., Logged], name: str) -> None:
    log = logged([("request_header", name)])
    log.exchange(f"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-private\r\n{name}: secret\r\n\r\n".encode())
    assert log.text() == b"-\n"


def both(field: bytes) -> tuple[bytes, bytes]:
    """A request and an answer with the same field."""
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n", b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 0\r\n\r\n"


def expected_text(c: int) -> bytes:
    return bytes([c]) if 32 <= c < 127 and c not in b'"\\' else b"\\x%02x" % c


PASSING = [c for c in range(256) if (c >= 32 or c == 9) and c != 127]


@pytest.mark.parametrize("kind", ["request_header", "response_header"])
def test_every_byte_is_escaped_in_text(logged: Callable[..., Logged], kind: str) -> None:
    log = logged([(kind, "x-a")])
    for c in PASSING:
        field = b"X-A: a" + bytes([c]) + b"b\r\n"
        log.exchange(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n", b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 0\r\n\r\n"
        )
        assert log.text() == b"a" + expected_text(c) + b"b\n"


@pytest.mark.parametrize("kind", ["request_header", "response_header"])
def test_every_byte_is_escaped_in_json(logged: Callable[..., Logged], kind: str) -> None:
    log = logged([("json", "ON"), ("text", '{"a":"'), (kind, "x-a"), ("text", '"}')])
    for c in PASSING:
        field = b"X-A: a" + bytes([c]) + b"b\r\n"
        log.exchange(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n", b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 0\r\n\r\n"
        )
        line = log.text()
        assert line.isascii() and json.loads(line) == {"a": f"a{chr(c)}b"}


def test_bytes_that_no_message_may_hold_never_reach_the_log(logged: Callable[..., Logged]) -> None:
    log = logged([("request_header", "x-a"), ("text", " "), ("path", "")])
    for c in sorted(set(range(256)) - set(PASSING)):
        client = log.gateway.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a" + bytes([c]) + b"b\r\n\r\n")
        client.response()
        assert log.text() == b"- -\n"


def test_targets_are_escaped(logged: Callable[..., Logged]) -> None:
    log = logged([("method", ""), ("text", " "), ("path", "")])
    for c in range(0x21, 0x7F):
        target = b"/a" + bytes([c]) + b"b?" + bytes([c])
        client = log.gateway.client().send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        log.gateway.settle()
        if log.gateway.upstreams[0].has_connection(log.gateway):
            log.gateway.peers[-1].send(OK + b"burnt")
        status = client.response().status
        line = log.text()
        assert line.count(b"\n") == 1 and b'"' not in line
        if status == 200:
            assert line == b"GET /a" + expected_text(c) + b"b?" + expected_text(c) + b"\n"


def test_json_may_be_switched_off_again(logged: Callable[..., Logged]) -> None:
    log = logged([("json", "ON"), ("request_header", "x-a"), ("json", "OFF"), ("text", " "), ("request_header", "x-a")])
    for _ in range(2):
        log.exchange(b'GET / HTTP/1.1\r\nHost: a\r\nX-A: "\\\r\n\r\n')
    assert log.text() == b'\\"\\\\ \\x22\\x5c\n' * 2


@pytest.mark.parametrize("kind", ["request_header", "response_header"])
def test_long_values_are_cut(logged: Callable[..., Logged], kind: str) -> None:
    log = logged([(kind, "x-a"), ("text", "|"), ("limit", "5"), (kind, "x-a"), ("text", "|"), (kind, "x-b"), ("text", "|")])
    field = b"X-A: " + b"ab\xe9" * 4000 + b"\r\nX-B: 0123456789\r\n"
    log.exchange(*both(field))
    whole, cut, short, _ = log.text().split(b"|")
    assert whole == (b"ab\\xe9" * 4000)[: 2730 * 6 + 2]  # 8192 bytes before escaping
    assert (cut, short) == (b"ab\\xe9ab", b"0123456789")


@pytest.mark.parametrize("limit", ["0", "8", "999999999"])
def test_limits(logged: Callable[..., Logged], limit: str) -> None:
    log = logged([("limit", limit), ("path", ""), ("text", " "), ("method", "")])
    log.exchange(b"GET /0123456789 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert log.text() == {"0": b" GET\n", "8": b"/0123456 GET\n"}.get(limit, b"/0123456789 GET\n")


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
        ("%s", r"\d{10}"),
        ("%s.%3f", r"\d{10}\.\d{3}"),
        ("%Y/%m/%dT%H:%M:%S%z %6f %9f %1f", r"\d{4}/\d\d/\d\dT\d\d:\d\d:\d\d\+0000 \d{6} \d{9} \d"),
        ("%%literal", "%literal"),
        ("ends with %", "ends with %"),
        ("", r".*"),
    ],
)
def test_start_times(logged: Callable[..., Logged], form: str, pattern: str) -> None:
    log = logged([("start_time", form), ("text", "|"), ("start_time", "%s")])
    before = int(time.time())
    log.exchange(GET)
    text, seconds = log.text().decode().split("|")
    assert re.fullmatch(pattern, text) and before <= int(seconds) <= time.time()


def test_a_default_start_time_is_the_epoch_in_words(logged: Callable[..., Logged]) -> None:
    log = logged([("start_time", ""), ("text", "|"), ("start_time", "%s.%3f")])
    log.exchange(GET)
    words, number = log.text().decode().strip().split("|")
    seconds, fraction = number.split(".")
    assert words == time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(int(seconds))) + fraction + "Z"


def test_an_unknown_operation_is_refused(make_gateway: Callable[..., Gateway]) -> None:
    with pytest.raises(ValueError):
        Gateway(log=[("nonsense", "")], log_fd=1)


# ---- when lines are written


def test_lines_go_out_within_a_fifth_of_a_second(logged: Callable[..., Logged]) -> None:
    log = logged([("code", "")])
    log.exchange(GET)
    log.gateway.pass_ms(300)
    assert os.pread(log.fd, 100, 0) == b"200\n"
    assert log.gateway.counter("FGW_C_LOG_LINES") == 1


def test_much_goes_out_at_once(logged: Callable[..., Logged]) -> None:
    log = logged([("text", "x" * 20_000)])
    for _ in range(4):
        log.gateway.client().send(b"BAD\r\n\r\n").response()
    assert os.fstat(log.fd).st_size >= 60_000


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 255, 4096, 70_000])
def test_text_between_values_of_any_length(logged: Callable[..., Logged], size: int) -> None:
    text = "".join(chr(97 + i % 26) for i in range(size))
    log = logged([("code", ""), ("text", text), ("code", ""), ("text", text), ("reject_reason", ""), ("path", ""), ("text", text)])
    log.gateway.client().send(b"BAD\r\n\r\n").response()
    assert log.text().decode() == f"400{text}400{text}bad_request_line-{text}\n"


def test_lines_of_one_turn_that_need_more_than_a_block(logged: Callable[..., Logged]) -> None:
    log = logged([("request_header", "x")])
    log.gateway.serve()  # nobody: the gateway answers at once
    client = log.gateway.client().send(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: %s\r\n\r\n" % (b'"' * 4000) * 12)
    client.until(lambda data: data.count(b"HTTP/1.1 503") == 12)
    assert log.text() == (b"\\x22" * 4000 + b"\n") * 12


def test_the_log_goes_to_another_file(logged: Callable[..., Logged]) -> None:
    log = logged([("code", "")])
    log.exchange(GET)
    other = os.memfd_create("log")
    log.gateway.log.flush()
    log.gateway.log.use(other)
    log.gateway.client().send(b"BAD\r\n\r\n").response()
    assert log.text() == b"200\n"
    assert os.pread(other, 100, 0) == b"400\n"
    os.close(other)


def answered_here(gateway: Gateway, count: int, path: str = "/") -> None:
    """Requests that are answered, and logged, without an upstream."""
    gateway.attach(make_plan([Cluster("c", "c", 80)]))
    request = f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()
    client = gateway.client()
    for _ in range(count):
        client.send(request)
        client.response()
    client.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe with blocking ends, as a service manager gives one: write end, read end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    yield writer, reader
    for fd in (reader, writer):
        os.close(fd)


def drained(reader: int) -> bytes:
    os.set_blocking(reader, False)
    data = bytearray()
    while True:
        try:
            piece = os.read(reader, 65536)
        except BlockingIOError:
            return bytes(data)
        data += piece


@pytest.mark.parametrize("length", [50, 3_000, 7_000])
def test_a_stuck_pipe_never_blocks(make_gateway: Callable[..., Gateway], pipe: tuple[int, int], length: int) -> None:
    """Lines shorter and longer than what a pipe takes in one piece; what finds no room is dropped in whole lines, and counted."""
    writer, reader = pipe
    gateway = make_gateway(log=[("path", ""), END], log_fd=writer)
    count = 2 * 300_000 // length
    path = "/" + "p" * length
    answered_here(gateway, count, path)
    gateway.pass_ms(1_000)
    assert gateway.alive()["buffer_bytes"] <= 256 << 10
    taken = drained(reader)
    for _ in range(200):
        gateway.log.flush()
        piece = drained(reader)
        taken += piece
        if not piece:
            break
    lines = taken.decode().split("\n")
    assert lines.pop() == "" and set(lines) == {path}
    dropped = gateway.counter("FGW_C_LOG_DROPPED")
    assert dropped > 0 and dropped + len(lines) == count == gateway.counter("FGW_C_LOG_LINES") + dropped
    answered_here(gateway, 1, "/after")
    gateway.log.flush()
    assert drained(reader) == b"/after\n", "and goes on when somebody reads again"


def test_a_full_disk_costs_lines_not_requests(make_gateway: Callable[..., Gateway]) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    gateway = make_gateway(log=[("path", ""), END], log_fd=fd)
    answered_here(gateway, 20)
    gateway.pass_ms(500)
    assert gateway.counter("FGW_C_LOG_DROPPED") == 20 and gateway.alive()["buffer_bytes"] == 0
    os.close(fd)


def test_a_closed_pipe_costs_lines_not_requests(make_gateway: Callable[..., Gateway]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    gateway = make_gateway(log=[("path", ""), END], log_fd=writer)
    answered_here(gateway, 20)
    gateway.pass_ms(500)
    assert gateway.counter("FGW_C_LOG_DROPPED") == 20
    os.close(writer)


def test_a_burst_of_long_lines_in_one_turn_is_no_bug(make_gateway: Callable[..., Gateway], pipe: tuple[int, int]) -> None:
    """A stuck sink and lines of 100 KB each: the buffer's limit is met in the middle of a line."""
    writer, reader = pipe
    program: Program = [("json", "ON"), ("request_header", "x-a"), ("request_header", "x-b"), ("request_header", "x-c"), END]
    gateway = make_gateway(log=program, log_fd=writer)
    fields = b"".join(b"X-%c: " % c + b"\xe9" * 8_000 + b"\r\n" for c in b"ABC")
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", 1)])]))
    for _ in range(12):
        client = gateway.client().send(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
        assert client.response().status == 503
        client.close()
    assert gateway.bugs == [] and gateway.counter("FGW_C_LOG_DROPPED") > 0
    text = b""
    for _ in range(400):
        gateway.log.flush()
        piece = drained(reader)
        text += piece
        if not piece:
            break
    assert set(text.splitlines()) == {b"\\u00e9" * 24_000}
    assert len(text.splitlines()) + gateway.counter("FGW_C_LOG_DROPPED") == 12
