/* gRPC over HTTP/2 as far as a gateway has to know it: content types, deadlines, statuses; and gRPC-Web's forms of messages
 * (PROTOCOL-HTTP2.md and PROTOCOL-WEB.md of gRPC). */
#ifndef FGW_GRPC_H
#define FGW_GRPC_H
#include "base.h"

/* cffi:begin */
enum fgw_grpc_kind {
    FGW_GRPC_NOT = 0,
    FGW_GRPC_PLAIN = 1,    /* application/grpc, with +subtype or ;parameters */
    FGW_GRPC_WEB = 2,      /* application/grpc-web */
    FGW_GRPC_WEB_TEXT = 3, /* application/grpc-web-text: base64 */
};

enum {
    FGW_GRPC_DEADLINE_EXCEEDED = 4,
    FGW_GRPC_STATUS_MAX = 16,     /* the highest one there is */
    FGW_GRPC_WEB_PREFIX = 5,      /* flags and length before each message */
    FGW_GRPC_WEB_TRAILERS = 0x80, /* the flag of the last one */
};

/* enum fgw_grpc_kind of a content-type's value; media types ignore case. */
int fgw_grpc_kind_of(const char *value, size_t n);
/* Milliseconds of a grpc-timeout, rounded up; -1: not one. */
int64_t fgw_grpc_timeout_ms(const char *value, size_t n);
/* Of a grpc-status' value, 0 to FGW_GRPC_STATUS_MAX; -1: not one. */
int fgw_grpc_status_of(const char *value, size_t n);
/* What an HTTP status without a grpc-status means. */
int fgw_grpc_status_of_http(int status);
/* DEADLINE_EXCEEDED and so on, or DeadlineExceeded (Envoy's spelling); NULL for a number that is none. */
const char *fgw_grpc_status_name(int status, int camel);
/* grpc-message: bytes outside of the printable ASCII, and '%', as %XX. out has room for 3 * n; its length. */
size_t fgw_grpc_message(const char *p, size_t n, char *out);

/* Base64 that arrives in pieces (RFC 4648 section 4), with padding wherever a part of it was complete; all zero is the start. */
typedef struct fgw_base64 {
    uint32_t bits;
    uint8_t have;    /* characters of the present group */
    uint8_t padding; /* '=' of it */
    uint8_t pad[2];
} fgw_base64;

/* Bytes written to out, which has room for n * 3 / 4 + 3; -1: not base64. */
long fgw_base64_decode(fgw_base64 *d, const char *p, size_t n, char *out);
/* Nothing is missing at the end. */
int fgw_base64_complete(const fgw_base64 *d);

/* Messages as base64 while they pass: each ends with its padding, so that its last byte does not wait for the next one. */
typedef struct fgw_grpc_text {
    uint32_t left;                        /* bytes of the present message */
    uint8_t have;                         /* bytes of the present prefix */
    uint8_t prefix[FGW_GRPC_WEB_PREFIX];
    uint8_t rest_len;                     /* bytes that wait for a group of three */
    uint8_t rest[3];
    uint8_t pad[2];
} fgw_grpc_text;

/* Bytes written to out, which has room for FGW_GRPC_TEXT_ROOM(n). */
size_t fgw_grpc_text_encode(fgw_grpc_text *e, const char *p, size_t n, char *out);
/* cffi:end */

/* A message has five bytes at least: eight characters, or a third more and four of padding. */
#define FGW_GRPC_TEXT_ROOM(n) (2 * (n) + 16)

#endif
