/* HTTP/1 request and response heads (RFC 9112), strict; the framing verdict is computed once, here. */
#ifndef FGW_HTTP1_H
#define FGW_HTTP1_H
#include "base.h"

/* cffi:begin */
enum fgw_framing {
    FGW_FRAMING_NONE = 0,    /* no body */
    FGW_FRAMING_LENGTH = 1,  /* content_length bytes, may be 0 */
    FGW_FRAMING_CHUNKED = 2, /* chunked is the one and only coding */
    FGW_FRAMING_CLOSE = 3,   /* responses only: until the connection closes */
};

enum fgw_method {
    FGW_METHOD_OTHER = 0,
    FGW_METHOD_GET,
    FGW_METHOD_HEAD,
    FGW_METHOD_POST,
    FGW_METHOD_PUT,
    FGW_METHOD_DELETE,
    FGW_METHOD_PATCH,
    FGW_METHOD_OPTIONS,
    FGW_METHOD_TRACE,
    FGW_METHOD_TRACK,
    FGW_METHOD_CONNECT,
};

enum fgw_message_flag {
    FGW_MSG_CLOSE = 1,           /* Connection: close, or HTTP/1.0 without keep-alive */
    FGW_MSG_KEEP_ALIVE = 2,      /* Connection: keep-alive named */
    FGW_MSG_EXPECT_CONTINUE = 4, /* Expect: 100-continue, once, HTTP/1.1 */
    FGW_MSG_UPGRADE = 8,         /* Upgrade field present and Connection names upgrade */
    FGW_MSG_TE_TRAILERS = 16,    /* TE names trailers */
    FGW_MSG_ABSOLUTE_FORM = 32,
    FGW_MSG_ASTERISK_FORM = 64,
    FGW_MSG_LISTED_FIELDS = 128, /* some field carries FGW_FIELD_LISTED */
    FGW_MSG_PATH_SPECIAL = 256,  /* the path holds '%', '\\', or a '.' segment candidate: normalisation has work to do */
};

/* Ways back to what Istio/Envoy accept; all off by default, each use is reported in fgw_request.leniencies. */
enum fgw_leniency {
    FGW_LENIENT_LF_IN_HEAD = 1,       /* a bare LF ends a line of the head */
    FGW_LENIENT_FRAGMENT = 2,         /* "#..." in the target is cut off instead of refused */
    FGW_LENIENT_EQUAL_LENGTHS = 4,    /* several equal Content-Length fields count as one */
    FGW_LENIENT_ABSOLUTE_HOST = 8,    /* absolute-form: authority of the target wins over a different Host */
    FGW_LENIENT_UNDERSCORE_DROP = 16, /* reserved */
};

/* 0 in a field means its default. */
typedef struct fgw_limits {
    uint32_t head_bytes;   /* default 61440 */
    uint32_t target_bytes; /* default 16384 */
    uint32_t fields;       /* default 100 */
    uint32_t leniency;     /* enum fgw_leniency, or-ed */
} fgw_limits;

/* All offsets count from p, the first byte given to the parser. */
typedef struct fgw_request {
    fgw_span method;
    fgw_span target;    /* as sent */
    fgw_span path;      /* without query; for absolute-form without an own path: empty (means "/") */
    fgw_span query;     /* without '?'; has_query tells "absent" from "empty" */
    fgw_span authority; /* Host, or the authority of an absolute-form target: with port, case kept, validated */
    fgw_span host;      /* authority without port (and with IPv6 brackets), case kept */
    uint64_t content_length;
    uint32_t field_count;
    uint32_t flags;      /* enum fgw_message_flag */
    uint32_t leniencies; /* which enum fgw_leniency were made use of */
    uint32_t head_len;   /* == return value */
    uint8_t method_id;   /* enum fgw_method */
    uint8_t minor;       /* HTTP/1.<minor> */
    uint8_t framing;     /* enum fgw_framing */
    uint8_t has_query;
} fgw_request;

typedef struct fgw_response {
    fgw_span reason_phrase;
    uint64_t content_length;
    uint32_t field_count;
    uint32_t flags;
    uint32_t head_len;
    uint16_t status;
    uint8_t minor;
    uint8_t framing; /* from the fields alone; fgw_response_framing() adds what the request's method says */
} fgw_response;

/* Parse a request head. `seen` bytes were already given in an earlier call that answered 0 (0 at first): no quadratic
 * rescans. `fields` has room for `cap` entries (cap >= limits->fields + 1). Field names in `p` are NOT changed.
 * Leading empty lines (CRLF, at most 8) are part of the consumed bytes. */
long fgw_parse_request(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out, fgw_field *fields,
                       size_t cap);
/* The same for a response head; stricter than RFC 9112 in the same ways. A 1xx head is a complete message of its own. */
long fgw_parse_response(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out, fgw_field *fields,
                        size_t cap);
/* A whole trailer section with its empty line, as fgw_chunked_decode() gave it: the fields, by the limits and rules of a head. Bytes
 * used, or minus a reason. */
long fgw_parse_trailers(const char *p, size_t n, const fgw_limits *limits, fgw_field *fields, size_t cap, uint32_t *count);
/* Body framing of a final response to `method_id` (RFC 9112 section 6.3): HEAD, 1xx, 204 and 304 have none. */
int fgw_response_framing(const fgw_response *r, int method_id);
/* The scalar twins: no SIMD whatever the machine offers. Same contract, same answers. */
long fgw_parse_request_scalar(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_request *out, fgw_field *fields,
                              size_t cap);
long fgw_parse_response_scalar(const char *p, size_t n, size_t seen, const fgw_limits *limits, fgw_response *out, fgw_field *fields,
                               size_t cap);
/* "scalar", "sse4.2", "avx2", "neon": what the dispatching functions use on this machine. */
const char *fgw_simd_name(void);

/* Write "name: value CRLF" for each field that has neither FGW_FIELD_DROP nor FGW_FIELD_LISTED, names in lower case, into
 * out. Returns bytes written; needs sum(name_len + value_len + 4) bytes of room, which the caller has checked with
 * fgw_fields_size(). */
size_t fgw_write_fields(char *out, const char *base, const fgw_field *fields, size_t count);
size_t fgw_fields_size(const fgw_field *fields, size_t count);
/* cffi:end */

#endif
