/* Fields of a message by their names. */
#ifndef FGW_FIELDS_H
#define FGW_FIELDS_H
#include "base.h"

/* The first field of a lower-case name with its id, NULL without one; of those that rules and logs may see. */
const fgw_field *fgw_find_field(const char *base, const fgw_field *fields, uint32_t count, int id, const char *name, size_t n);
/* Nobody sees fields of this name any more. */
void fgw_hide_fields(const char *base, fgw_field *fields, uint32_t count, int id, const char *name, size_t n);

#endif
