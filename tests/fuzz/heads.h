/* Fuzzing of heads: HEAD, PARSE and PARSE_SCALAR as in tests/ext/heads.h. The dispatched parser and its scalar twin must give
 * the same answer; what is relayed of an accepted head must be accepted again, as it is. */
#include "fgw/http1.h"
#include "fuzz.h"

enum { FIELDS_MAX = 100 };

typedef struct parsed {
    long answer;
    HEAD head;
    fgw_field fields[FIELDS_MAX + 1];
} parsed;

typedef long (*parser)(const char *, size_t, size_t, const fgw_limits *, HEAD *, fgw_field *, size_t);

static const fgw_limits strict;
static const fgw_limits lenient = {.leniency = 15};

static void parse(parsed *out, parser how, const char *p, size_t n, size_t seen, const fgw_limits *limits) {
    memset(out, 0, sizeof *out);
    out->answer = how(p, n, seen, limits, &out->head, out->fields, FIELDS_MAX + 1);
    PROMISE(out->answer <= (long)n && out->answer > -FGW_R_COUNT);
}

static void check_fields(const parsed *got) {
    uint32_t at = 0;
    PROMISE(got->head.field_count <= FIELDS_MAX && (long)got->head.head_len == got->answer);
    for (uint32_t i = 0; i < got->head.field_count; i++) {
        const fgw_field *f = &got->fields[i];
        PROMISE(f->name_len != 0 && f->name_off >= at && f->value_off > f->name_off + f->name_len);
        at = f->value_off + f->value_len;
        PROMISE(at + 2 <= got->head.head_len && f->id < FGW_HDR_COUNT);
    }
}

/* `start` and the relayed fields as a new head. */
static void check_relayed(const char *p, const parsed *got, const char *start) {
    static parsed again;
    size_t line = strlen(start);
    size_t size = fgw_fields_size(got->fields, got->head.field_count);
    char *out = exact_copy(start, line);
    out = realloc(out, line + size + 2);
    PROMISE(out != NULL && fgw_write_fields(out + line, p, got->fields, got->head.field_count) == size);
    memcpy(out + line + size, "\r\n", 2);
    parse(&again, PARSE, out, line + size + 2, 0, &strict);
    PROMISE(again.answer == (long)(line + size + 2) || again.answer < 0);
    if (again.answer > 0)
        check_fields(&again);
    free(out);
}

static void check_answers(const char *p, size_t n, const fgw_limits *limits, const char *start) {
    static parsed fast, scalar, part;
    parse(&fast, PARSE, p, n, 0, limits);
    parse(&scalar, PARSE_SCALAR, p, n, 0, limits);
    PROMISE(fast.answer == scalar.answer);
    if (fast.answer > 0) {
        PROMISE(memcmp(&fast, &scalar, sizeof fast) == 0);
        check_fields(&fast);
        check_relayed(p, &fast, start);
    }
    size_t at = n == 0 ? 0 : n * (uint8_t)p[n - 1] / 256;
    char *first = exact_copy(p, at);
    parse(&part, PARSE, first, at, 0, limits);
    free(first);
    if (part.answer != 0)
        PROMISE(part.answer == fast.answer);
    parse(&part, PARSE, p, n, at, limits);
    PROMISE(part.answer == fast.answer || (part.answer == 0 && memchr(p + at, '\n', n - at) == NULL));
}

static void check_heads(const uint8_t *data, size_t n, const char *start) {
    char *p = exact_copy(data, n);
    check_answers(p, n, &strict, start);
    check_answers(p, n, &lenient, start);
    free(p);
}
