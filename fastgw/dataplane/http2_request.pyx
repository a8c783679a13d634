"""A request head as HTTP/2 has it (RFC 9113 section 8.3.1), from what was parsed or decoded of the client's.

Cookies and authorization are never to be indexed, nor is what a client has marked so: no table of a connection that many clients
share holds them (RFC 7541 section 7.1). Nor is the request's id, which comes once: it would cost the table a field that comes
again, and the encoder a walk through all ids that are still there.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.http2_session cimport fill_pairs, pair, pairs_for
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.native.base cimport (
    FGW_FIELD_DROP, FGW_FIELD_LISTED, FGW_HDR_AUTHORIZATION, FGW_HDR_CONTENT_TYPE, FGW_HDR_COOKIE,
    FGW_HDR_X_REQUEST_ID, fgw_field,
)
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH, FGW_MSG_TE_TRAILERS
from fastgw.native.nghttp2 cimport NGHTTP2_NV_FLAG_NO_INDEX, nghttp2_nv

cdef enum:
    OWN_PAIRS = 6              # pseudo-header fields, content-length, te

cdef char length_text[24]      # read by whoever submits the pairs, at once


cdef nghttp2_nv *request_pairs(RequestHead head, size_t *count) except NULL:
    """Scratch that is good until the next head. :scheme is the client's, as in Envoy, whatever is spoken to the upstream."""
    cdef nghttp2_nv *start = pairs_for(head.field_count + OWN_PAIRS)
    cdef nghttp2_nv *to = start
    cdef nghttp2_nv *relayed
    cdef const char *base = head.base
    to = pair(to, b":method", 7, base + head.req.method.off, head.req.method.len)
    to = pair(to, b":scheme", 7, b"https", 5 if head.secure else 4)
    if head.req.authority.len:
        to = pair(to, b":authority", 10, base + head.req.authority.off, head.req.authority.len)
    to = pair(to, b":path", 5, head.path, head.raw_path_len)
    relayed = to
    to = fill_pairs(to, base, head.fields, head.field_count)
    keep_out_of_tables(relayed, head)
    if head.req.framing == FGW_FRAMING_LENGTH:
        to = pair(to, b"content-length", 14, length_text, write_decimal(length_text, head.req.content_length))
    if head.req.flags & FGW_MSG_TE_TRAILERS or is_grpc(head):
        to = pair(to, b"te", 2, b"trailers", 8)
    count[0] = <size_t>(to - start)
    return start


cdef void keep_out_of_tables(nghttp2_nv *to, RequestHead head) noexcept:
    """Mark the pairs of the fields that are relayed, which are in the same order."""
    cdef uint32_t i
    cdef uint8_t field_id
    for i in range(head.field_count):
        if head.fields[i].flags & (FGW_FIELD_DROP | FGW_FIELD_LISTED):
            continue
        field_id = head.fields[i].id
        if field_id == FGW_HDR_COOKIE or field_id == FGW_HDR_AUTHORIZATION or field_id == FGW_HDR_X_REQUEST_ID:
            to.flags |= NGHTTP2_NV_FLAG_NO_INDEX
        to += 1


cdef bint is_grpc(RequestHead head) noexcept:
    """gRPC servers ask for te: trailers, and some clients' proxies lose it."""
    cdef uint32_t i
    cdef const fgw_field *f
    for i in range(head.field_count):
        f = &head.fields[i]
        if f.id == FGW_HDR_CONTENT_TYPE and not f.flags & FGW_FIELD_DROP:
            return f.value_len >= 16 and memcmp(head.base + f.value_off, b"application/grpc", 16) == 0
    return False
