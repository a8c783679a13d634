"""ext/include/fgw/log_line.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t


cdef extern from "fgw/log_line.h" nogil:
    enum:
        FGW_LOG_LEAD
        FGW_LOG_FIELDS
        FGW_LOG_SPARE

        FGW_LOG_NOTHING
        FGW_LOG_TEXT
        FGW_LOG_NUMBER
        FGW_LOG_OTHER

        FGW_LOG_START_TIME
        FGW_LOG_METHOD
        FGW_LOG_PATH
        FGW_LOG_PROTOCOL
        FGW_LOG_AUTHORITY
        FGW_LOG_REQUEST_ID
        FGW_LOG_FLAGS
        FGW_LOG_DETAILS
        FGW_LOG_TRANSPORT_FAILURE
        FGW_LOG_UPSTREAM_HOST
        FGW_LOG_UPSTREAM_CLUSTER
        FGW_LOG_UPSTREAM_LOCAL
        FGW_LOG_DOWNSTREAM_LOCAL
        FGW_LOG_DOWNSTREAM_REMOTE
        FGW_LOG_CLIENT
        FGW_LOG_SERVER_NAME
        FGW_LOG_ROUTE_NAME
        FGW_LOG_VIRTUAL_SERVICE
        FGW_LOG_NEVER
        FGW_LOG_FIELD
        FGW_LOG_TEXTS

        FGW_LOG_CODE
        FGW_LOG_RECEIVED
        FGW_LOG_SENT
        FGW_LOG_DURATION
        FGW_LOG_SERVICE_TIME
        FGW_LOG_ATTEMPTS
        FGW_LOG_NUMBERS

    const uint64_t FGW_LOG_MISSING

    ctypedef struct fgw_log_op:
        char lead[16]
        uint8_t lead_len
        uint8_t kind
        uint8_t slot
        uint8_t json
        uint16_t most
        uint16_t piece

    ctypedef struct fgw_log_text:
        const char *p
        size_t n

    ctypedef struct fgw_log_values:
        fgw_log_text texts[1]
        uint64_t numbers[1]

    const fgw_log_op *fgw_log_write(const fgw_log_op *op, const fgw_log_op *end, const fgw_log_values *values, char **at,
                                    const char *stop)
