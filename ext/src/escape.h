/* Escaping bytes from outside for a line of the log, for those that do it in a loop: see fgw_escape() in fgw/text.h. Sixteen bytes at
 * a time where nothing has to be escaped, which is nearly always. Private to ext/. */
#ifndef FGW_SRC_ESCAPE_H
#define FGW_SRC_ESCAPE_H
#include "bytes.h"

typedef signed char bytes16 __attribute__((vector_size(16)));
typedef unsigned char ubytes16 __attribute__((vector_size(16)));

/* The same byte by byte, in text.c. */
size_t fgw_escape_bytes(char *out, const char *p, size_t n, int json);

static inline int is_special(uint8_t c) { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\'; }

/* Which of sixteen bytes are to be escaped; not zero there. One added to them, DEL and bytes from 0x80 on are below zero, like those
 * below the space. */
static inline bytes16 specials(bytes16 b) {
    const bytes16 after = (bytes16)((ubytes16)b + 1);
    return (after <= 0x20) | (b == '"') | (b == '\\');
}

static inline int any(bytes16 found) {
    uint64_t words[2];
    memcpy(words, &found, sizeof words);
    return (words[0] | words[1]) != 0;
}

/* Less than sixteen bytes, as two halves that may overlap, so that nothing outside the run is touched. */
static inline size_t escape_short(char *out, const char *p, size_t n, int json) {
    bytes16 both;
    if (n >= 8) {
        const uint64_t halves[2] = {fgw_load8(p), fgw_load8(p + n - 8)};
        memcpy(&both, halves, sizeof both);
        memcpy(out, &halves[0], 8);
        memcpy(out + n - 8, &halves[1], 8);
    } else if (n >= 4) {
        const uint32_t halves[4] = {fgw_load4(p), fgw_load4(p + n - 4), fgw_load4(p), fgw_load4(p)};
        memcpy(&both, halves, sizeof both);
        memcpy(out, &halves[0], 4);
        memcpy(out + n - 4, &halves[1], 4);
    } else {
        const char first = p[0], middle = p[n / 2], last = p[n - 1];
        out[0] = first;
        out[n / 2] = middle;
        out[n - 1] = last;
        return is_special((uint8_t)first) | is_special((uint8_t)middle) | is_special((uint8_t)last) ? fgw_escape_bytes(out, p, n, json)
                                                                                                    : n;
    }
    return any(specials(both)) ? fgw_escape_bytes(out, p, n, json) : n;
}

/* What has been copied as it is is written once more when something is to be escaped. */
static inline size_t fgw_escape_inline(char *out, const char *p, size_t n, int json) {
    bytes16 b, found = {0};
    if (n < 16)
        return n ? escape_short(out, p, n, json) : 0;
    for (size_t i = 0; i + 16 < n; i += 16) {
        memcpy(&b, p + i, sizeof b);
        memcpy(out + i, &b, sizeof b);
        found |= specials(b);
    }
    memcpy(&b, p + n - 16, sizeof b); /* the last sixteen, of which the first may stand there already */
    memcpy(out + n - 16, &b, sizeof b);
    return any(found | specials(b)) ? fgw_escape_bytes(out, p, n, json) : n;
}

#endif
