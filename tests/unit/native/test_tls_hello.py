"""The ClientHello peek on hellos that OpenSSL writes, whole and cut at every byte, in one record and in many."""

from __future__ import annotations

import ssl

import pytest
from wire.native import ffi, lib, reason


def client_hello(server_name: str | None, alpn: list[str], newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    if alpn:
        context.set_alpn_protocols(alpn)
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same handshake message in records of at most ``size`` bytes."""
    body = hello[5:]
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def peek(data: bytes) -> tuple[int, bytes | None, list[bytes] | None, int]:
    """Bytes used, server name, ALPN names and newest version."""
    out = ffi.new("fgw_hello *")
    used = lib.fgw_tls_hello_peek(ffi.from_buffer(data), len(data), out)
    assert used >= 0, reason(used)
    wire, names = ffi.buffer(out.alpn, out.alpn_len)[:], []
    while wire:
        names.append(wire[1 : 1 + wire[0]])
        wire = wire[1 + wire[0] :]
    sni = ffi.buffer(out.sni, out.sni_len)[:] if out.has_sni else None
    return used, sni, names if out.has_alpn else None, out.max_version


@pytest.mark.parametrize("size", [1, 7, 100, 16384])
def test_names_and_versions(size: int) -> None:
    data = in_records(client_hello("WebApp.test", ["h2", "http/1.1"]), size)
    assert peek(data + b"after") == (len(data), b"webapp.test", [b"h2", b"http/1.1"], 0x0304)
    assert peek(in_records(client_hello(None, []), size))[1:] == (None, None, 0x0304)
    assert peek(in_records(client_hello("a.test", [], ssl.TLSVersion.TLSv1_2), size))[1:] == (b"a.test", None, 0x0303)


@pytest.mark.parametrize("size", [40, 16384])
def test_every_shorter_part_asks_for_more(size: int) -> None:
    data = in_records(client_hello("webapp.test", ["h2"]), size)
    for at in range(len(data)):
        assert peek(data[:at])[0] == 0
