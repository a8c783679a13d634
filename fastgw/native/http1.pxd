"""ext/include/fgw/http1.h and chunked.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.native.base cimport fgw_field, fgw_span


cdef extern from "fgw/http1.h" nogil:
    enum:
        FGW_FRAMING_NONE
        FGW_FRAMING_LENGTH
        FGW_FRAMING_CHUNKED
        FGW_FRAMING_CLOSE

        FGW_METHOD_OTHER
        FGW_METHOD_GET
        FGW_METHOD_HEAD
        FGW_METHOD_POST
        FGW_METHOD_PUT
        FGW_METHOD_DELETE
        FGW_METHOD_OPTIONS
        FGW_METHOD_TRACE

        FGW_MSG_CLOSE
        FGW_MSG_KEEP_ALIVE
        FGW_MSG_EXPECT_CONTINUE
        FGW_MSG_UPGRADE
        FGW_MSG_TE_TRAILERS
        FGW_MSG_ASTERISK_FORM
        FGW_MSG_LISTED_FIELDS
        FGW_MSG_PATH_SPECIAL

        FGW_LENIENT_LF_IN_HEAD
        FGW_LENIENT_FRAGMENT
        FGW_LENIENT_EQUAL_LENGTHS
        FGW_LENIENT_ABSOLUTE_HOST

    ctypedef struct fgw_limits:
        uint32_t head_bytes
        uint32_t target_bytes
        uint32_t fields
        uint32_t leniency

    ctypedef struct fgw_request:
        fgw_span method
        fgw_span target
        fgw_span path
        fgw_span query
        fgw_span authority
        fgw_span host
        uint64_t content_length
        uint32_t field_count
        uint32_t flags
        uint32_t leniencies
        uint32_t head_len
        uint8_t method_id
        uint8_t minor
        uint8_t framing
        uint8_t has_query

    ctypedef struct fgw_response:
        fgw_span reason_phrase
        uint64_t content_length
        uint32_t field_count
        uint32_t flags
        uint32_t head_len
        uint16_t status
        uint8_t minor
        uint8_t framing

    long fgw_parse_request(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out,
                           fgw_field *fields, size_t cap)
    long fgw_parse_response(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out,
                            fgw_field *fields, size_t cap)
    int fgw_response_framing(const fgw_response *r, int method_id)
    size_t fgw_write_fields(char *out, const char *base, const fgw_field *fields, size_t count)
    size_t fgw_fields_size(const fgw_field *fields, size_t count)
    long fgw_parse_trailers(const char *p, size_t n, const fgw_limits *limits, fgw_field *fields, size_t cap, uint32_t *count)


cdef extern from "fgw/chunked.h" nogil:
    enum:
        FGW_CHUNK_MORE
        FGW_CHUNK_DATA
        FGW_CHUNK_END

    ctypedef struct fgw_chunked:
        uint64_t left

    int fgw_chunked_decode(fgw_chunked *st, const char *p, size_t n, size_t *used, size_t *data_off, size_t *data_len)
    size_t fgw_chunk_head(char *out, uint64_t n)


cdef extern from "fgw/uri.h" nogil:
    long fgw_path_normalize(const char *path, size_t n, int mode, char *out, size_t cap)
    int fgw_path_is_normal(const char *path, size_t n)
