"""The parsers of ext/ as the tests see them: bytes in, verdicts out (see wire/__init__.py for their form)."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastgw.native._native import ffi, lib

FIELDS_MAX = 100
FIELDS = ffi.new("fgw_field[]", FIELDS_MAX + 1)


@dataclass
class Head:
    """A parsed head, copied out of C memory."""

    verdict: str
    used: int = 0
    flags: int = 0
    framing: int = 0
    content_length: int = 0
    status: int = 0
    minor: int = 0
    leniencies: int = 0
    method: bytes = b""
    target: bytes = b""
    path: bytes = b""
    query: bytes | None = None
    authority: bytes = b""
    host: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    field_flags: list[int] = field(default_factory=list)


def reason(code: int) -> str:
    """The name of a parser's negative answer."""
    return ffi.string(lib.fgw_reason_name(-code)).decode()


def limits(**given: int):
    """An fgw_limits; what is not given has its default."""
    return ffi.new("fgw_limits *", given)


def _copy_fields(head: Head, data: bytes, count: int) -> None:
    for f in FIELDS[0:count]:
        head.fields.append((data[f.name_off : f.name_off + f.name_len], data[f.value_off : f.value_off + f.value_len]))
        head.ids.append(f.id)
        head.field_flags.append(f.flags)


def _answer(used: int) -> str:
    return "ok" if used > 0 else "more" if used == 0 else reason(used)


def parse_request(data: bytes, *, scalar: bool = False, seen: int = 0, **given: int) -> Head:
    """Parse a request head by the dispatching parser or its scalar twin."""
    out = ffi.new("fgw_request *")
    parser = lib.fgw_parse_request_scalar if scalar else lib.fgw_parse_request
    used = parser(ffi.from_buffer(data), len(data), seen, limits(**given), out, FIELDS, len(FIELDS))
    if used <= 0:
        return Head(_answer(used))

    def text(span) -> bytes:
        return data[span.off : span.off + span.len]

    head = Head("ok", used, out.flags, out.framing, out.content_length, minor=out.minor, leniencies=out.leniencies)
    head.method, head.target, head.path = text(out.method), text(out.target), text(out.path)
    head.query = text(out.query) if out.has_query else None
    head.authority, head.host = text(out.authority), text(out.host)
    _copy_fields(head, data, out.field_count)
    return head


def parse_response(data: bytes, *, scalar: bool = False, seen: int = 0, **given: int) -> Head:
    """Parse a response head by the dispatching parser or its scalar twin."""
    out = ffi.new("fgw_response *")
    parser = lib.fgw_parse_response_scalar if scalar else lib.fgw_parse_response
    used = parser(ffi.from_buffer(data), len(data), seen, limits(**given), out, FIELDS, len(FIELDS))
    if used <= 0:
        return Head(_answer(used))
    head = Head("ok", used, out.flags, out.framing, out.content_length, status=out.status, minor=out.minor)
    _copy_fields(head, data, out.field_count)
    return head


def parse_h2_request(data: bytes, *, options: int = 0, **given: int) -> Head:
    """Collect and judge a field block of an HTTP/2 request, in the notation of h2_requests.tsv."""
    memory, entries = ffi.new("char[]", 65536 + lib.FGW_H2_SLACK), ffi.new("fgw_field[]", FIELDS_MAX + 2)
    block, out = ffi.new("fgw_h2_head *"), ffi.new("fgw_request *")
    block.base, block.cap, block.fields, block.field_cap = memory, len(memory), entries, len(entries)
    lib.fgw_h2_start(block, lib.FGW_H2_REQUEST, options, limits(**given))
    for item in data[1:].split(b"|") if data[1:] else []:
        name, _, value = item.partition(b"=")
        lib.fgw_h2_add(block, ffi.from_buffer(name), len(name), ffi.from_buffer(value), len(value))
    refused = lib.fgw_h2_request(block, data[:1] == b".", out)
    if refused:
        return Head(reason(-refused))
    kept = ffi.buffer(memory, block.len)[:]

    def text(span) -> bytes:
        return kept[span.off : span.off + span.len]

    head = Head("ok", out.head_len, out.flags, out.framing, out.content_length, minor=out.minor, leniencies=out.leniencies)
    head.method, head.target, head.path = text(out.method), text(out.target), text(out.path)
    head.query = text(out.query) if out.has_query else None
    head.authority, head.host = text(out.authority), text(out.host)
    for f in entries[0 : out.field_count]:
        head.fields.append((kept[f.name_off : f.name_off + f.name_len], kept[f.value_off : f.value_off + f.value_len]))
        head.ids.append(f.id)
        head.field_flags.append(f.flags)
    return head


def decode_chunked(data: bytes, piece: int = 1 << 30) -> tuple[str, bytes, int]:
    """Verdict, body and bytes used of a chunked body that arrives in pieces of at most ``piece`` bytes."""
    state = ffi.new("fgw_chunked *")
    used, off, size = ffi.new("size_t *"), ffi.new("size_t *"), ffi.new("size_t *")
    body, at = b"", 0
    while True:
        part = data[at : at + piece]
        event = lib.fgw_chunked_decode(state, ffi.from_buffer(part), len(part), used, off, size)
        at += used[0]
        if event < 0:
            return reason(event), body, at
        if event == lib.FGW_CHUNK_DATA:
            body += part[off[0] : off[0] + size[0]]
        if event == lib.FGW_CHUNK_END:
            return "ok", body, at
        if event == lib.FGW_CHUNK_MORE and at == len(data):
            return "more", body, at


def _body_verdict(head: Head, framing: int, rest: bytes) -> str:
    if framing == lib.FGW_FRAMING_CHUNKED:
        return decode_chunked(rest)[0]
    if framing == lib.FGW_FRAMING_LENGTH:
        return "ok" if len(rest) >= head.content_length else "more"
    return "ok"


def _verdict(head: Head, framing: int, rest: bytes) -> str:
    if head.verdict != "ok" or framing == lib.FGW_FRAMING_NONE:
        return head.verdict
    return f"ok/{_body_verdict(head, framing, rest)}"


def request_verdict(data: bytes, **options: int) -> str:
    """The verdict of the first request in the data, its body included."""
    head = parse_request(data, **options)
    return _verdict(head, head.framing, data[head.used :])


def response_verdict(data: bytes, **options: int) -> str:
    """The verdict of the first response in the data, its body included."""
    head = parse_response(data, **options)
    return _verdict(head, head.framing, data[head.used :])


def normalize(path: bytes, mode: int) -> bytes | str:
    """The normalised path, or the reason of its refusal."""
    out = ffi.new("char[]", len(path) + 1)
    n = lib.fgw_path_normalize(ffi.from_buffer(path), len(path), mode, out, len(path) + 1)
    return ffi.buffer(out, n)[:] if n > 0 else reason(n)


def split_authority(text: bytes) -> tuple[bytes, int] | None:
    """Host and port (0: none), or None when the authority is refused."""
    span, port = ffi.new("fgw_span *"), ffi.new("uint32_t *")
    if lib.fgw_authority_split(ffi.from_buffer(text), len(text), span, port) < 0:
        return None
    return text[span.off : span.off + span.len], port[0]
