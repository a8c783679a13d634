/* See support.h. */
#define _DEFAULT_SOURCE
#include "support.h"
#include <stdlib.h>
#include <sys/mman.h>

int failures;

void check_at(int ok, const char *file, int line, const char *text) {
    if (ok)
        return;
    failures++;
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
}

void check_eq_at(long got, long wanted, const char *file, int line, const char *text) {
    if (got == wanted)
        return;
    failures++;
    fprintf(stderr, "%s:%d: %s is %ld, not %ld\n", file, line, text, got, wanted);
}

/* GUARDED_MAX usable bytes between two forbidden pages. */
static char *guarded_area(void) {
    enum { PAGE = 65536 };
    char *area = mmap(NULL, GUARDED_MAX + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED || mprotect(area + PAGE, GUARDED_MAX, PROT_READ | PROT_WRITE) != 0)
        abort();
    return area + PAGE;
}

static char *put(char **area, size_t offset, const void *p, size_t n) {
    if (*area == NULL)
        *area = guarded_area();
    if (n > GUARDED_MAX)
        abort();
    if (n != 0)
        memcpy(*area + offset, p, n);
    return *area + offset;
}

char *guard_after(const void *p, size_t n) {
    static char *area;
    return put(&area, GUARDED_MAX - n, p, n);
}

char *guard_before(const void *p, size_t n) {
    static char *area;
    return put(&area, 0, p, n);
}

uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* "{70000*a}" at p: writes 70000 times 'a', returns the bytes of text used. */
static size_t expand_run(const char *p, char *out, size_t *len) {
    char *after;
    size_t times = strtoul(p + 1, &after, 10);
    if (*after != '*' || *len + times > GUARDED_MAX)
        abort();
    memset(out + *len, after[1], times);
    *len += times;
    return (size_t)(after - p) + 3;
}

static size_t unescape(const char *p, char *out) {
    static const char letters[] = "rnt\\", bytes[] = "\r\n\t\\";
    size_t len = 0;
    while (*p != '\0' && *p != '\n') {
        if (*p != '\\') {
            out[len++] = *p++;
            continue;
        }
        p++;
        if (*p == '{') {
            p += expand_run(p, out, &len);
        } else if (*p == 'x') {
            char hex[3] = {p[1], p[2], 0};
            out[len++] = (char)strtoul(hex, NULL, 16);
            p += 3;
        } else {
            const char *letter = strchr(letters, *p++);
            if (letter == NULL)
                abort();
            out[len++] = bytes[letter - letters];
        }
    }
    return len;
}

static void visit_line(char *line, visit_case visit) {
    static char bytes[GUARDED_MAX];
    char *columns[4];
    for (int i = 0; i < 4; i++) {
        columns[i] = line;
        line = strchr(line, i < 3 ? '\t' : '\n');
        if (line == NULL)
            abort();
        *line++ = '\0';
    }
    columns[2][strcspn(columns[2], "/")] = '\0';
    visit(columns[0], columns[2], bytes, unescape(columns[3], bytes));
}

int each_case(const char *name, visit_case visit) {
    static char line[GUARDED_MAX];
    int cases = 0;
    snprintf(line, sizeof line, "%s/%s.tsv", WIRE_DIR, name);
    FILE *file = fopen(line, "r");
    if (file == NULL)
        abort();
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#')
            continue;
        visit_line(line, visit);
        cases++;
    }
    fclose(file);
    return cases;
}

int test_result(const char *name) {
    printf("%s: %d failures\n", name, failures);
    return failures != 0;
}
