/* What the pieces of the HTTP/1 head parser share. Private to ext/.
 *
 * Scanning (http1_scan.h, compiled once per instruction set) finds lines, names and values and refuses bytes that may not be
 * there. Judging (http1_request.c, http1_response.c) reads the fields found and decides what the message means. */
#ifndef FGW_SRC_HTTP1_INTERNAL_H
#define FGW_SRC_HTTP1_INTERNAL_H
#include "bytes.h"
#include "chars.h"
#include "fgw/http1.h"

enum { FGW_METHOD_MAX = 32, FGW_EMPTY_LINES_MAX = 8, FGW_LISTED_MAX = 32 };

/* What scanning finds out beside the fields. */
typedef struct fgw_scan {
    const fgw_limits *limits; /* no zeros in it: defaults are filled in */
    fgw_field *fields;
    uint32_t cap; /* at most this many fields, limits->fields or the room there is */
    uint32_t count;
    uint64_t ids;         /* bit i: some field has the enum fgw_header_id i */
    uint32_t leniencies;  /* made use of */
    uint32_t path_len;    /* target bytes before the first '?' */
    uint8_t has_query;
    uint8_t path_special; /* '%', '\\' or "/." before the first '?' */
    uint8_t has_fragment; /* '#' somewhere */
} fgw_scan;

#define FGW_BIT(id) (UINT64_C(1) << (id))

typedef long (*fgw_request_scanner)(const char *p, size_t n, fgw_scan *scan, fgw_request *out);
typedef long (*fgw_response_scanner)(const char *p, size_t n, fgw_scan *scan, fgw_response *out);

long fgw_scan_request_scalar(const char *p, size_t n, fgw_scan *scan, fgw_request *out);
long fgw_scan_response_scalar(const char *p, size_t n, fgw_scan *scan, fgw_response *out);
long fgw_scan_request_sse42(const char *p, size_t n, fgw_scan *scan, fgw_request *out);
long fgw_scan_response_sse42(const char *p, size_t n, fgw_scan *scan, fgw_response *out);
long fgw_scan_request_avx2(const char *p, size_t n, fgw_scan *scan, fgw_request *out);
long fgw_scan_response_avx2(const char *p, size_t n, fgw_scan *scan, fgw_response *out);
long fgw_scan_request_neon(const char *p, size_t n, fgw_scan *scan, fgw_request *out);
long fgw_scan_response_neon(const char *p, size_t n, fgw_scan *scan, fgw_response *out);

/* http1_lines.c: the rare and the cold parts of scanning. They answer like a parser: > 0 used, 0 more, < 0 minus a reason. */
long fgw_scan_line_end(const char *p, const char *end, fgw_scan *scan);
long fgw_scan_empty_lines(const char *p, const char *end, fgw_scan *scan);
long fgw_scan_version(const char *p, const char *end, uint8_t *minor);
long fgw_scan_status(const char *p, const char *end, fgw_response *out);
/* The last word of a request line and its line end. */
long fgw_scan_request_version(const char *base, const char *p, const char *end, fgw_scan *scan, fgw_request *out);
/* Why the line cannot be what it should be, given the byte at which the scanner stopped. */
int fgw_method_fault(const char *start, const char *at);
long fgw_target_fault(const char *start, const char *at, const char *end);
int fgw_name_fault(const char *start, const char *at, const char *end);
int fgw_method_id(const char *p, size_t n);

/* http1_rules.c: meaning of fields, for requests and responses alike; 0 or an enum fgw_reason. */
typedef struct fgw_framing_facts {
    uint64_t length;
    uint32_t lengths; /* number of Content-Length fields */
    uint32_t codings; /* number of Transfer-Encoding fields */
} fgw_framing_facts;

int fgw_note_content_length(fgw_framing_facts *facts, const char *value, size_t n, uint32_t leniency, uint32_t *used);
int fgw_check_transfer_encoding(const char *value, size_t n);
/* Reads every Connection field: flags, and FGW_FIELD_LISTED on the fields that they name. */
int fgw_apply_connection(const char *p, fgw_field *fields, uint32_t count, uint32_t *flags);
int fgw_upgrade_names_other_than_h2c(const char *value, size_t n);
int fgw_te_names_trailers(const char *value, size_t n);
/* The next member of a comma list: 1 with the member (OWS trimmed, maybe empty) in item, 0 at the end. */
int fgw_next_item(const char **p, const char *end, const char **item, size_t *item_len);

/* http1_request.c, http1_response.c: 0 or an enum fgw_reason. */
int fgw_judge_request(const char *p, const fgw_scan *scan, fgw_request *out);
int fgw_judge_response(const char *p, const fgw_scan *scan, fgw_response *out);

#endif
