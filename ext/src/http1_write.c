/* Writing relayed fields: lower-case names, values as parsed, "name: value CRLF". */
#include "bytes.h"
#include "fgw/http1.h"

enum { NOT_RELAYED = FGW_FIELD_DROP | FGW_FIELD_LISTED };

/* Words that overlap at the end instead of a byte loop: nothing outside the two runs is touched. */
static inline void copy_lower(char *out, const char *name, size_t n) {
    if (n >= 8) {
        uint64_t tail = fgw_lower8(fgw_load8(name + n - 8));
        for (size_t i = 0; i + 8 < n; i += 8) {
            uint64_t word = fgw_lower8(fgw_load8(name + i));
            memcpy(out + i, &word, 8);
        }
        memcpy(out + n - 8, &tail, 8);
    } else if (n >= 4) {
        uint32_t head = (uint32_t)fgw_lower8(fgw_load4(name));
        uint32_t tail = (uint32_t)fgw_lower8(fgw_load4(name + n - 4));
        memcpy(out, &head, 4);
        memcpy(out + n - 4, &tail, 4);
    } else {
        for (size_t i = 0; i < n; i++)
            out[i] = (char)fgw_lower8((uint8_t)name[i]);
    }
}

/* Most values are short; two overlapping words cost less than a call. */
static inline void copy_value(char *out, const char *value, size_t n) {
    if (n > 16 || n < 8) {
        memcpy(out, value, n);
        return;
    }
    uint64_t head = fgw_load8(value), tail = fgw_load8(value + n - 8);
    memcpy(out, &head, 8);
    memcpy(out + n - 8, &tail, 8);
}

size_t fgw_write_fields(char *out, const char *base, const fgw_field *fields, size_t count) {
    char *at = out;
    for (const fgw_field *f = fields; f < fields + count; f++) {
        if (f->flags & NOT_RELAYED)
            continue;
        copy_lower(at, base + f->name_off, f->name_len);
        at += f->name_len;
        memcpy(at, ": ", 2);
        copy_value(at + 2, base + f->value_off, f->value_len);
        at += 2 + f->value_len;
        memcpy(at, "\r\n", 2);
        at += 2;
    }
    return (size_t)(at - out);
}

size_t fgw_fields_size(const fgw_field *fields, size_t count) {
    size_t size = 0;
    for (const fgw_field *f = fields; f < fields + count; f++)
        size += f->flags & NOT_RELAYED ? 0 : (size_t)f->name_len + f->value_len + 4;
    return size;
}
