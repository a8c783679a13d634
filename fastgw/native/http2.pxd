"""ext/include/fgw/http2.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.native.base cimport fgw_field
from fastgw.native.http1 cimport fgw_limits, fgw_request, fgw_response


cdef extern from "fgw/http2.h" nogil:
    enum:
        FGW_H2_REQUEST
        FGW_H2_RESPONSE
        FGW_H2_TRAILERS
        FGW_H2_EXTENDED_CONNECT
        FGW_H2_NO_ROOM
        FGW_H2_SLACK

    ctypedef struct fgw_h2_head:
        char *base
        fgw_field *fields
        uint32_t cap
        uint32_t field_cap
        uint32_t len
        uint32_t count
        uint32_t decoded_bytes
        uint32_t decoded_fields
        fgw_limits limits
        uint64_t content_length
        uint32_t flags
        uint16_t status
        uint16_t reason
        uint8_t kind

    ctypedef struct fgw_h2_frames:
        uint32_t left

    ctypedef struct fgw_h2_frame:
        uint32_t length
        uint32_t stream
        uint8_t type
        uint8_t flags

    int fgw_h2_next_frame(fgw_h2_frames *st, const char *p, size_t n, size_t *used, fgw_h2_frame *out)
    void fgw_h2_start(fgw_h2_head *h, int kind, int options, const fgw_limits *limits)
    int fgw_h2_add(fgw_h2_head *h, const char *name, size_t name_len, const char *value, size_t value_len)
    int fgw_h2_request(fgw_h2_head *h, int end_stream, fgw_request *out)
    int fgw_h2_response(fgw_h2_head *h, int end_stream, fgw_response *out)
    int fgw_h2_trailers(fgw_h2_head *h, int end_stream)
    int fgw_h2_malformed(int reason)
