"""HTTP/2 with real clients: chosen by ALPN or by its preface, beside HTTP/1.1, through reloads and drains."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from wire.h2 import GOAWAY, PING, PREFACE, headers, ping, settings

from .conftest import StartGateway, StartTls
from .support.certificates import Authority, mount
from .support.config import gateway_of, http_server, https_server, route, simple, text_of, virtual_service
from .support.curl import curl
from .support.gateway import Gateway
from .support.h2_wire import H2Wire
from .support.origin import RecordingOrigin, Reply
from .support.poll import eventually
from .support.tls_client import client_context
from .support.tls_world import PLAIN, TlsWorld, upstreams

HOST = "webapp.test"


@pytest.fixture
def tls_world(start_tls: StartTls, origin: RecordingOrigin, authority: Authority) -> TlsWorld:
    documents = [gateway_of("gw", [https_server([PLAIN], "web")]), *upstreams(origin, [PLAIN])]
    return start_tls(documents, lambda secrets: mount(secrets, "web", authority.issue(PLAIN)))


def secure(world: TlsWorld, *alpn: str) -> ssl.SSLSocket:
    context = client_context(world.authority, alpn=alpn)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", world.port)), server_hostname=PLAIN)


def plain(gateway: Gateway) -> H2Wire:
    return H2Wire(socket.create_connection(("127.0.0.1", gateway.port(80))), "http", HOST)


def status_of(wire: H2Wire, stream: int) -> int:
    wire.read_until(lambda: wire.answered(stream))
    return wire.status(stream)


# --- how it begins


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), ([], None), (["h2"], "h2")],
)
def test_alpn(tls_world: TlsWorld, offered: list[str], chosen: str | None) -> None:
    with secure(tls_world, *offered) as sock:
        assert sock.selected_alpn_protocol() == chosen


def test_only_an_unknown_protocol_is_refused(tls_world: TlsWorld) -> None:
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        secure(tls_world, "spdy/3")


@pytest.mark.parametrize("offered", [["h2"], []], ids=["agreed", "no ALPN"])
def test_over_tls(tls_world: TlsWorld, offered: list[str]) -> None:
    with H2Wire(secure(tls_world, *offered), "https", PLAIN) as wire:
        wire.start()
        wire.send(wire.get())
        assert status_of(wire, 1) == 200


def test_bytes_of_the_other_protocol(tls_world: TlsWorld) -> None:
    """X18"""
    with secure(tls_world, "http/1.1") as sock:
        sock.sendall(PREFACE + settings())
        assert sock.recv(1000) == b""
    with H2Wire(secure(tls_world, "h2")) as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n".encode())
        wire.read_until(lambda: False)
        assert wire.ended and not wire.statuses


def test_the_preface_decides_on_a_plain_port(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    with plain(gateway) as wire:
        for byte in PREFACE:
            wire.send(bytes([byte]))
        wire.send(settings(), wire.get())
        assert status_of(wire, 1) == 200
    assert gateway.get("/", HOST).status == 200


def test_upgrade_to_h2c_is_ignored(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port))
    with gateway.client() as client:
        client.send(
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        assert client.response().status == 200
    assert b"upgrade" not in {name.lower() for name, _ in origin.seen[-1].message.fields}


# --- real clients


def test_curl(tls_world: TlsWorld, origin: RecordingOrigin, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 8000)
    where = f"https://{PLAIN}:{tls_world.port}/"
    known = ["--http2", "--cacert", tls_world.ca_file(), "--resolve", f"{PLAIN}:{tls_world.port}:127.0.0.1"]
    version = ["-o", "/dev/null", "-s", "-w", "%{http_version} %{http_code}"]
    done = subprocess.run(["curl", "--max-time", "30", *version, *known, where], capture_output=True, text=True, check=True)
    assert done.stdout == "2 200"
    answer = curl(*known, where, "-H", "Expect: 100-continue", "--data-binary", f"@{large}")
    assert answer.status == 200
    assert origin.seen[-1].message.body == large.read_bytes()
    assert curl(*known, "-I", where).status == 200


def test_nghttp_and_h2load(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=2)
    where = f"http://127.0.0.1:{gateway.port(80)}/"
    words = ["nghttp", "-nv", "-m", "20", "-H", f":authority: {HOST}", "-H", "trailer: x-t", "--trailer", "x-t: 1", "-d", __file__]
    said = subprocess.run([*words, where], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.count(":status: 200") == 20, said
    words = ["h2load", "-n", "2000", "-c", "8", "-m", "32", "-H", f":authority: {HOST}", where]
    said = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    gateway.assert_no_leaks()


# --- reloads and the end


def test_a_connection_outlives_a_reload(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    any_host = [gateway_of("gw", [http_server()]), *simple(HOST, origin.port)[1:]]
    gateway = start_gateway(any_host, workers=1)
    with plain(gateway) as wire:
        wire.start().send(wire.get())
        assert status_of(wire, 1) == 200
        gateway.write("more.yaml", [virtual_service("other", ["other.test"], [route("nowhere", 80)])])
        wire.authority = "other.test"
        stream = iter(range(3, 2001, 2))

        def status() -> int:
            number = next(stream)
            wire.send(wire.get(number))
            return status_of(wire, number)

        eventually(lambda: status() == 503, "the new rule is obeyed")
        assert wire.goaway is None


def test_a_drain_loses_nothing(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """F15: what is under way is answered, what was on its way too, and GOAWAY tells the last."""
    origin.answer = lambda *_: Reply()
    gateway = start_gateway(simple(HOST, origin.port), workers=1, options=["--drain-time", "600"])
    with plain(gateway) as wire:
        wire.start().send(*(wire.get(stream) for stream in (1, 3, 5)))
        eventually(lambda: len(origin.seen) == 3, "three requests at the origin")
        gateway.signal(signal.SIGTERM)
        wire.read_until(lambda: any(f.kind == GOAWAY for f in wire.frames))
        assert next(f.payload for f in wire.frames if f.kind == GOAWAY)[:4] == b"\x7f\xff\xff\xff"
        wire.send(wire.get(7))
        asked = next(f.payload for f in wire.frames if f.kind == PING and not f.flags)
        wire.send(ping(asked, 1))
        wire.read_until(lambda: sum(f.kind == GOAWAY for f in wire.frames) == 2)
        eventually(lambda: len(origin.seen) == 4, "the late request at the origin")
        for connection in origin.connections:
            origin.call(lambda c=connection: origin.send(c, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        wire.read_until(lambda: False)
        assert [wire.status(stream) for stream in (1, 3, 5, 7)] == [200] * 4
        assert (wire.goaway, wire.ended) == (0, "eof")
        assert gateway.wait_exit() == 0
        last = [f.payload for f in wire.frames if f.kind == GOAWAY][1]
        assert int.from_bytes(last[:4], "big") == 7


def test_a_listener_that_goes_says_goodbye(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1, ports=(80, 81))
    (file,) = gateway.config.glob("*.yaml")
    with plain(gateway) as wire:
        wire.start().send(wire.get())
        assert status_of(wire, 1) == 200
        file.write_text(text_of(simple(HOST, origin.port, listen=81)))
        wire.read_until(lambda: wire.ended != "")
        assert (wire.goaway, wire.ended) == (0, "eof")


def test_refusals_are_counted_and_logged(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    with plain(gateway) as wire:
        wire.start().send(headers(1, wire.request((b"connection", b"close"))))
        wire.read_until(lambda: 1 in wire.resets)
        wire.send(b"".join(ping(bytes(8)) for _ in range(3000)))
        wire.read_until(lambda: wire.ended != "")
        assert wire.goaway in (11, None)
    for reason in ("h2_connection_field", "h2_ping_flood"):
        eventually(lambda r=reason: gateway.metrics().total("fastgw_rejected_requests_total", reason=r) == 1, reason)
