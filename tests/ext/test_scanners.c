/* Every scanner that this machine can run against the scalar one, step by step: also those that http1.c would not choose. */
#include "http1_internal.h"
#include "support.h"

enum { FIELDS_MAX = 100 };

static const fgw_limits limits = {61440, 16384, FIELDS_MAX, 0};

typedef struct scanned {
    long used;
    fgw_scan scan;
    fgw_field fields[FIELDS_MAX];
} scanned;

static void fresh(scanned *s) {
    memset(s, 0, sizeof *s);
    s->scan.limits = &limits;
    s->scan.fields = s->fields;
    s->scan.cap = FIELDS_MAX;
}

static int same_fields(const scanned *a, const scanned *b) {
    return a->used == b->used &&
           (a->used <= 0 || (a->scan.ids == b->scan.ids && a->scan.twice == b->scan.twice && a->scan.count == b->scan.count &&
                             memcmp(a->fields, b->fields, sizeof a->fields) == 0));
}

static int same_target(const scanned *a, const scanned *b) {
    return a->used == b->used && a->scan.path_len == b->scan.path_len && a->scan.has_query == b->scan.has_query &&
           a->scan.has_fragment == b->scan.has_fragment && a->scan.path_special == b->scan.path_special;
}

/* Both steps begin `from` bytes after the start of the input, as after a request line. */
static void compare(const fgw_scanner *scanner, char *(*place)(const void *, size_t), const char *text, size_t n, size_t from) {
    static scanned a, b;
    char *p = place(text, n);
    fresh(&a);
    fresh(&b);
    a.used = scanner->fields(p, p + from, p + n, &a.scan);
    b.used = fgw_scanner_scalar.fields(p, p + from, p + n, &b.scan);
    CHECK(same_fields(&a, &b));
}

static void compare_target(const fgw_scanner *scanner, const char *text, size_t n, size_t from) {
    static scanned a, b;
    char *p = guard_after(text, n);
    fresh(&a);
    fresh(&b);
    a.used = scanner->target(p, p + from, p + n, &a.scan) - p;
    b.used = fgw_scanner_scalar.target(p, p + from, p + n, &b.scan) - p;
    CHECK(same_target(&a, &b));
}

/* Lines made of pieces that end in the middle of blocks: long and short names, odd bytes, known names, odd line ends. */
static size_t random_lines(char *out, size_t room, uint64_t *random) {
    static const char *const names[] = {"Host",
                                        "x-envoy-upstream-service-time",
                                        "X_a",
                                        "Accept",
                                        "x",
                                        "a-name-of-more-than-thirty-two-bytes-in-a-row",
                                        "X-Forwarded-For",
                                        "TE",
                                        "Via"};
    static const char *const gaps[] = {": ", ":", ":  \t", ": ", ": ", ": ", ": ", " : ", ": "};
    static const char *const ends[] = {"\r\n",   "\r\n", "\r\n", "\r\n", " \r\n", "\t\r\n",   "\r\n",     "\r\n", "\n",
                                       "\r\r\n", "\r\n", "\r\n", "\r\n", "\r\n",  "\r\n\r\n", "\x7f\r\n", "\r\n "};
    size_t n = 0;
    for (uint64_t lines = next_random(random) % 12; lines > 0 && n + 300 < room; lines--) {
        n += (size_t)sprintf(out + n, "%s%s", names[next_random(random) % 9], gaps[next_random(random) % 9]);
        for (uint64_t value = next_random(random) % 130; value > 0; value--)
            out[n++] = (char)(next_random(random) % 400 == 0 ? next_random(random) : 0x20 + next_random(random) % 95);
        n += (size_t)sprintf(out + n, "%s", ends[next_random(random) % 17]);
    }
    n += (size_t)sprintf(out + n, "\r\n%s",
                         next_random(random) % 2 ? "" : "body \x01 bytes\n after the head, as long as a block of them");
    return n;
}

static size_t random_target(char *out, uint64_t *random) {
    static const char marks[] = "/./.?#%\\aAbB09-_~";
    size_t n = next_random(random) % 200;
    for (size_t i = 0; i < n; i++)
        out[i] = next_random(random) % 60 == 0 ? (char)next_random(random) : marks[next_random(random) % (sizeof marks - 1)];
    return n;
}

static void test_scanner(const fgw_scanner *scanner) {
    static char text[8192];
    uint64_t random = 3;
    int before = failures;
    for (int i = 0; i < 20000; i++) {
        size_t n = random_lines(text, sizeof text, &random);
        size_t len = next_random(&random) % 3 == 0 ? next_random(&random) % (n + 1) : n;
        size_t from = next_random(&random) % 4 == 0 && len > 0 ? next_random(&random) % len : 0;
        compare(scanner, guard_after, text, len, from);
        compare(scanner, guard_before, text, len, from);
        n = random_target(text, &random);
        compare_target(scanner, text, n, n > 0 ? next_random(&random) % n : 0);
    }
    printf("%s: %d differences\n", scanner->name, failures - before);
}

int main(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        test_scanner(&fgw_scanner_sse42);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        test_scanner(&fgw_scanner_avx2);
#elif defined(__aarch64__)
    test_scanner(&fgw_scanner_neon);
#endif
    CHECK(strcmp(fgw_simd_name(), "") != 0);
    return test_result("scanners");
}
