/* x-forwarded-for, read from the right: what stands further left may be anybody's invention. */
#include "fgw/forwarded.h"

static int is_blank(char c) { return c == ' ' || c == '\t'; }

/* The last element before *n, which is moved to the comma in front of it, or to 0 with *more = 0. */
static int last_address(const char *p, size_t *n, int *more, fgw_ip *out) {
    size_t end = *n, begin = end;
    while (begin > 0 && p[begin - 1] != ',')
        begin--;
    *more = begin > 0;
    *n = begin > 0 ? begin - 1 : 0;
    while (begin < end && is_blank(p[begin]))
        begin++;
    while (end > begin && is_blank(p[end - 1]))
        end--;
    return fgw_ip_parse(p + begin, end - begin, out);
}

int fgw_forwarded_client(const char *p, size_t n, uint32_t hops, const void *trusted, fgw_ip *out) {
    const uint32_t most = hops > 0 ? hops : FGW_FORWARDED_MAX;
    int found = 0, more = 1;
    for (uint32_t i = 1; i <= most && more; i++) {
        fgw_ip ip;
        const int good = last_address(p, &n, &more, &ip);
        if (hops > 0) {
            if (i < hops)
                continue;
            if (good)
                *out = ip;
            return good;
        }
        if (!good)
            break;
        *out = ip;
        found = 1;
        if (fgw_cidr_find(trusted, ip) == 0)
            break;
    }
    return found;
}
