"""Seeds of the fuzz targets, made of the wire cases, of hellos that OpenSSL writes, and of a compiled route image.

Run as a script: ``python tests/fuzz/corpus.py DIRECTORY`` writes ``DIRECTORY/<target>/<seed>``.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from wire import load  # noqa: E402

SEED_MAX = 4096
"""Longer cases test limits, not syntax; as seeds they only slow the fuzzer down."""


def heads(name: str) -> Iterator[tuple[str, bytes]]:
    """The messages of a wire file."""
    for case in load(name):
        if len(case.data) <= SEED_MAX:
            yield case.id, case.data


def h2_heads() -> Iterator[tuple[str, bytes]]:
    """The requests of the HTTP/2 wire cases, a response and trailers."""
    yield from heads("h2_requests")
    yield "response", b"r:status=200|content-type=text/plain|content-length=5"
    yield "trailers", b"tgrpc-status=0|grpc-message=ok"
    yield "websocket", b"w:method=CONNECT|:protocol=websocket|:scheme=https|:path=/|:authority=a.test"


def chunked() -> Iterator[tuple[str, bytes]]:
    """The bodies of the wire requests that have one."""
    for case in load("requests"):
        body = case.data.partition(b"\r\n\r\n")[2]
        if body and len(body) <= SEED_MAX:
            yield case.id, body


def targets() -> Iterator[tuple[str, bytes]]:
    """The second word of every request line, and the value of every Host."""
    for case in load("requests"):
        lines = case.data.split(b"\r\n")
        words = lines[0].split(b" ")
        if len(words) > 1 and len(words[1]) <= SEED_MAX:
            yield case.id, words[1]
        for line in lines[1:]:
            if line.lower().startswith(b"host:"):
                yield f"{case.id}-host", line[5:].strip()


def hello(server_name: str | None, alpn: list[str]) -> bytes:
    """The ClientHello that OpenSSL sends."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=server_name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without a peer cannot end")


def hellos() -> Iterator[tuple[str, bytes]]:
    """Whole hellos, and the same in small records."""
    for name in (None, "webapp.test"):
        for alpn in ([], ["h2", "http/1.1"]):
            data = hello(name, alpn)
            yield f"{name}-{len(alpn)}", data
            parts = [data[i : i + 90] for i in range(5, len(data), 90)]
            yield f"{name}-{len(alpn)}-split", b"".join(b"\x16\x03\x01" + len(p).to_bytes(2, "big") + p for p in parts)


def proxy_headers() -> Iterator[tuple[str, bytes]]:
    """Lines and blocks, whole and followed by a request."""
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    for name, data in {
        "line-4": b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
        "line-6": b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
        "line-unknown": b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        "block-4": signature + b"\x21\x11\0\x0c" + bytes(range(12)),
        "block-6": signature + b"\x21\x21\0\x24" + bytes(range(36)),
        "block-unix": signature + b"\x21\x31\0\xd8" + bytes(216),
        "block-local": signature + b"\x20\0\0\0",
        "block-alpn": signature + b"\x21\x11\0\x11" + bytes(range(12)) + b"\1\0\2h2",
        "block-checksum": signature + b"\x21\0\0\7\3\0\4" + (0x3EC9894E).to_bytes(4, "big"),
    }.items():
        yield name, data
        yield f"{name}-request", data + b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


def images() -> Iterator[tuple[str, bytes]]:
    """Route images written from small plans."""
    sys.path.insert(0, str(TESTS / "unit" / "image"))
    from random import Random

    from image_plans import some_plan

    from fastgw.image.numbers import StateNumbers
    from fastgw.image.writer import write_image

    for seed in range(8):
        yield f"plan-{seed}", write_image(some_plan(Random(seed)), StateNumbers(), 1)
    for seed in range(4):
        yield f"crowded-{seed}", write_image(some_plan(Random(seed), crowded=True), StateNumbers(), 1)


def networks() -> Iterator[tuple[str, bytes]]:
    """Sets of networks, and addresses as text."""
    from fastgw.model.cidr import cidr_set, parse_network

    for text in ("10.1.2.3", "2001:db8::7", "::ffff:10.0.0.1", "::"):
        yield f"address-{len(text)}", text.encode()
    v4, v6 = ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3"], ["::/0", "2001:db8::/32"]
    for number, texts in enumerate(([], v4, v6, v4 + v6)):
        yield f"set-{number}", cidr_set((parse_network(text), value) for value, text in enumerate(texts, 1))


CORPORA = {
    "fuzz_cidr": networks,
    "fuzz_http1_request": lambda: heads("requests"),
    "fuzz_http1_response": lambda: heads("responses"),
    "fuzz_http2_head": h2_heads,
    "fuzz_chunked": chunked,
    "fuzz_uri": targets,
    "fuzz_tls_hello": hellos,
    "fuzz_proxy_proto": proxy_headers,
    "fuzz_image": images,
}


def write(target: str, directory: Path) -> int:
    """Write the seeds of one target; returns their number."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, data in CORPORA[target]():
        (directory / f"seed-{name}").write_bytes(data)
        count += 1
    return count


if __name__ == "__main__":
    for each in CORPORA:
        print(each, write(each, Path(sys.argv[1]) / each), "seeds")
