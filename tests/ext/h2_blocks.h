/* A field block in the notation of tests/wire/h2_requests.tsv, added field by field to a fgw_h2_head whose memory grows by need and
 * ends at a guard. Included by the tests and the fuzz target. */
#include "fgw/http2.h"
#include <stdlib.h>
#include <string.h>

enum { BLOCK_FIELDS = 102 };

typedef struct block {
    fgw_h2_head head;
    fgw_field fields[BLOCK_FIELDS];
    char *bytes; /* exactly head.cap of them */
} block;

static void begin_block(block *b, int kind, int options, const fgw_limits *limits) {
    memset(b, 0, sizeof *b);
    b->head.fields = b->fields;
    b->head.field_cap = BLOCK_FIELDS;
    b->head.cap = FGW_H2_SLACK;
    b->head.base = b->bytes = malloc(FGW_H2_SLACK);
    fgw_h2_start(&b->head, kind, options, limits);
}

static int add_to_block(block *b, const char *name, size_t name_len, const char *value, size_t value_len) {
    int reason = fgw_h2_add(&b->head, name, name_len, value, value_len);
    if (reason != FGW_H2_NO_ROOM)
        return reason;
    uint32_t cap = b->head.len + (uint32_t)(name_len + value_len) + FGW_H2_SLACK;
    b->head.base = b->bytes = realloc(b->bytes, cap);
    if (b->bytes == NULL)
        abort();
    b->head.cap = cap;
    return fgw_h2_add(&b->head, name, name_len, value, value_len);
}

/* "name=value|name=value": every field, whatever is said to one. */
static void add_text(block *b, const char *p, size_t n) {
    const char *end = p + n;
    while (p < end) {
        const char *bar = memchr(p, '|', (size_t)(end - p));
        const char *stop = bar != NULL ? bar : end;
        const char *equals = memchr(p, '=', (size_t)(stop - p));
        const char *value = equals != NULL ? equals + 1 : stop;
        add_to_block(b, p, (size_t)((equals != NULL ? equals : stop) - p), value, (size_t)(stop - value));
        p = stop + 1;
    }
}

static void end_block(block *b) { free(b->bytes); }
