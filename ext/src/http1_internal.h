/* What the pieces of the HTTP/1 head parser share. Private to ext/.
 *
 * Scanning finds lines, names and values and refuses bytes that may not be there: http1_lines.c does it byte by byte and is
 * the authority; http1_vector.h, compiled once per instruction set, takes the lines in which it sees nothing odd and leaves
 * every other line to http1_lines.c. Judging (http1_request.c, http1_response.c) reads the fields found and decides what the
 * message means. */
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
    uint64_t ids;        /* bit i: some field has the enum fgw_header_id i */
    uint64_t twice;      /* of FGW_COUNTED_IDS; bit i: more than one field has it */
    uint32_t leniencies; /* made use of */
    uint32_t path_len;   /* target bytes before the first '?' */
    int has_query;
    int path_special;  /* '%', '\\' or "/." before the first '?' */
    int has_fragment;  /* '#' somewhere */
    uint32_t last[64]; /* index of the last field with this id, where ids has the bit */
} fgw_scan;

#define FGW_BIT(id) (UINT64_C(1) << (id))
#define FGW_COUNTED_IDS (~FGW_BIT(FGW_HDR_OTHER))

/* Adds a field; the caller has made sure of room. */
static inline void fgw_add_field(fgw_scan *scan, fgw_field field) {
    uint64_t bit = FGW_BIT(field.id);
    scan->twice |= scan->ids & bit & FGW_COUNTED_IDS;
    scan->ids |= bit;
    scan->last[field.id] = scan->count;
    scan->fields[scan->count++] = field;
}

/* Scanners answer like a parser: > 0 used, 0 more bytes needed, < 0 minus a reason. The step that differs by instruction
 * set is put together with the common ones by http1.c: `target` is the end of the request target (with what scan learns
 * about '?', '#' and bytes that normalising changes), `fields` all fields and the empty line that ends the head. */
typedef struct fgw_scanner {
    const char *name;
    const char *(*target)(const char *base, const char *start, const char *end, fgw_scan *scan);
    long (*fields)(const char *base, const char *p, const char *end, fgw_scan *scan);
} fgw_scanner;

extern const fgw_scanner fgw_scanner_scalar;
extern const fgw_scanner fgw_scanner_sse42;
extern const fgw_scanner fgw_scanner_avx2;
extern const fgw_scanner fgw_scanner_neon;

/* http1_lines.c */
const char *fgw_scan_target(const char *base, const char *start, const char *end, fgw_scan *scan);
long fgw_scan_fields(const char *base, const char *p, const char *end, fgw_scan *scan);
/* http1_start.c: the first line, and the empty lines before it; offsets count from base. */
long fgw_scan_request_line(const fgw_scanner *scanner, const char *base, const char *end, fgw_scan *scan, fgw_request *out);
long fgw_scan_status_line(const char *base, const char *end, fgw_scan *scan, fgw_response *out);
long fgw_scan_line_end(const char *p, const char *end, fgw_scan *scan);

/* http1_rules.c: meaning of fields, for requests and responses alike; 0 or an enum fgw_reason. */
typedef struct fgw_framing_facts {
    uint64_t length;
    uint32_t lengths; /* number of Content-Length fields */
    uint32_t codings; /* number of Transfer-Encoding fields */
} fgw_framing_facts;

int fgw_note_content_length(fgw_framing_facts *facts, const char *value, size_t n, uint32_t leniency, uint32_t *used);
int fgw_check_transfer_encoding(const char *value, size_t n);
/* Reads every Connection field: flags, and FGW_FIELD_LISTED on the fields that they name. */
int fgw_apply_connection(const char *p, const fgw_scan *scan, uint32_t *flags);
int fgw_upgrade_names_other_than_h2c(const char *value, size_t n);
int fgw_te_names_trailers(const char *value, size_t n);
/* The next member of a comma list: 1 with the member (OWS trimmed, maybe empty) in item, 0 at the end. */
int fgw_next_item(const char **p, const char *end, const char **item, size_t *item_len);

/* http1_start.c; methods are case-sensitive (RFC 9110 section 9.1). */
int fgw_method_id_of(const char *p, size_t n);
/* http1_request.c: methods that no one may use here. */
int fgw_check_method(int method_id);
/* http1.c */
fgw_limits fgw_limits_with_defaults(const fgw_limits *given);

/* http1_request.c, http1_response.c: 0 or an enum fgw_reason. */
int fgw_judge_request(const char *p, const fgw_scan *scan, fgw_request *out);
int fgw_judge_response(const char *p, const fgw_scan *scan, fgw_response *out);

#endif
