/* Words shared by every parser in ext/: fields, known header names, rejection reasons.
 *
 * Rules of ext/: C11, no Python.h, no malloc, no I/O, no globals that change. A parser is a function of bytes:
 *     long f(const char *p, size_t n, ..., out)   > 0 bytes consumed, 0 more bytes are needed, < 0 minus an fgw_reason.
 * The text between the cffi marks is also read by the cffi builder: declarations only, no macros there. */
#ifndef FGW_BASE_H
#define FGW_BASE_H
#include <stddef.h>
#include <stdint.h>

/* cffi:begin */
/* A run of bytes, described by its place in a buffer that the reader of the struct knows. */
typedef struct fgw_span {
    uint32_t off;
    uint32_t len;
} fgw_span;

/* Names that the gateway treats specially. 0 is every other name. Order is free; values stay within a build. */
enum fgw_header_id {
    FGW_HDR_OTHER = 0,
    FGW_HDR_HOST,
    FGW_HDR_CONTENT_LENGTH,
    FGW_HDR_TRANSFER_ENCODING,
    FGW_HDR_CONNECTION,
    FGW_HDR_KEEP_ALIVE,
    FGW_HDR_PROXY_CONNECTION,
    FGW_HDR_TE,
    FGW_HDR_TRAILER,
    FGW_HDR_UPGRADE,
    FGW_HDR_HTTP2_SETTINGS,
    FGW_HDR_EXPECT,
    FGW_HDR_PROXY,
    FGW_HDR_X_FORWARDED_FOR,
    FGW_HDR_X_FORWARDED_PROTO,
    FGW_HDR_X_FORWARDED_HOST,
    FGW_HDR_X_FORWARDED_PORT,
    FGW_HDR_X_FORWARDED_CLIENT_CERT,
    FGW_HDR_FORWARDED,
    FGW_HDR_X_REAL_IP,
    FGW_HDR_X_REQUEST_ID,
    FGW_HDR_X_ENVOY, /* any x-envoy-* that has no id of its own */
    FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME,
    FGW_HDR_X_ENVOY_OVERLOADED,
    FGW_HDR_X_ENVOY_ATTEMPT_COUNT,
    FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS,
    FGW_HDR_X_ENVOY_PEER_METADATA, /* and x-envoy-peer-metadata-id */
    FGW_HDR_COOKIE,
    FGW_HDR_SET_COOKIE,
    FGW_HDR_USER_AGENT,
    FGW_HDR_REFERER,
    FGW_HDR_ORIGIN,
    FGW_HDR_SERVER,
    FGW_HDR_DATE,
    FGW_HDR_LOCATION,
    FGW_HDR_CONTENT_TYPE,
    FGW_HDR_ACCEPT,
    FGW_HDR_AUTHORIZATION,
    FGW_HDR_VIA,
    FGW_HDR_GRPC_TIMEOUT,
    FGW_HDR_GRPC_STATUS,
    FGW_HDR_GRPC_MESSAGE,
    FGW_HDR_COUNT
};

enum fgw_field_flag {
    FGW_FIELD_UNDERSCORE = 1, /* the name holds '_' */
    FGW_FIELD_LISTED = 2,     /* named by a Connection field of the same message, and strippable (requirement C1) */
    FGW_FIELD_DROP = 4,       /* the gateway decided not to relay it */
    FGW_FIELD_HIDDEN = 8,     /* sanitised away: no rule and no log may see it */
    FGW_FIELD_SECRET = 16,    /* in no table of header compression, on no hop (RFC 7541 section 6.2.3) */
};

/* One header field; offsets are from the start of the message head. */
typedef struct fgw_field {
    uint32_t name_off;
    uint32_t value_off; /* OWS on both sides is already left out */
    uint32_t value_len;
    uint16_t name_len;
    uint8_t id;    /* enum fgw_header_id */
    uint8_t flags; /* enum fgw_field_flag */
} fgw_field;

/* Why a message is refused. The value travels into the access log, a counter and a test; 0 is "not refused". */
enum fgw_reason {
    FGW_OK = 0,
    /* HTTP/1 heads */
    FGW_R_BAD_REQUEST_LINE, /* the three words and two single spaces are not there */
    FGW_R_BAD_METHOD,
    FGW_R_BAD_TARGET,
    FGW_R_TARGET_FRAGMENT,
    FGW_R_TARGET_USERINFO,
    FGW_R_TARGET_SCHEME,
    FGW_R_TARGET_HOST_MISMATCH,
    FGW_R_BAD_ESCAPE,
    FGW_R_PATH_ABOVE_ROOT,
    FGW_R_BAD_VERSION,
    FGW_R_HTTP09,
    FGW_R_HTTP10,
    FGW_R_BARE_LF,
    FGW_R_BARE_CR,
    FGW_R_TOO_MANY_EMPTY_LINES,
    FGW_R_BAD_FIELD_NAME,
    FGW_R_SPACE_BEFORE_COLON,
    FGW_R_NO_COLON,
    FGW_R_OBS_FOLD,
    FGW_R_BAD_FIELD_VALUE,
    FGW_R_NO_HOST,
    FGW_R_DUPLICATE_HOST,
    FGW_R_BAD_HOST,
    FGW_R_BAD_CONTENT_LENGTH,
    FGW_R_DUPLICATE_CONTENT_LENGTH,
    FGW_R_CONTENT_LENGTH_AND_TRANSFER_ENCODING,
    FGW_R_BAD_TRANSFER_ENCODING,
    FGW_R_UNKNOWN_TRANSFER_ENCODING,
    FGW_R_TRANSFER_ENCODING_IN_HTTP10,
    FGW_R_BODY_IN_HTTP10,
    FGW_R_BAD_EXPECT,
    FGW_R_BAD_CONNECTION,
    FGW_R_UPGRADE_WITH_BODY,
    FGW_R_UPGRADE_NOT_ALLOWED,
    FGW_R_METHOD_NOT_ALLOWED,
    FGW_R_CONNECT_NOT_ALLOWED,
    FGW_R_H2_PREFACE,
    FGW_R_UNDERSCORE,
    FGW_R_TARGET_TOO_LONG,
    FGW_R_HEAD_TOO_LARGE,
    FGW_R_TOO_MANY_FIELDS,
    FGW_R_BAD_STATUS,
    FGW_R_UNEXPECTED_1XX,
    /* chunked bodies */
    FGW_R_BAD_CHUNK_SIZE,
    FGW_R_CHUNK_SIZE_OVERFLOW,
    FGW_R_BAD_CHUNK_EXTENSION,
    FGW_R_CHUNK_EXTENSION_TOO_LONG,
    FGW_R_BAD_CHUNK_END,
    FGW_R_BAD_TRAILER,
    FGW_R_TRAILER_TOO_LARGE,
    /* connection level */
    FGW_R_BODY_TOO_SHORT,
    FGW_R_HEAD_TIMEOUT,
    FGW_R_BODY_TIMEOUT,
    FGW_R_BAD_GRPC_WEB, /* a message of application/grpc-web-text that is not base64 */
    /* HTTP/2 messages, beside those of HTTP/1 heads */
    FGW_R_H2_PSEUDO, /* a pseudo-header field is missing, unknown, repeated, late or where none may be */
    FGW_R_H2_UPPER_CASE,
    FGW_R_H2_CONNECTION_FIELD,
    FGW_R_H2_BODY_LENGTH, /* content-length and the DATA frames disagree */
    FGW_R_H2_TRAILERS_OPEN, /* a second header block that does not end the stream */
    FGW_R_H2_PROTOCOL,      /* :protocol of an extended CONNECT */
    /* HTTP/2 connections: each ends one with GOAWAY */
    FGW_R_H2_BAD_PREFACE,
    FGW_R_H2_FRAMING,     /* an error of the connection that the frame layer found */
    FGW_R_H2_COMPRESSION, /* header compression cannot go on */
    FGW_R_H2_HEADER_BOMB,
    FGW_R_H2_CONTINUATION_FLOOD,
    FGW_R_H2_RAPID_RESET,
    FGW_R_H2_RESETS_WITHOUT_ANSWER,
    FGW_R_H2_PING_FLOOD,
    FGW_R_H2_SETTINGS_FLOOD,
    FGW_R_H2_EMPTY_FRAMES,
    FGW_R_H2_PRIORITY_FLOOD,
    FGW_R_H2_WINDOW_UPDATE_FLOOD,
    FGW_R_H2_UNKNOWN_FRAMES,
    FGW_R_H2_MOSTLY_OVERHEAD,
    FGW_R_H2_STREAM_STALLED,
    /* TLS ClientHello */
    FGW_R_NOT_TLS,
    FGW_R_HELLO_MALFORMED,
    FGW_R_HELLO_TOO_LARGE,
    /* PROXY protocol */
    FGW_R_PROXY_MISSING,   /* the connection does not begin with the header that its listener asks for */
    FGW_R_PROXY_MALFORMED, /* or it ended within it */
    FGW_R_PROXY_TOO_LONG,
    FGW_R_PROXY_CHECKSUM,
    FGW_R_PROXY_UNTRUSTED, /* the peer is not one whose word counts */
    FGW_R_PROXY_TIMEOUT,
    FGW_R_SOURCE_LIMIT, /* its source address has all the connections that it may have */
    /* route image */
    FGW_R_IMAGE_MAGIC,
    FGW_R_IMAGE_VERSION,
    FGW_R_IMAGE_SIZE,
    FGW_R_IMAGE_BOUNDS,
    FGW_R_IMAGE_CONTENT,
    FGW_R_COUNT
};

/* Stable lower-case name of a reason ("duplicate_host"), for logs and metric labels; "unknown" outside the enum. */
const char *fgw_reason_name(int reason);
/* HTTP status with which a refused request is answered: 400, 405, 414, 417, 426, 431, 501, 505 ...; 0: close silently. */
int fgw_reason_status(int reason);
/* The id of a lower- or mixed-case field name. */
int fgw_header_id_of(const char *name, size_t n);
/* cffi:end */

#endif
