"""gRPC-Web as browsers speak it, to grpcio's server: framing by hand, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import StartGateway
from .support.config import gateway_of, http_server
from .support.gateway import Gateway
from .support.grpc_peers import SERVICE, EchoServer
from .test_grpc import HOST, documents

WEB, TEXT = "application/grpc-web+proto", "application/grpc-web-text"


def frame(message: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


def frames(data: bytes) -> tuple[list[bytes], dict[str, str]]:
    """The messages of an answer, and its trailers."""
    messages, trailers, at = [], {}, 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        piece = data[at + 5 : at + 5 + size]
        assert len(piece) == size and not trailers, "the trailers come last, and whole"
        if data[at] & 0x80:
            trailers = dict(line.split(":", 1) for line in piece.decode().splitlines())
        else:
            messages.append(piece)
        at += 5 + size
    return messages, trailers


def text_frames(data: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Each part that ends with padding is base64 of its own."""
    whole, at = b"", 0
    while at < len(data):
        whole += base64.b64decode(data[at : at + 4], validate=True)
        at += 4
    return frames(whole)


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with EchoServer() as made:
        yield made


@pytest.fixture(scope="module")
def running(server: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    web = {"port": {"number": 80, "name": "web", "protocol": "GRPC-WEB"}, "hosts": ["*"]}
    with Gateway(tmp_path_factory.mktemp("web"), [gateway_of("gw", [web]), *documents(server.port)[1:]]) as made:
        yield made


class Browser:
    """curl, which speaks both versions of HTTP."""

    def __init__(self, port: int, directory: Path, version: str):
        self.port, self.directory, self.version = port, directory, version

    def post(self, method: str, body: bytes, kind: str = WEB, accept: str | None = None) -> tuple[dict[str, str], bytes]:
        """Fields (with ``:status``) and body of the answer."""
        (self.directory / "body").write_bytes(body)
        words = ["curl", "-sS", f"--{self.version}", "-m", "20", "-o", str(self.directory / "answer"), "-D", "-"]
        words += ["-H", f"Host: {HOST}", "-H", f"Content-Type: {kind}", "-H", "X-Grpc-Web: 1", "-H", f"Accept: {accept or kind}"]
        words += ["--data-binary", f"@{self.directory / 'body'}", f"http://127.0.0.1:{self.port}/{SERVICE}/{method}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
        status, *lines = done.stdout.strip().splitlines()
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        answer = self.directory / "answer"
        return {":status": status.split()[1], **fields}, answer.read_bytes() if answer.exists() else b""


@pytest.fixture(params=["http1.1", "http2-prior-knowledge"])
def browser(running: Gateway, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Browser]:
    yield Browser(running.port(), tmp_path, request.param)
    running.assert_no_leaks()


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_a_unary_call(browser: Browser, size: int) -> None:
    fields, body = browser.post("Unary", frame(b"x" * size))
    assert (fields[":status"], fields["content-type"]) == ("200", WEB)
    messages, trailers = frames(body)
    assert messages == [b"echo|" + b"x" * size] and trailers["grpc-status"] == "0"


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_a_unary_call_as_text(browser: Browser, size: int) -> None:
    fields, body = browser.post("Unary", base64.b64encode(frame(b"x" * size)), TEXT)
    assert (fields[":status"], fields["content-type"]) == ("200", f"{TEXT}+proto")
    messages, trailers = text_frames(body)
    assert messages == [b"echo|" + b"x" * size] and trailers["grpc-status"] == "0"


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_a_stream_of_answers(browser: Browser, kind: str) -> None:
    asked = frame(b"200")
    _, body = browser.post("Count", base64.b64encode(asked) if kind == TEXT else asked, kind)
    messages, trailers = (text_frames if kind == TEXT else frames)(body)
    assert messages == [b"%d" % i for i in range(200)] and trailers["grpc-status"] == "0"


def test_metadata(browser: Browser) -> None:
    fields, body = browser.post("Meta", frame(b""))
    messages, trailers = frames(body)
    assert fields["x-initial"] == "1" and trailers["x-last"] == "2" and trailers["x-last-bin"] == "/gE"
    seen = messages[0].decode()
    assert "x-grpc-web='1'" in seen and "te=" not in seen.replace("x-envoy", "")


def test_an_error_of_the_upstream(browser: Browser) -> None:
    fields, body = browser.post("Fail", frame(b"5 not here"))
    trailers = fields if not body else frames(body)[1]
    assert (fields[":status"], trailers["grpc-status"], trailers["grpc-message"]) == ("200", "5", "not here")


def test_an_error_of_the_gateway(browser: Browser, running: Gateway) -> None:
    fields, body = browser.post("Unary", b"*not base64*", TEXT)
    assert (fields[":status"], fields["grpc-status"], body) == ("200", "13", b"")
    assert fields["content-type"] == f"{TEXT}+proto"


def test_other_ports_do_not_translate(start_gateway: StartGateway, server: EchoServer, tmp_path: Path) -> None:
    plain = start_gateway([gateway_of("gw", [http_server()]), *documents(server.port)[1:]])
    fields, body = Browser(plain.port(), tmp_path, "http1.1").post("Unary", frame(b""))
    assert fields["content-type"] == "application/grpc" and b"grpc-status" not in body
