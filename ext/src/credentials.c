/* Reading a credentials block. */
#include <string.h>

#include "fgw/credentials.h"

static const fgw_credential *records_of(const void *block) {
    return (const fgw_credential *)((const char *)block + sizeof(fgw_credentials_header));
}

static int span_ok(fgw_span s, size_t n) { return (uint64_t)s.off + s.len <= n; }

static int compare(const void *block, fgw_span s, const char *name, size_t n) {
    const int order = memcmp((const char *)block + s.off, name, s.len < n ? s.len : n);
    return order != 0 ? order : (s.len > n) - (s.len < n);
}

long fgw_credentials_check(const void *block, size_t n) {
    const fgw_credentials_header *h = block;
    if (n < sizeof *h || n > UINT32_MAX)
        return -FGW_R_IMAGE_SIZE;
    if (h->magic != FGW_CREDENTIALS_MAGIC)
        return -FGW_R_IMAGE_MAGIC;
    if (h->version != FGW_CREDENTIALS_VERSION)
        return -FGW_R_IMAGE_VERSION;
    if (h->total_bytes != n || sizeof *h + (uint64_t)h->count * sizeof(fgw_credential) > n)
        return -FGW_R_IMAGE_SIZE;
    const fgw_credential *c = records_of(block);
    for (uint32_t i = 0; i < h->count; i++) {
        if (!span_ok(c[i].name, n) || !span_ok(c[i].chain, n) || !span_ok(c[i].key, n) || !span_ok(c[i].ca, n) ||
            !span_ok(c[i].crl, n))
            return -FGW_R_IMAGE_BOUNDS;
        if (i > 0 && compare(block, c[i - 1].name, (const char *)block + c[i].name.off, c[i].name.len) >= 0)
            return -FGW_R_IMAGE_CONTENT;
    }
    return 1;
}

const fgw_credential *fgw_credentials_find(const void *block, const char *name, size_t n) {
    const fgw_credential *c = records_of(block);
    uint32_t low = 0, high = ((const fgw_credentials_header *)block)->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = compare(block, c[middle].name, name, n);
        if (order == 0)
            return &c[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
