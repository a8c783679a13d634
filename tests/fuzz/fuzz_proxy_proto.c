/* PROXY headers: a shorter input asks for more or is refused for the same reason, and what follows a header is of no account. */
#include "fgw/proxy_proto.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fgw_proxy_header header, part;
    char *p = exact_copy(data, n);
    long whole = fgw_proxy_header_parse(p, n, &header);
    free(p);
    PROMISE(whole <= (long)n && whole <= FGW_PROXY_HEADER_MAX && whole > -FGW_R_COUNT);
    if (whole > 0) {
        PROMISE(header.version == 1 || header.version == 2);
        p = exact_copy(data, (size_t)whole);
        PROMISE(fgw_proxy_header_parse(p, (size_t)whole, &part) == whole && memcmp(&header, &part, sizeof part) == 0);
        free(p);
    }
    size_t end = whole > 0 ? (size_t)whole : n;
    size_t at = n == 0 || end == 0 ? 0 : (end - 1) * data[n - 1] / 256;
    p = exact_copy(data, at);
    long shorter = fgw_proxy_header_parse(p, at, &part);
    PROMISE(shorter == 0 || (shorter == whole && whole < 0));
    free(p);
    return 0;
}
