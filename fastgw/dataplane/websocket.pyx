"""Who asks for a WebSocket, who agrees (RFC 6455 section 4; statement N12; requirements A19, A20, H5), and how it ends.

Only the name "websocket", alone in one field, is an upgrade that is passed on: a list lets the upstream choose what the gateway
has not looked at.
"""
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport same_name
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.native.base cimport FGW_HDR_OTHER, FGW_HDR_UPGRADE, fgw_field
from fastgw.native.fields cimport fgw_find_field
from fastgw.native.http1 cimport FGW_METHOD_GET
from fastgw.native.openssl cimport EVP_EncodeBlock, SHA1
from fastgw.native.state cimport FGW_C_WEBSOCKETS, FGW_G_WEBSOCKETS_ACTIVE

cdef const char *GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


cdef bint wants_websocket(RequestHead head) noexcept:
    """A request of which the parser knows already that it has no body, and that Connection names upgrade."""
    return head.req.method_id == FGW_METHOD_GET and names_websocket(head.base, head.fields, head.field_count)


cdef bint names_websocket(const char *base, const fgw_field *fields, uint32_t count) noexcept:
    """Upgrade: websocket, and nothing else."""
    cdef uint32_t i
    cdef bint found = False
    for i in range(count):
        if fields[i].id != FGW_HDR_UPGRADE:
            continue
        if found or fields[i].value_len != 9 or not same_name(base + fields[i].value_off, b"websocket", 9):
            return False
        found = True
    return found


cdef bint brings_key(RequestHead head) noexcept:
    return head.find(FGW_HDR_OTHER, b"sec-websocket-key", 17) != NULL


cdef int make_key(Context ctx, char *out) except -1:
    """A Sec-WebSocket-Key for a client whose protocol has none (RFC 8441 section 5); WEBSOCKET_KEY characters and a NUL."""
    cdef uint64_t nonce[2]
    nonce[0], nonce[1] = ctx.random(), ctx.random()
    EVP_EncodeBlock(<unsigned char *>out, <const unsigned char *>nonce, 16)
    return 0


cdef bint accepts_key(const char *base, const fgw_field *fields, uint32_t count, const char *key) except -1:
    """The answer's Sec-WebSocket-Accept belongs to this key (RFC 6455 section 4.2.2)."""
    cdef char text[WEBSOCKET_KEY + 36]
    cdef unsigned char digest[20]
    cdef unsigned char want[WEBSOCKET_ACCEPT + 1]
    cdef const fgw_field *f = fgw_find_field(base, fields, count, FGW_HDR_OTHER, b"sec-websocket-accept", 20)
    if f == NULL or f.value_len != WEBSOCKET_ACCEPT:
        return False
    memcpy(text, key, WEBSOCKET_KEY)
    memcpy(text + WEBSOCKET_KEY, GUID, 36)
    if SHA1(<const unsigned char *>text, sizeof(text), digest) == NULL:
        raise RuntimeError("SHA-1 is not to be had")
    EVP_EncodeBlock(want, digest, 20)
    return memcmp(want, base + f.value_off, WEBSOCKET_ACCEPT) == 0


# ---- after 101: bodies are what both sides say

cdef int switch(Exchange x) except -1:
    """Both sides have agreed. What the client has said already goes upstream now and not before (A19)."""
    x.switched = True
    x.body_limit = UINT64_MAX
    x.timeout_at_ms = 0  # N12
    x.ctx.loop.count(FGW_C_WEBSOCKETS)
    x.ctx.gauge(FGW_G_WEBSOCKETS_ACTIVE, 1)
    return x.client.resume_request()


cdef int check_switched_end(Exchange x) except -1:
    """Over when both directions have ended, and the upstream has got everything."""
    if not x.active or not x.request_done or not x.response_done:
        return 0
    return x.finish() if x.upstream is None or not x.upstream.backlogged() else 0


cdef int end_switched(Exchange x, const char *details) except -1:
    x.details = details
    x.client.end_response()
    return x.finish()
