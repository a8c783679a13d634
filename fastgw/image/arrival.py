"""A request in words -> what is left of it when rules are asked: read by the parser of traffic, cleaned as the data plane does.

The rules of cleaning stand in fastgw/dataplane/headers.pyx, which the control side must not import; tests/functional compares
explain with live traffic. What the gateway's own settings change (trusted hops, underscores) is taken at its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastgw.image.layout import ffi, lib

Headers = tuple[tuple[bytes, bytes], ...]

ANY_CLIENT = b"127.0.0.1"
"""Stands for the address of the client where none is given."""
ANY_REQUEST_ID = b"00000000-0000-4000-8000-000000000000"
REFUSALS: dict[str, int] = {
    ffi.string(lib.fgw_reason_name(reason)).decode(): lib.fgw_reason_status(reason) for reason in range(1, lib.FGW_R_COUNT)
}
"""Status by the name of the reason; 0 for those that are no request's."""
_FIELDS_MAX = 101
_INVISIBLE = lib.FGW_FIELD_UNDERSCORE | lib.FGW_FIELD_LISTED
_OURS_ALONE = frozenset(
    (
        lib.FGW_HDR_X_FORWARDED_FOR,
        lib.FGW_HDR_X_FORWARDED_PROTO,
        lib.FGW_HDR_X_FORWARDED_CLIENT_CERT,
        lib.FGW_HDR_X_REQUEST_ID,
        lib.FGW_HDR_X_ENVOY,
        lib.FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME,
        lib.FGW_HDR_X_ENVOY_OVERLOADED,
        lib.FGW_HDR_X_ENVOY_ATTEMPT_COUNT,
        lib.FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS,
        lib.FGW_HDR_X_ENVOY_PEER_METADATA,
    )
)
"""Fields that a client cannot set: no rule sees what it sends."""


class Head:
    """A request head that the parser of traffic has read. ``refused``: the name of its reason to refuse it, "" when it takes it."""

    def __init__(self, method: str, target: str, authority: str, headers: Iterable[tuple[str, str]]) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"host: {authority}", *(f"{name}: {value}" for name, value in headers), "", ""]
        self._raw = "\r\n".join(lines).encode("utf-8", "surrogatepass")
        request, limits = ffi.new("fgw_request *"), ffi.new("fgw_limits *")
        self._fields: Any = ffi.new("fgw_field[]", _FIELDS_MAX)
        answer = lib.fgw_parse_request(self._raw, len(self._raw), 0, limits, request, self._fields, _FIELDS_MAX)
        self._count: int = request.field_count if answer > 0 else 0
        self.refused: str = "" if answer > 0 else ffi.string(lib.fgw_reason_name(-answer or lib.FGW_R_BAD_REQUEST_LINE)).decode()

    def seen(self, scheme: str, source_ip: str) -> Headers:
        """The header fields that rules see: names in lower case, without what is hidden, with what the gateway adds."""
        fields = list(self._visible())
        client = source_ip.encode() or ANY_CLIENT
        forwarded = [value for name, value in self._values(lib.FGW_HDR_X_FORWARDED_FOR) if value]
        fields += [
            (b"x-forwarded-for", b",".join((*forwarded, client))),
            (b"x-forwarded-proto", scheme.encode()),
            (b"x-envoy-external-address", client),
            (b"x-request-id", ANY_REQUEST_ID),
            (b"x-envoy-attempt-count", b"1"),
        ]
        return tuple(fields)

    def _visible(self) -> Iterator[tuple[bytes, bytes]]:
        """Crumbs of a cookie are put together, several referers are none."""
        cookies = self._values(lib.FGW_HDR_COOKIE)
        hidden = _OURS_ALONE | ({lib.FGW_HDR_REFERER} if len(self._values(lib.FGW_HDR_REFERER)) > 1 else set())
        if len(cookies) > 1:
            hidden |= {lib.FGW_HDR_COOKIE}
            yield b"cookie", b"; ".join(value for _, value in cookies if value)
        for i in range(self._count):
            field = self._fields[i]
            if field.id not in hidden and not field.flags & _INVISIBLE:
                yield self._text(field)

    def _values(self, header_id: int) -> list[tuple[bytes, bytes]]:
        return [self._text(self._fields[i]) for i in range(self._count) if self._fields[i].id == header_id]

    def _text(self, field: Any) -> tuple[bytes, bytes]:
        name = self._raw[field.name_off : field.name_off + field.name_len]
        return name.lower(), self._raw[field.value_off : field.value_off + field.value_len]
