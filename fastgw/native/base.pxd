"""ext/include/fgw/base.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef extern from "fgw/base.h" nogil:
    ctypedef struct fgw_span:
        uint32_t off
        uint32_t len

    ctypedef struct fgw_field:
        uint32_t name_off
        uint32_t value_off
        uint32_t value_len
        uint16_t name_len
        uint8_t id
        uint8_t flags

    enum:
        FGW_HDR_OTHER
        FGW_HDR_HOST
        FGW_HDR_CONTENT_LENGTH
        FGW_HDR_TRANSFER_ENCODING
        FGW_HDR_CONNECTION
        FGW_HDR_KEEP_ALIVE
        FGW_HDR_PROXY_CONNECTION
        FGW_HDR_TE
        FGW_HDR_TRAILER
        FGW_HDR_UPGRADE
        FGW_HDR_HTTP2_SETTINGS
        FGW_HDR_EXPECT
        FGW_HDR_PROXY
        FGW_HDR_X_FORWARDED_FOR
        FGW_HDR_X_FORWARDED_PROTO
        FGW_HDR_X_FORWARDED_CLIENT_CERT
        FGW_HDR_X_REQUEST_ID
        FGW_HDR_X_ENVOY
        FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME
        FGW_HDR_X_ENVOY_OVERLOADED
        FGW_HDR_X_ENVOY_ATTEMPT_COUNT
        FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS
        FGW_HDR_X_ENVOY_PEER_METADATA
        FGW_HDR_COOKIE
        FGW_HDR_USER_AGENT
        FGW_HDR_REFERER
        FGW_HDR_SERVER
        FGW_HDR_DATE
        FGW_HDR_LOCATION
        FGW_HDR_CONTENT_TYPE
        FGW_HDR_X_FORWARDED_HOST
        FGW_HDR_X_FORWARDED_PORT
        FGW_HDR_FORWARDED
        FGW_HDR_X_REAL_IP
        FGW_HDR_SET_COOKIE
        FGW_HDR_ORIGIN
        FGW_HDR_ACCEPT
        FGW_HDR_AUTHORIZATION
        FGW_HDR_VIA
        FGW_HDR_GRPC_TIMEOUT
        FGW_HDR_GRPC_STATUS
        FGW_HDR_GRPC_MESSAGE
        FGW_HDR_COUNT

        FGW_FIELD_UNDERSCORE
        FGW_FIELD_LISTED
        FGW_FIELD_DROP
        FGW_FIELD_HIDDEN
        FGW_FIELD_SECRET

        FGW_OK
        FGW_R_HTTP10
        FGW_R_UPGRADE_NOT_ALLOWED
        FGW_R_UNDERSCORE
        FGW_R_UNEXPECTED_1XX
        FGW_R_BODY_TOO_SHORT
        FGW_R_HEAD_TIMEOUT
        FGW_R_BODY_TIMEOUT
        FGW_R_BAD_GRPC_WEB
        FGW_R_H2_PREFACE
        FGW_R_H2_PSEUDO
        FGW_R_H2_BODY_LENGTH
        FGW_R_H2_BAD_PREFACE
        FGW_R_H2_FRAMING
        FGW_R_H2_COMPRESSION
        FGW_R_H2_HEADER_BOMB
        FGW_R_H2_CONTINUATION_FLOOD
        FGW_R_H2_RAPID_RESET
        FGW_R_H2_RESETS_WITHOUT_ANSWER
        FGW_R_H2_PING_FLOOD
        FGW_R_H2_SETTINGS_FLOOD
        FGW_R_H2_EMPTY_FRAMES
        FGW_R_H2_PRIORITY_FLOOD
        FGW_R_H2_WINDOW_UPDATE_FLOOD
        FGW_R_H2_UNKNOWN_FRAMES
        FGW_R_H2_MOSTLY_OVERHEAD
        FGW_R_H2_STREAM_STALLED
        FGW_R_PROXY_MALFORMED
        FGW_R_PROXY_UNTRUSTED
        FGW_R_PROXY_TIMEOUT
        FGW_R_SOURCE_LIMIT
        FGW_R_COUNT

    const char *fgw_reason_name(int reason)
    int fgw_reason_status(int reason)
    int fgw_header_id_of(const char *name, size_t n)
