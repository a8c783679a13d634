/* PROXY headers by the letter of the specification, each fed at every split. */
#include "fgw/proxy_proto.h"
#include "support.h"

static fgw_proxy_header header;

static int is(fgw_ip ip, const char *text) {
    fgw_ip wanted;
    return fgw_ip_parse(text, strlen(text), &wanted) && ip.high == wanted.high && ip.low == wanted.low;
}

/* The answer to all of the input; every shorter part must ask for more or refuse for the same reason. */
static long parse(const void *p, size_t n) {
    long whole = fgw_proxy_header_parse(guard_after(p, n), n, &header);
    fgw_proxy_header part;
    size_t end = whole > 0 ? (size_t)whole : n;
    for (size_t at = 0; at < end; at++) {
        long answer = fgw_proxy_header_parse(guard_after(p, at), at, &part);
        CHECK(answer == 0 || (answer == whole && whole < 0));
    }
    return whole;
}

static long line(const char *text) { return parse(text, strlen(text)); }

static void test_lines(void) {
    static const char plain[] = "PROXY TCP4 192.0.2.1 198.51.100.255 0 65535\r\n", six[] = "PROXY TCP6 2001:db8::1 ::1 5 443\r\nGET ";
    CHECK_EQ(line(plain), sizeof plain - 1);
    CHECK(header.version == 1 && header.tells && header.source_port == 0 && header.destination_port == 65535);
    CHECK(is(header.source, "192.0.2.1") && is(header.destination, "198.51.100.255"));
    CHECK_EQ(line(six), sizeof six - 5);
    CHECK(header.tells && is(header.source, "2001:db8::1") && is(header.destination, "::1"));
    CHECK(line("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n") > 0 && is(header.source, "1.2.3.4"));
    CHECK_EQ(line("PROXY UNKNOWN\r\n"), 15);
    CHECK(header.version == 1 && !header.tells);
    CHECK_EQ(line("PROXY UNKNOWN ffff::1 \1 what\rever\r\nrest"), 35);
    CHECK(!header.tells);
}

static void test_longest_line(void) {
    char text[120] = "PROXY UNKNOWN ";
    memset(text + 14, 'x', sizeof text - 14);
    memcpy(text + FGW_PROXY_LINE_MAX - 2, "\r\n", 2);
    CHECK_EQ(parse(text, FGW_PROXY_LINE_MAX), FGW_PROXY_LINE_MAX);
    CHECK_EQ(parse(text, sizeof text), FGW_PROXY_LINE_MAX);
    memcpy(text + FGW_PROXY_LINE_MAX - 2, "x\r\n", 3);
    CHECK_EQ(parse(text, FGW_PROXY_LINE_MAX - 1), 0);
    CHECK_EQ(parse(text, sizeof text), -FGW_R_PROXY_TOO_LONG);
}

static void test_wrong_lines(void) {
    static const char *const wrong[] = {
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 123456\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 0x2\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 ::g ::1 1 2\r\n",
        "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY unknown\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_EQ(line(wrong[i]), -FGW_R_PROXY_MALFORMED);
    static const char nul[] = "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n";
    CHECK_EQ(parse(nul, sizeof nul - 1), -FGW_R_PROXY_MALFORMED);
}

static void test_nothing_of_the_kind(void) {
    static const char *const others[] = {"GET / HTTP/1.1\r\n", "\x16\3\1\2", "PROXX", "PROXYTCP4", "proxy TCP4", " PROXY ", "\r\n\r\nX", "\r\nP", "\n"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK_EQ(line(others[i]), -FGW_R_PROXY_MISSING);
    CHECK_EQ(parse("", 0), 0);
    CHECK_EQ(line("PROXY"), 0);
    CHECK_EQ(line("\r\n\r\n"), 0);
}

/* ---- version 2 ---- */

typedef struct block {
    size_t n;
    unsigned char p[FGW_PROXY_HEADER_MAX + 64];
} block;

static block made;

static void set_length(void) {
    made.p[14] = (unsigned char)((made.n - 16) >> 8);
    made.p[15] = (unsigned char)(made.n - 16);
}

static void start(unsigned command, unsigned family, size_t addresses) {
    memcpy(made.p, "\r\n\r\n\0\r\nQUIT\n", 12);
    made.p[12] = (unsigned char)command;
    made.p[13] = (unsigned char)family;
    made.n = 16 + addresses;
    for (size_t i = 16; i < made.n; i++)
        made.p[i] = (unsigned char)(i - 15);
    set_length();
}

static void add_entry(unsigned type, const void *p, size_t n) {
    made.p[made.n] = (unsigned char)type;
    made.p[made.n + 1] = (unsigned char)(n >> 8);
    made.p[made.n + 2] = (unsigned char)n;
    if (p != NULL)
        memcpy(made.p + made.n + 3, p, n);
    else
        memset(made.p + made.n + 3, 'v', n);
    made.n += 3 + n;
    set_length();
}

/* Into the four zeros at `at`. */
static void put_checksum(size_t at) {
    uint32_t crc = fgw_crc32c(made.p, made.n);
    for (int i = 0; i < 4; i++)
        made.p[at + (size_t)i] = (unsigned char)(crc >> (24 - 8 * i));
}

static void add_checksum(void) {
    add_entry(3, "\0\0\0\0", 4);
    put_checksum(made.n - 4);
}

static long parse_made(void) { return parse(made.p, made.n); }

static int takes_all(void) { return parse_made() == (long)made.n; }

static void test_blocks(void) {
    start(0x21, 0x11, 12);
    CHECK(takes_all());
    CHECK(header.version == 2 && header.tells && is(header.source, "1.2.3.4") && is(header.destination, "5.6.7.8"));
    CHECK(header.source_port == 0x090a && header.destination_port == 0x0b0c);
    start(0x21, 0x21, 36);
    CHECK(takes_all());
    CHECK(header.tells && is(header.source, "102:304:506:708:90a:b0c:d0e:f10"));
    CHECK(is(header.destination, "1112:1314:1516:1718:191a:1b1c:1d1e:1f20"));
    CHECK(header.source_port == 0x2122 && header.destination_port == 0x2324);
    memcpy(made.p + made.n, "GET", 3);
    CHECK_EQ(parse(made.p, made.n + 3), made.n);
}

static void test_blocks_that_tell_no_address(void) {
    static const struct {
        unsigned command, family;
        size_t bytes;
    } cases[] = {{0x20, 0, 0},    {0x20, 0x11, 0}, {0x20, 0x11, 12}, {0x20, 0xff, 7},  {0x21, 0, 0},     {0x21, 0x12, 12},
                 {0x21, 0x22, 36}, {0x21, 0x31, 216}, {0x21, 0x32, 216}, {0x21, 0x01, 0}, {0x21, 0x10, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(cases[i].command, cases[i].family, cases[i].bytes);
        CHECK(takes_all());
        CHECK(!header.tells && header.version == 2);
    }
}

static void test_wrong_blocks(void) {
    static const struct {
        unsigned command, family;
        size_t bytes;
    } cases[] = {{0x11, 0x11, 12}, {0x31, 0x11, 12}, {0x22, 0x11, 12}, {0x2f, 0x11, 12}, {0x21, 0x11, 11},
                 {0x21, 0x21, 35}, {0x21, 0x31, 215}, {0x21, 0x41, 216}, {0x21, 0x13, 12}, {0x21, 0x11, 0}, {0x21, 0x11, 13}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(cases[i].command, cases[i].family, cases[i].bytes);
        CHECK_EQ(parse_made(), -FGW_R_PROXY_MALFORMED);
    }
}

static void test_entries(void) {
    start(0x21, 0x11, 12);
    add_entry(1, "h2", 2);
    add_entry(0xea, NULL, 300);
    add_entry(4, NULL, 0);
    CHECK(takes_all());
    made.p[16 + 12 + 2] = 0xff; /* an entry beyond the end */
    CHECK_EQ(parse_made(), -FGW_R_PROXY_MALFORMED);
    start(0x21, 0, 0);
    add_entry(4, NULL, FGW_PROXY_HEADER_MAX - 16 - 3);
    CHECK(takes_all());
    add_entry(4, NULL, 0);
    CHECK_EQ(parse_made(), -FGW_R_PROXY_TOO_LONG);
    memcpy(made.p + 14, "\xff\xff", 2);
    CHECK_EQ(parse(made.p, 16), -FGW_R_PROXY_TOO_LONG);
}

static void test_checksums(void) {
    CHECK(fgw_crc32c("123456789", 9) == 0xe3069283u && fgw_crc32c("", 0) == 0);
    start(0x21, 0x21, 36);
    add_entry(1, "h2", 2);
    add_checksum();
    add_entry(4, NULL, 5); /* what follows counts, too */
    CHECK_EQ(parse_made(), -FGW_R_PROXY_CHECKSUM);
    start(0x21, 0x21, 36);
    add_checksum();
    CHECK(takes_all());
    for (size_t at = 16; at < made.n; at++) {
        if (at >= made.n - 7 && at < made.n - 4)
            continue;
        made.p[at] ^= 0x10;
        CHECK_EQ(parse_made(), -FGW_R_PROXY_CHECKSUM);
        made.p[at] ^= 0x10;
    }
    start(0x21, 0, 0); /* two, of which the first is right */
    add_entry(3, "\0\0\0\0", 4);
    add_entry(3, "\0\0\0\0", 4);
    put_checksum(made.n - 11);
    CHECK_EQ(parse_made(), -FGW_R_PROXY_MALFORMED);
    start(0x21, 0, 0);
    add_entry(3, "abc", 3);
    CHECK_EQ(parse_made(), -FGW_R_PROXY_MALFORMED);
}

int main(void) {
    test_lines();
    test_longest_line();
    test_wrong_lines();
    test_nothing_of_the_kind();
    test_blocks();
    test_blocks_that_tell_no_address();
    test_wrong_blocks();
    test_entries();
    test_checksums();
    return test_result("proxy_proto");
}
