"""The C matcher for the control side and the tests: the very code that serves traffic, called on an image in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from fastgw.image.layout import ImageError, ffi, lib

VERDICTS = {
    lib.FGW_ROUTE_NO_VHOST: "no_virtual_host",
    lib.FGW_ROUTE_NO_RULE: "no_rule",
    lib.FGW_ROUTE_MATCH: "match",
    lib.FGW_ROUTE_REQUIRE_TLS: "require_tls",
}
OWNERS = {
    lib.FGW_OWNER_SELF: "self",
    lib.FGW_OWNER_TWIN: "twin",
    lib.FGW_OWNER_OTHER: "other",
    lib.FGW_OWNER_NONE: "none",
}


class RouteRequest(msgspec.Struct, frozen=True):
    """What routing looks at. ``host``: without port, any case; ``path``: normalised, without query; ``query``: None for none."""

    host: bytes
    path: bytes
    query: bytes | None = None
    method: bytes = b"GET"
    scheme: bytes = b"http"
    authority: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    secure: bool = False

    @property
    def raw_path(self) -> bytes:
        return self.path if self.query is None else self.path + b"?" + self.query


class Match(NamedTuple):
    """Answer of the matcher; indexes are None where the verdict has none."""

    verdict: str
    vhost: int | None
    rule: int | None
    action: int | None


def _index(value: int) -> int | None:
    return None if value == lib.FGW_NONE else value


class Matcher:
    """An image with its compiled regexes. Raises ImageError when the check refuses the bytes."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        self._bytes = ffi.from_buffer(image)
        answer = lib.fgw_image_check(self._bytes, len(image))
        if answer != 1:
            raise ImageError(f"not a usable image: {ffi.string(lib.fgw_reason_name(-answer)).decode()}")
        self._regexes = ffi.gc(lib.fgw_regexes_open(self._bytes, ffi.NULL), lib.fgw_regexes_close)
        self._calls = lib.fgw_regexes_calls()
        self._result = ffi.new("fgw_route_result *")

    def listener(self, name: str) -> int | None:
        """Index of the listener with this name."""
        raw = name.encode()
        return _index(lib.fgw_listener_find(self._bytes, raw, len(raw)))

    def plain_chain(self, listener: int) -> int | None:
        """Index of the chain for connections without TLS."""
        return _index(self._records("listeners")[listener].plain)

    def plain_table(self, listener: int) -> int | None:
        """The route table of requests that come to the listener without TLS."""
        return self.table_of(self._records("listeners")[listener].plain)

    def chain_of_sni(self, listener: int, sni: bytes) -> int | None:
        """Index of the chain for a server name, b"" for none; None when no chain takes it."""
        return _index(lib.fgw_chain_of_sni(self._bytes, listener, sni, len(sni)))

    def chain(self, listener: int, name: str) -> int | None:
        """Index of the chain with this name."""
        raw = name.encode()
        return _index(lib.fgw_chain_find(self._bytes, listener, raw, len(raw)))

    def table_of(self, chain: int) -> int | None:
        """The route table of a chain; None of a tcp chain."""
        return None if chain == lib.FGW_NONE else _index(self._records("chains")[chain].route_table)

    def request_table(self, listener: int, chain: int, host: bytes) -> tuple[str, int | None]:
        """Whose a request's host is on a connection of a chain (self, twin, other, none), and the route table that decides."""
        table = ffi.new("uint32_t *")
        owner = lib.fgw_request_table(self._bytes, listener, chain, host, len(host), table)
        return OWNERS[owner], _index(table[0])

    def _records(self, table: str) -> Any:
        header = ffi.cast("fgw_image_header *", self._bytes)
        base = ffi.cast("char *", self._bytes) + getattr(header, table).off
        return ffi.cast(f"fgw_img_{table.removesuffix('s')} *", base)

    def match(self, listener: int, request: RouteRequest) -> Match:
        """The rule that a request without TLS takes on the listener."""
        return self.match_in(self.plain_table(listener), request)

    def match_in(self, table: int | None, request: RouteRequest) -> Match:
        """The rule that a request takes in a route table; None: there is none."""
        c_request, _alive = c_request_of(request)
        wanted = lib.FGW_NONE if table is None else table
        verdict = lib.fgw_route_match(self._bytes, wanted, c_request, request.secure, self._regexes, self._calls, self._result)
        result = self._result
        return Match(VERDICTS[verdict], _index(result.vhost), _index(result.rule), _index(result.action))

    def failing(self, rule: int, request: RouteRequest) -> int | None:
        """First condition of the rule that fails: None when it matches, 0 for the path, k for predicate k - 1."""
        c_request, _alive = c_request_of(request)
        answer = lib.fgw_rule_check(self._bytes, rule, c_request, self._regexes, self._calls)
        return None if answer < 0 else int(answer)

    def denied(self, guard: int, source_ip: str) -> int | None:
        """Index of the source list of a guard that keeps an address out; None when all let it in."""
        raw, address, named = source_ip.encode(), ffi.new("fgw_ip *"), ffi.new("int *")
        known = lib.fgw_ip_parse(raw, len(raw), address)
        return _index(lib.fgw_guard_denies(self._bytes, guard, address if known else ffi.NULL, named))

    def sticky_key(self, action: int, request: RouteRequest, source_ip: str) -> int | None:
        """What the request brings that makes its client keep a destination of the action; None for nothing."""
        c_request, _alive = c_request_of(request)
        key, address = ffi.new("uint64_t *"), source_ip.encode()
        found = lib.fgw_sticky_key(self._bytes, action, c_request, address, len(address), key)
        return int(key[0]) if found else None

    def sticky_destination(self, action: int, request: RouteRequest, source_ip: str) -> int | None:
        """Position of the destination that the client keeps; None when it is drawn by weight."""
        key = self.sticky_key(action, request, source_ip)
        return None if key is None else int(lib.fgw_sticky_pick(self._bytes, action, key))

    def location(self, rule: int, request: RouteRequest) -> bytes:
        """Where a rule that redirects sends the client."""
        c_request, _alive = c_request_of(request)
        to = ffi.new("char[]", lib.fgw_redirect_location_max(self._bytes, rule, c_request))
        return bytes(ffi.buffer(to, lib.fgw_redirect_location(self._bytes, rule, c_request, to)))

    def allows_origin(self, cors: int, request: RouteRequest) -> bool:
        """Whether the request's origin is one of those that a corsPolicy names."""
        header = ffi.cast("fgw_image_header *", self._bytes)
        records = ffi.cast("fgw_img_cors *", ffi.cast("char *", self._bytes) + header.cors.off)
        c_request, _alive = c_request_of(request)
        return bool(lib.fgw_any_predicate(self._bytes, records[cors].origins, c_request, self._regexes, self._calls))

    def rewritten(self, rule: int, request: RouteRequest) -> bytes | None:
        """The path and query that the upstream of a rule gets; None when it cannot be made."""
        c_request, _alive = c_request_of(request)
        room = lib.fgw_rewrite_path_max(self._bytes, rule, c_request)
        to, path_len = ffi.new("char[]", room + 1), ffi.new("size_t *")
        n = lib.fgw_rewrite_path(self._bytes, rule, c_request, self._regexes, self._calls, to, room, path_len)
        return None if n < 0 else bytes(ffi.buffer(to, n)) if n else request.raw_path


def c_request_of(request: RouteRequest) -> tuple[Any, list[Any]]:
    """The request as the C matcher wants it, and what must stay alive with it."""
    texts: dict[str, bytes] = {
        "host": request.host,
        "authority": request.authority,
        "path": request.path,
        "raw_path": request.raw_path,
        "query": request.query or b"",
        "method": request.method,
        "scheme": request.scheme,
    }
    alive: list[Any] = []
    c_request = ffi.new("fgw_route_request *")
    for name, value in texts.items():
        alive.append(ffi.from_buffer(value))
        setattr(c_request, name, alive[-1])
        setattr(c_request, f"{name}_len", len(value))
    base, fields = _fields(request.headers)
    alive += [base, fields]
    c_request.base, c_request.fields, c_request.field_count = base, fields, len(request.headers)
    return c_request, alive


def _fields(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[Any, Any]:
    fields = ffi.new("fgw_field[]", len(headers) + 1)
    head = bytearray()
    for field, (name, value) in zip(fields, headers, strict=False):
        field.name_off, field.name_len = len(head), len(name)
        head += name
        field.value_off, field.value_len = len(head), len(value)
        head += value
        field.id = lib.fgw_header_id_of(name, len(name))
    return ffi.from_buffer(bytes(head)), fields
