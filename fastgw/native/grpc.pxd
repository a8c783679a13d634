"""ext/include/fgw/grpc.h for Cython."""
from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef extern from "fgw/grpc.h" nogil:
    enum:
        FGW_GRPC_NOT
        FGW_GRPC_PLAIN
        FGW_GRPC_WEB
        FGW_GRPC_WEB_TEXT
        FGW_GRPC_DEADLINE_EXCEEDED
        FGW_GRPC_WEB_PREFIX
        FGW_GRPC_WEB_TRAILERS

    ctypedef struct fgw_base64:
        uint32_t bits
        uint8_t have
        uint8_t padding

    ctypedef struct fgw_grpc_text:
        uint32_t left

    int fgw_grpc_kind_of(const char *value, size_t n)
    int64_t fgw_grpc_timeout_ms(const char *value, size_t n)
    int fgw_grpc_status_of(const char *value, size_t n)
    int fgw_grpc_status_of_http(int status)
    const char *fgw_grpc_status_name(int status, int camel)
    size_t fgw_grpc_message(const char *p, size_t n, char *out)
    long fgw_base64_decode(fgw_base64 *d, const char *p, size_t n, char *out)
    int fgw_base64_complete(const fgw_base64 *d)
    size_t FGW_GRPC_TEXT_ROOM(size_t n)
    size_t fgw_grpc_text_encode(fgw_grpc_text *e, const char *p, size_t n, char *out)
