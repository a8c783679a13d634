/* Addresses and sets of networks: inputs end at a guard page. */
#include "fgw/cidr.h"
#include "support.h"

static int parse(const char *text, fgw_ip *out) {
    const size_t n = strlen(text);
    return fgw_ip_parse(guard_after(text, n), n, out);
}

static void test_addresses(void) {
    fgw_ip ip, other;
    const uint8_t v4[4] = {10, 1, 2, 3};
    const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 7};
    CHECK(parse("10.1.2.3", &ip) && fgw_ip_is_v4(ip));
    other = fgw_ip_of_v4(v4);
    CHECK(ip.high == other.high && ip.low == other.low);
    CHECK(parse("::ffff:10.1.2.3", &other) && ip.low == other.low && other.high == 0);
    CHECK(parse("2001:db8::7", &ip) && !fgw_ip_is_v4(ip));
    other = fgw_ip_of_v6(v6);
    CHECK(ip.high == other.high && ip.low == other.low);
    CHECK(!parse("", &ip) && !parse("1.2.3.", &ip) && !parse("1:", &ip) && !parse("::1.2.3", &ip) && !parse("fe80::1%1", &ip));
}

static void test_sets(void) {
    uint32_t set[] = {FGW_CIDR_MAGIC, 3, 0, 0, 0, 10u << 24, 11u << 24, 0, 5, 0};
    fgw_ip ip;
    CHECK(fgw_cidr_check(set, sizeof set));
    CHECK(parse("10.255.255.255", &ip) && fgw_cidr_find(set, ip) == 5);
    CHECK(parse("11.0.0.0", &ip) && fgw_cidr_find(set, ip) == 0);
    CHECK(parse("255.255.255.255", &ip) && fgw_cidr_find(set, ip) == 0);
    CHECK(parse("::1", &ip) && fgw_cidr_find(set, ip) == 0);
    CHECK(!fgw_cidr_check(set, sizeof set - 4));
    CHECK(!fgw_cidr_check(guard_after(set, 3), 3));
    set[1] = UINT32_MAX; /* a count that would reach far beyond */
    set[2] = UINT32_MAX;
    CHECK(!fgw_cidr_check(guard_after(set, sizeof set), sizeof set));
}

static void test_an_empty_set(void) {
    const uint32_t set[] = {FGW_CIDR_MAGIC, 0, 0, 0};
    fgw_ip ip;
    CHECK(fgw_cidr_check(set, sizeof set));
    CHECK(parse("10.0.0.1", &ip) && fgw_cidr_find(set, ip) == 0);
    CHECK(parse("::1", &ip) && fgw_cidr_find(set, ip) == 0);
}

int main(void) {
    test_addresses();
    test_sets();
    test_an_empty_set();
    return test_result("cidr");
}
