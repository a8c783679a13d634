/* Looking for fields. Most of a message have another id, so that is asked first. */
#include "fgw/fields.h"

#include "bytes.h"

static inline int is_named(const char *base, const fgw_field *f, int id, const char *name, size_t n) {
    return f->id == id && f->name_len == n && fgw_equal_folded(base + f->name_off, name, n);
}

const fgw_field *fgw_find_field(const char *base, const fgw_field *fields, uint32_t count, int id, const char *name, size_t n) {
    for (const fgw_field *f = fields; f < fields + count; f++)
        if (is_named(base, f, id, name, n) && !(f->flags & (FGW_FIELD_HIDDEN | FGW_FIELD_LISTED)))
            return f;
    return NULL;
}

void fgw_hide_fields(const char *base, fgw_field *fields, uint32_t count, int id, const char *name, size_t n) {
    for (fgw_field *f = fields; f < fields + count; f++)
        if (is_named(base, f, id, name, n))
            f->flags |= FGW_FIELD_DROP | FGW_FIELD_HIDDEN;
}
