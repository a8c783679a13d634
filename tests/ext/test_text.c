/* Numbers, addresses and escaping, with inputs at guard pages and outputs of exactly the room they may take. */
#include "fgw/text.h"
#include "support.h"
#include <stdlib.h>

static void test_decimal(void) {
    static const uint64_t numbers[] = {0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 9999, 10000, 65535, 99999, 100000, 999999, 1000000,
                                       4294967295u, 4294967296u, 9999999999999999999u, 10000000000000000000u, UINT64_MAX};
    char wanted[32];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int length = snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)numbers[i]);
        char *out = guard_after(wanted, (size_t)length);
        memset(out, 0, (size_t)length);
        CHECK_EQ(fgw_write_decimal(out, numbers[i]), length);
        CHECK(memcmp(out, wanted, (size_t)length) == 0);
    }
}

static void test_fraction(void) {
    static const char *const wanted[] = {"", "0", "04", "045", "0456", "04567", "045678", "0456789", "04567890", "045678901"};
    for (unsigned count = 0; count <= 9; count++) {
        char out[10] = "xxxxxxxxx";
        CHECK_EQ(fgw_write_fraction(out, 45678901, count), count);
        CHECK(memcmp(out, wanted[count], count) == 0);
        CHECK(out[count] == (count < 9 ? 'x' : '\0'));
    }
    char out[4];
    fgw_write_fraction(out, 999999999, 3);
    CHECK(memcmp(out, "999", 3) == 0);
}

static void test_address(void) {
    static const struct {
        uint8_t ip[4];
        uint16_t port;
        const char *text;
    } cases[] = {{{0, 0, 0, 0}, 0, "0.0.0.0:0"},
                 {{127, 0, 0, 1}, 8080, "127.0.0.1:8080"},
                 {{10, 99, 100, 9}, 443, "10.99.100.9:443"},
                 {{255, 255, 255, 255}, 65535, "255.255.255.255:65535"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[FGW_IPV4_PORT_MAX];
        size_t n = fgw_write_ipv4_port(out, cases[i].ip, cases[i].port);
        CHECK_EQ(n, strlen(cases[i].text));
        CHECK(memcmp(out, cases[i].text, n) == 0);
    }
}

/* What the escapes are, one byte after the other. */
static size_t escaped_slowly(char *out, const char *p, size_t n, int json) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned c = (unsigned char)p[i];
        if (c >= 32 && c < 127 && c != '"' && c != '\\')
            out[at++] = p[i];
        else if (json && (c == '"' || c == '\\'))
            at += (size_t)sprintf(out + at, "\\%c", (int)c);
        else
            at += (size_t)sprintf(out + at, json ? "\\u%04x" : "\\x%02x", c);
    }
    return at;
}

static void escapes(const char *p, size_t n) {
    char wanted[6 * 64 + 1];
    for (int json = 0; json < 2; json++) {
        const size_t length = escaped_slowly(wanted, p, n, json);
        char *out = malloc(n * (json ? 6 : 4) + 1);
        CHECK_EQ(fgw_escape(out, guard_after(p, n), n, json), length);
        CHECK(memcmp(out, wanted, length) == 0);
        free(out);
    }
}

static void test_escape(void) {
    char text[64];
    for (unsigned c = 0; c < 256; c++)
        for (size_t n = 1; n <= 40; n++)
            for (size_t at = 0; at < n; at++) {
                memset(text, 'a', n);
                text[at] = (char)c;
                if (n <= 20 || at + 17 >= n)
                    escapes(text, n);
            }
    uint64_t state = 7;
    for (int round = 0; round < 20000; round++) {
        const size_t n = next_random(&state) % 64;
        for (size_t i = 0; i < n; i++) {
            const uint64_t random = next_random(&state);
            text[i] = (char)(random % 4 ? 'a' + random / 8 % 26 : random >> 32);
        }
        escapes(text, n);
    }
    CHECK_EQ(fgw_escape(text, NULL, 0, 0), 0);
}

int main(void) {
    test_decimal();
    test_fraction();
    test_address();
    test_escape();
    return test_result("text");
}
