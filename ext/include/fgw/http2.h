/* HTTP/2 heads and trailers: fields that arrive decoded, one after the other (RFC 9113 section 8), judged as strictly as HTTP/1.
 *
 * The caller owns the memory: `base` for bytes, `fields` for entries. Both may be moved to a larger place between two calls, since
 * everything is described by offsets. What comes out is what the HTTP/1 parser gives (fgw_request, fgw_response, fgw_field), so
 * that nobody behind needs to know which protocol a message came by. */
#ifndef FGW_HTTP2_H
#define FGW_HTTP2_H
#include "http1.h"

/* cffi:begin */
enum fgw_h2_kind {
    FGW_H2_REQUEST = 1,
    FGW_H2_RESPONSE = 2,
    FGW_H2_TRAILERS = 3,
};

enum fgw_h2_option {
    FGW_H2_EXTENDED_CONNECT = 1, /* :protocol is understood (RFC 8441) */
};

enum {
    FGW_H2_NO_ROOM = -1, /* nothing was taken: give more room and call again */
    FGW_H2_SLACK = 16,   /* bytes of `cap` that stay free for fgw_h2_request() */
};

typedef struct fgw_h2_head {
    /* the caller's */
    char *base;
    fgw_field *fields;
    uint32_t cap;       /* bytes at base, at least FGW_H2_SLACK */
    uint32_t field_cap; /* entries at fields, at least limits.fields + 1 */
    /* collected */
    uint32_t len;   /* bytes used, offsets count from base */
    uint32_t count; /* fields kept, pseudo-header fields are not among them */
    uint32_t decoded_bytes;  /* of everything that came, kept or not: name, value and 32 a field (RFC 9113 section 6.5.2) */
    uint32_t decoded_fields; /* the same, without pseudo-header fields */
    fgw_limits limits;       /* no zeros in it */
    fgw_span method;
    fgw_span path;
    fgw_span authority;
    fgw_span scheme;
    fgw_span protocol;
    fgw_span host; /* of the field of that name */
    uint64_t content_length;
    uint32_t flags;      /* enum fgw_message_flag */
    uint32_t leniencies; /* made use of */
    uint32_t lengths;    /* number of content-length fields */
    uint32_t expects;
    uint16_t status;
    uint16_t pseudo; /* which pseudo-header fields have come */
    uint16_t reason; /* why it is refused, 0: it is not (yet) */
    uint8_t kind;    /* enum fgw_h2_kind */
    uint8_t options; /* enum fgw_h2_option */
    uint8_t has_host;
    uint8_t pad[7];
} fgw_h2_head;

/* Begin a message; base, fields, cap and field_cap have been set. A zero in limits means its default. */
void fgw_h2_start(fgw_h2_head *h, int kind, int options, const fgw_limits *limits);
/* One field as decoded. 0: taken; FGW_H2_NO_ROOM; or the enum fgw_reason for which the message is refused. A refused message may go
 * on (the decoder's table must stay in step): further fields are counted and not kept, the reason stays. */
int fgw_h2_add(fgw_h2_head *h, const char *name, size_t name_len, const char *value, size_t value_len);
/* The end of a block: FGW_OK or an enum fgw_reason. end_stream: no body follows. The framing of a body without content-length is
 * FGW_FRAMING_CHUNKED, as it will be towards HTTP/1. An extended CONNECT comes out as a GET with FGW_MSG_UPGRADE. */
int fgw_h2_request(fgw_h2_head *h, int end_stream, fgw_request *out);
/* framing is FGW_FRAMING_LENGTH with content-length, even when no body follows (to HEAD, with 304): the caller knows the request. */
int fgw_h2_response(fgw_h2_head *h, int end_stream, fgw_response *out);
int fgw_h2_trailers(fgw_h2_head *h, int end_stream);
/* Where frames begin (section 4.1), in bytes that arrive in pieces of any size. left: bytes before the first frame. */
typedef struct fgw_h2_frames {
    uint32_t left; /* of the frame under way */
    uint8_t got;   /* of the next one's head */
    uint8_t head[9];
    uint8_t pad[2];
} fgw_h2_frames;

typedef struct fgw_h2_frame {
    uint32_t length;
    uint32_t stream;
    uint8_t type;
    uint8_t flags;
    uint8_t pad[2];
} fgw_h2_frame;

/* 1: the next frame's head is whole; *used bytes of p have been looked at. 0: all of p has been. */
int fgw_h2_next_frame(fgw_h2_frames *st, const char *p, size_t n, size_t *used, fgw_h2_frame *out);

/* Is a message refused for this reason malformed in the sense of RFC 9113 section 8.1.1: a stream error, not an answer? */
int fgw_h2_malformed(int reason);
/* cffi:end */

#endif
