/* Classification of field names by a perfect hash over length, first and last two letters. Private to ext/.
 *
 * The table is laid out by the compiler: a collision between two names is a doubly initialised element, which
 * -Woverride-init / -Winitializer-overrides turns into an error. Changing the names may need other multipliers. */
#ifndef FGW_SRC_HEADER_NAMES_H
#define FGW_SRC_HEADER_NAMES_H
#include "bytes.h"
#include "fgw/base.h"

enum { FGW_NAME_SLOTS = 128, FGW_NAME_MAX = 30 };

typedef struct fgw_known_name {
    char text[FGW_NAME_MAX];
    uint8_t len; /* 0: an empty slot */
    uint8_t id;
} fgw_known_name;

extern const fgw_known_name fgw_known_names[FGW_NAME_SLOTS];

/* Case is folded with | 0x20; that also folds bytes that are no letters, but the full comparison decides. */
#define FGW_NAME_HASH(n, first, last_but_one, last)                                                                                \
    (((n)*2u + ((unsigned)(first) | 0x20u) * 17u + ((unsigned)(last_but_one) | 0x20u) * 17u + ((unsigned)(last) | 0x20u)) &        \
     (FGW_NAME_SLOTS - 1))

static inline int fgw_has_x_envoy_prefix(const char *name, size_t n) {
    return n > 8 && (name[0] | 0x20) == 'x' && fgw_equal_folded(name, "x-envoy-", 8);
}

/* The only known name that n >= 2 bytes at name can be. */
static inline const fgw_known_name *fgw_name_candidate(const char *name, size_t n) {
    return &fgw_known_names[FGW_NAME_HASH((unsigned)n, (uint8_t)name[0], (uint8_t)name[n - 2], (uint8_t)name[n - 1])];
}

static inline int fgw_classify_name(const char *name, size_t n) {
    if (n < 2)
        return FGW_HDR_OTHER;
    const fgw_known_name *known = fgw_name_candidate(name, n);
    if (known->len == n && fgw_equal_folded(name, known->text, n))
        return known->id;
    return fgw_has_x_envoy_prefix(name, n) ? FGW_HDR_X_ENVOY : FGW_HDR_OTHER;
}

#endif
