/* Parsing a head in every way there is and comparing the answers: dispatched and scalar, at both guard pages, whole and in
 * two parts. Included by the tests of requests and responses, which define HEAD (fgw_request or fgw_response), PARSE,
 * PARSE_SCALAR. */
#include "fgw/http1.h"
#include "support.h"
#include <stdlib.h>

enum { FIELDS_MAX = 100 };

typedef struct parsed {
    long answer;
    HEAD head;
    fgw_field fields[FIELDS_MAX + 1];
} parsed;

typedef long (*parser)(const char *, size_t, size_t, const fgw_limits *, HEAD *, fgw_field *, size_t);

static fgw_limits limits;

static long parse_into(parsed *out, parser parse, const char *p, size_t n, size_t seen) {
    memset(out, 0, sizeof *out);
    out->answer = parse(p, n, seen, &limits, &out->head, out->fields, FIELDS_MAX + 1);
    return out->answer;
}

/* Equal answers; of accepted heads equal contents, too. */
static int same(const parsed *a, const parsed *b) {
    if (a->answer != b->answer)
        return 0;
    return a->answer <= 0 || (memcmp(&a->head, &b->head, sizeof a->head) == 0 &&
                              memcmp(a->fields, b->fields, a->head.field_count * sizeof a->fields[0]) == 0);
}

/* The answer to the whole input, after all ways to give it have answered the same. */
static long parse_everywhere(const char *p, size_t n, parsed *whole) {
    static parsed other;
    parse_into(whole, PARSE, guard_after(p, n), n, 0);
    parse_into(&other, PARSE_SCALAR, guard_after(p, n), n, 0);
    CHECK(same(whole, &other));
    parse_into(&other, PARSE, guard_before(p, n), n, 0);
    CHECK(same(whole, &other));
    return whole->answer;
}

/* Two parts: a refusal of the first part is the refusal of the whole; else the second call answers as the whole did. */
static void check_split(const char *p, size_t n, size_t at, const parsed *whole) {
    static parsed part;
    long first = parse_into(&part, PARSE, guard_after(p, at), at, 0);
    if (first == 0)
        parse_into(&part, PARSE, guard_after(p, n), n, at);
    if (first > 0)
        CHECK_EQ(first, whole->answer);
    else if (part.answer != 0 || memchr(p + at, '\n', n - at) != NULL)
        CHECK(same(&part, whole));
}

/* Byte by byte with `seen`, as from a client that drips. */
static void check_dripped(const char *p, size_t n, const parsed *whole) {
    static parsed part;
    size_t at = 0;
    do {
        at++;
        parse_into(&part, PARSE, guard_after(p, at), at, at - 1);
    } while (part.answer == 0 && at < n);
    if (whole->answer > 0 || (whole->answer < 0 && part.answer != 0))
        CHECK(same(&part, whole));
    if (whole->answer == 0)
        CHECK_EQ(part.answer, 0);
}

static void check_case(const char *id, const char *verdict, const char *p, size_t n) {
    static parsed whole;
    int before = failures;
    long answer = parse_everywhere(p, n, &whole);
    const char *got = answer > 0 ? "ok" : answer == 0 ? "more" : fgw_reason_name((int)-answer);
    CHECK(strcmp(got, verdict) == 0);
    size_t step = n < 2000 ? 1 : n / 199;
    for (size_t at = 0; at < n; at += step)
        check_split(p, n, at, &whole);
    if (n < 2000)
        check_dripped(p, n, &whole);
    if (failures != before)
        fprintf(stderr, "... in case %s: %s instead of %s\n", id, got, verdict);
}

/* Heads with some bytes changed, cut or doubled: whatever the twins say, they say the same. */
static void check_mutations(const char *seed, size_t n, uint64_t *random, int rounds) {
    static const char odd[] = "\r\n\t :\0\x7f\x80/?#%.\\_,;=@[]A\x1f\x0b";
    static parsed whole;
    char copy[4096];
    for (int i = 0; i < rounds; i++) {
        memcpy(copy, seed, n);
        for (uint64_t changes = 1 + next_random(random) % 3; changes > 0; changes--) {
            uint64_t r = next_random(random);
            copy[r % n] = r & (1u << 30) ? odd[(r >> 32) % (sizeof odd - 1)] : (char)(r >> 40);
        }
        size_t len = next_random(random) % 4 == 0 ? next_random(random) % (n + 1) : n;
        parse_everywhere(copy, len, &whole);
        check_split(copy, len, len == 0 ? 0 : next_random(random) % len, &whole);
    }
}
