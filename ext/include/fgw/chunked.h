/* Resumable decoder of the chunked coding (RFC 9112 section 7.1), strict: CRLF only, sizes capped, extensions parsed and dropped.
 */
#ifndef FGW_CHUNKED_H
#define FGW_CHUNKED_H
#include "base.h"

/* cffi:begin */
enum fgw_chunk_event {
    FGW_CHUNK_MORE = 0, /* all input used up, the message goes on */
    FGW_CHUNK_DATA = 1, /* *data points at body bytes inside the input */
    FGW_CHUNK_END = 2,  /* the last CRLF (after trailers) has been read; bytes after `used` belong to the next message */
};

/* Caller-owned; all zero is the start state. */
typedef struct fgw_chunked {
    uint64_t left;       /* bytes of the current chunk still to come */
    uint32_t line_bytes; /* bytes of the current size or trailer line */
    uint32_t ext_bytes;  /* extension bytes of this message */
    uint32_t trailer_bytes;
    uint16_t trailer_fields;
    uint8_t state;
    uint8_t digits;
    uint8_t quoted;
    uint8_t flags;
    uint8_t pad[2];
} fgw_chunked;

/* Decode up to the next piece of data or the end. Returns an fgw_chunk_event, or minus an fgw_reason.
 * *used: input bytes consumed by this call. On FGW_CHUNK_DATA: data_off/data_len of the piece (zero-copy, inside p). On the other
 * events they are the bytes of the trailer section in this input, 0 when it has no field. Trailer fields are checked by the same
 * rules as header fields (requirement A9); the pieces, put together, are what fgw_parse_trailers() reads. */
int fgw_chunked_decode(fgw_chunked *st, const char *p, size_t n, size_t *used, size_t *data_off, size_t *data_len);
/* "1a2b\r\n" for a chunk of n bytes into out (18 bytes of room); returns its length. */
size_t fgw_chunk_head(char *out, uint64_t n);
/* cffi:end */

#endif
