/* Sets of networks: what the checker lets through can be asked for any address. Texts of addresses: whatever is read is read again. */
#include "fgw/cidr.h"
#include "fuzz.h"

static void ask(const char *set, size_t n) {
    if (!fgw_cidr_check(set, n))
        return;
    for (uint64_t high = 0; high < 3; high++)
        for (uint64_t low = 0; low < 64; low++) {
            fgw_cidr_find(set, (fgw_ip){high << 62, UINT64_C(1) << low});
            fgw_cidr_find(set, (fgw_ip){0, UINT64_C(0xffff) << 32 | (UINT32_C(1) << low % 32)});
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char *p = exact_copy(data, n);
    fgw_ip ip;
    if (fgw_ip_parse(p, n, &ip)) {
        PROMISE(n >= 2 && n <= FGW_IP_TEXT_MAX);
        const fgw_ip cut = fgw_ip_prefix(ip, 32, 128);
        PROMISE(cut.high == ip.high && cut.low == ip.low);
    }
    ask(p, n);
    free(p);
    return 0;
}
