"""Field rules of an edge (Istio statements K10-K14, requirements B9, B10, C1-C6).

Dropped from requests: hop-by-hop fields and those that Connection names, everything that only the gateway may say
(x-envoy-*, x-forwarded-client-cert, x-request-id, x-forwarded-for/-proto: rewritten), Proxy (httpoxy), Expect (the gateway
answers 100 itself), and names with an underscore unless allowed. Dropped from responses: hop-by-hop fields, framing
fields (written anew), server, and what sidecars tell each other.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from fastgw.native.base cimport (
    FGW_FIELD_DROP, FGW_FIELD_HIDDEN, FGW_FIELD_UNDERSCORE, FGW_HDR_AUTHORIZATION, FGW_HDR_CONNECTION, FGW_HDR_CONTENT_LENGTH,
    FGW_HDR_CONTENT_TYPE, FGW_HDR_COOKIE, FGW_HDR_EXPECT, FGW_HDR_FORWARDED, FGW_HDR_HOST, FGW_HDR_HTTP2_SETTINGS,
    FGW_HDR_KEEP_ALIVE, FGW_HDR_LOCATION, FGW_HDR_PROXY, FGW_HDR_PROXY_CONNECTION, FGW_HDR_REFERER, FGW_HDR_SERVER,
    FGW_HDR_SET_COOKIE, FGW_HDR_TE, FGW_HDR_TRAILER, FGW_HDR_TRANSFER_ENCODING, FGW_HDR_UPGRADE, FGW_HDR_X_ENVOY,
    FGW_HDR_X_ENVOY_ATTEMPT_COUNT, FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS, FGW_HDR_X_ENVOY_OVERLOADED, FGW_HDR_X_ENVOY_PEER_METADATA,
    FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME, FGW_HDR_X_FORWARDED_CLIENT_CERT, FGW_HDR_X_FORWARDED_FOR, FGW_HDR_X_FORWARDED_HOST,
    FGW_HDR_X_FORWARDED_PORT, FGW_HDR_X_FORWARDED_PROTO, FGW_HDR_X_REAL_IP, FGW_HDR_X_REQUEST_ID, fgw_field,
)

cdef uint8_t drop_request[256]     # flags to set on a request field with this id
cdef uint8_t drop_response[256]
cdef uint8_t drop_trailer[256]


def _fill():
    for i in (FGW_HDR_HOST, FGW_HDR_CONTENT_LENGTH, FGW_HDR_TRANSFER_ENCODING, FGW_HDR_CONNECTION, FGW_HDR_KEEP_ALIVE,
              FGW_HDR_PROXY_CONNECTION, FGW_HDR_TE, FGW_HDR_TRAILER, FGW_HDR_UPGRADE, FGW_HDR_HTTP2_SETTINGS, FGW_HDR_EXPECT,
              FGW_HDR_PROXY):
        drop_request[i] = FGW_FIELD_DROP
    for i in (FGW_HDR_X_FORWARDED_FOR, FGW_HDR_X_FORWARDED_PROTO, FGW_HDR_X_FORWARDED_CLIENT_CERT, FGW_HDR_X_REQUEST_ID,
              FGW_HDR_X_ENVOY, FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME, FGW_HDR_X_ENVOY_OVERLOADED, FGW_HDR_X_ENVOY_ATTEMPT_COUNT,
              FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS, FGW_HDR_X_ENVOY_PEER_METADATA):
        drop_request[i] = FGW_FIELD_DROP | FGW_FIELD_HIDDEN
    for i in (FGW_HDR_CONTENT_LENGTH, FGW_HDR_TRANSFER_ENCODING, FGW_HDR_CONNECTION, FGW_HDR_KEEP_ALIVE, FGW_HDR_PROXY_CONNECTION,
              FGW_HDR_TRAILER, FGW_HDR_UPGRADE, FGW_HDR_SERVER, FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME,
              FGW_HDR_X_ENVOY_PEER_METADATA):
        drop_response[i] = 1
    for i in range(256):
        drop_trailer[i] = bool(drop_request[i] or drop_response[i])
    for i in (FGW_HDR_AUTHORIZATION, FGW_HDR_COOKIE, FGW_HDR_SET_COOKIE, FGW_HDR_CONTENT_TYPE, FGW_HDR_LOCATION, FGW_HDR_FORWARDED,
              FGW_HDR_X_FORWARDED_HOST, FGW_HDR_X_FORWARDED_PORT, FGW_HDR_X_REAL_IP):
        drop_trailer[i] = 1


_fill()


cdef RequestMarks mark_request(fgw_field *fields, uint32_t count, int underscores) noexcept:
    """Set FGW_FIELD_DROP on what does not go upstream as it is. underscores: 0 drop, 1 reject, 2 allow."""
    cdef RequestMarks marks
    cdef uint32_t i
    cdef uint8_t field_id
    marks.forwarded_for = marks.cookies = marks.referers = marks.underscores = 0
    marks.rejected = False
    for i in range(count):
        field_id = fields[i].id
        if drop_request[field_id]:
            fields[i].flags |= drop_request[field_id]
            if field_id == FGW_HDR_X_FORWARDED_FOR:
                marks.forwarded_for += 1
        elif fields[i].flags & FGW_FIELD_UNDERSCORE:
            if underscores == 0:
                fields[i].flags |= FGW_FIELD_DROP | FGW_FIELD_HIDDEN
                marks.underscores += 1
            elif underscores == 1:
                marks.rejected = True
        elif field_id == FGW_HDR_COOKIE:
            marks.cookies += 1
        elif field_id == FGW_HDR_REFERER:
            marks.referers += 1
    return marks


cdef int mark_response(fgw_field *fields, uint32_t count) noexcept:
    cdef uint32_t i
    for i in range(count):
        if drop_response[fields[i].id]:
            fields[i].flags |= FGW_FIELD_DROP
    return 0


cdef int mark_trailers(fgw_field *fields, uint32_t count, bint underscores) noexcept:
    """In a trailer section nothing counts that frames, routes, authenticates or is trusted (requirement A9, RFC 9110
    section 6.5.1). ``underscores``: they may be in names."""
    cdef uint32_t i
    for i in range(count):
        if drop_trailer[fields[i].id] or (fields[i].flags & FGW_FIELD_UNDERSCORE and not underscores):
            fields[i].flags |= FGW_FIELD_DROP
    return 0


cdef int drop_all(fgw_field *fields, uint32_t count, int header_id) noexcept:
    """What does not reach the upstream is not routed by either."""
    cdef uint32_t i
    for i in range(count):
        if fields[i].id == header_id:
            fields[i].flags |= FGW_FIELD_DROP | FGW_FIELD_HIDDEN
    return 0


cdef bint is_absolute_url(const char *p, size_t n) noexcept:
    """A scheme, "://", the beginning of an authority, and nothing that cannot be in a URL; what http_parser asks of it in Envoy."""
    cdef size_t i = 0
    while i < n and (65 <= p[i] & 0xDF <= 90 or (i and (48 <= p[i] <= 57 or p[i] == 43 or p[i] == 45 or p[i] == 46))):  # + - .
        i += 1
    if i == 0 or i + 3 >= n or p[i] != 58 or p[i + 1] != 47 or p[i + 2] != 47 or p[i + 3] == 47:  # ://, and no / then
        return False
    for i in range(i + 3, n):
        if <unsigned char>p[i] <= 32 or p[i] == 127:
            return False
    return True


cdef size_t join_values(char *out, const char *base, const fgw_field *fields, uint32_t count, int header_id, const char *separator,
                        size_t separator_len) noexcept:
    """The values of all fields with this id, in order, joined. `out` has room for the head plus one separator a field."""
    cdef size_t at = 0
    cdef uint32_t i
    for i in range(count):
        if fields[i].id == header_id and fields[i].value_len:
            if at:
                memcpy(out + at, separator, separator_len)
                at += separator_len
            memcpy(out + at, base + fields[i].value_off, fields[i].value_len)
            at += fields[i].value_len
    return at


cdef const char *phrases[600]


def _fill_phrases():
    from http import HTTPStatus

    global _phrase_store
    _phrase_store = {s.value: s.phrase.encode() for s in HTTPStatus}
    for value, phrase in _phrase_store.items():
        phrases[value] = phrase


_phrase_store = None
_fill_phrases()


cdef const char *status_phrase(int status) noexcept:
    """The registered reason phrase, "Unknown" without one."""
    if 0 <= status < 600 and phrases[status] != NULL:
        return phrases[status]
    return b"Unknown"
