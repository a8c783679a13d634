/* Reading a checked image: tables, strings, hash lookups. No bounds checks in here: fgw_image_check() made them. */
#ifndef FGW_IMAGE_READ_H
#define FGW_IMAGE_READ_H
#include <string.h>

#include "fgw/image.h"

#define FGW_TABLE(image, table, type) ((const type *)((const char *)(image) + ((const fgw_image_header *)(image))->table.off))

static inline const fgw_image_header *fgw_header_of(const void *image) { return (const fgw_image_header *)image; }

static inline const char *fgw_strings_of(const void *image) {
    return (const char *)image + ((const fgw_image_header *)image)->strings.off;
}

static inline const char *fgw_slot_key(const fgw_img_slot *slot, const char *strings) {
    return slot->key_len <= FGW_SLOT_INLINE ? (const char *)slot->key : strings + slot->key_off;
}

/* The slot that holds the key, or NULL. */
static inline const fgw_img_slot *fgw_slot_find(const void *image, fgw_table table, uint32_t hash, const char *key, size_t n) {
    if (table.count == 0)
        return NULL;
    const fgw_img_slot *slots = FGW_TABLE(image, slots, fgw_img_slot) + table.off;
    uint32_t i = (uint32_t)(((uint64_t)hash * table.count) >> 32);
    for (;; i = i + 1 == table.count ? 0 : i + 1) {
        const fgw_img_slot *slot = &slots[i];
        if (slot->value == FGW_NONE)
            return NULL;
        if (slot->hash == hash && slot->key_len == n && memcmp(fgw_slot_key(slot, fgw_strings_of(image)), key, n) == 0)
            return slot;
    }
}

/* The regex that a set decides for a rule, FGW_NONE when the rule has none. *predicate: its place among the rule's predicates,
 * FGW_NONE for the path. */
static inline uint32_t fgw_set_regex(const void *image, const fgw_img_regex_set *set, const fgw_img_rule *rule,
                                     uint32_t *predicate) {
    const fgw_img_predicate *p = FGW_TABLE(image, predicates, fgw_img_predicate) + rule->predicates;
    *predicate = FGW_NONE;
    if (set->target == FGW_ON_PATH)
        return rule->path_kind == FGW_PATH_REGEX ? rule->regex : FGW_NONE;
    for (uint32_t i = 0; i < rule->predicate_count; i++)
        if (p[i].op == FGW_OP_REGEX && !p[i].invert && p[i].target == set->target && p[i].header_id == set->header_id &&
            p[i].name.off == set->name.off && p[i].name.len == set->name.len) {
            *predicate = i;
            return p[i].regex;
        }
    return FGW_NONE;
}

static inline uint8_t fgw_lower(uint8_t c) { return (uint8_t)(c - 'A') < 26 ? (uint8_t)(c | 0x20) : c; }

/* fgw_hash_backward, a byte at a time. */
static inline uint64_t fgw_hash_step(uint64_t h, uint8_t c) { return (h + c + 1) * 0x9e3779b97f4a7c15ull; }

static inline uint32_t fgw_hash_end(uint64_t h) { return (uint32_t)((h ^ (h >> 29)) * 0xd6e8feb86659fd93ull >> 32); }

#endif
