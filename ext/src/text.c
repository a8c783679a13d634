/* Numbers, addresses and escaped bytes. Sixteen bytes at a time where nothing has to be escaped, which is nearly always. */
#include "fgw/text.h"

#include "bytes.h"

static const char PAIRS[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
                            "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
static const char HEX[] = "0123456789abcdef";

static size_t digits_of(uint64_t n) {
    size_t digits = 0;
    for (; n >= 10000; n /= 10000)
        digits += 4;
    return digits + (n < 100 ? n < 10 ? 1 : 2 : n < 1000 ? 3 : 4);
}

size_t fgw_write_decimal(char *out, uint64_t n) {
    const size_t length = digits_of(n);
    size_t at = length;
    for (; n >= 100; n /= 100)
        memcpy(out + (at -= 2), PAIRS + 2 * (n % 100), 2);
    if (at == 2)
        memcpy(out, PAIRS + 2 * n, 2);
    else
        out[0] = (char)('0' + n);
    return length;
}

size_t fgw_write_fraction(char *out, uint32_t ns, unsigned count) {
    static const uint32_t TENS[] = {1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    ns /= TENS[count];
    for (unsigned i = count; i > 0; i--, ns /= 10)
        out[i - 1] = (char)('0' + ns % 10);
    return count;
}

size_t fgw_write_ipv4_port(char *out, const uint8_t ip[4], uint16_t port) {
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        at += fgw_write_decimal(out + at, ip[i]);
        out[at++] = i < 3 ? '.' : ':';
    }
    return at + fgw_write_decimal(out + at, port);
}

/* --- escaping --- */

typedef signed char bytes16 __attribute__((vector_size(16)));

/* Is one of eight or sixteen bytes to be escaped? */
static inline int any_special8(const char *p) {
    const uint64_t ones = 0x0101010101010101u, w = fgw_load8(p);
    const uint64_t quote = w ^ ('"' * ones), backslash = w ^ ('\\' * ones), del = w ^ (0x7f * ones);
    const uint64_t low = (w - 0x20 * ones) & ~w;
    const uint64_t same = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((del - ones) & ~del);
    return ((w | low | same) & (0x80 * ones)) != 0;
}

static inline int any_special16(const char *p) {
    bytes16 b;
    uint64_t words[2];
    memcpy(&b, p, sizeof b);
    const bytes16 special = (b < 0x20) | (b == 0x7f) | (b == '"') | (b == '\\'); /* bytes from 0x80 on are below zero */
    memcpy(words, &special, sizeof words);
    return (words[0] | words[1]) != 0;
}

static inline int is_special(uint8_t c) { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\'; }

static inline size_t escape_one(char *out, uint8_t c, int json) {
    if (json && (c == '"' || c == '\\')) {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    const size_t head = json ? 4 : 2;
    memcpy(out, json ? "\\u00" : "\\x", head);
    out[head] = HEX[c >> 4];
    out[head + 1] = HEX[c & 15];
    return head + 2;
}

/* Seldom needed for more than a few bytes, so not a part of each place that calls it. */
__attribute__((noinline)) static size_t escape_bytes(char *out, const char *p, size_t n, int json) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t c = (uint8_t)p[i];
        if (is_special(c))
            at += escape_one(out + at, c, json);
        else
            out[at++] = p[i];
    }
    return at;
}

size_t fgw_escape(char *out, const char *p, size_t n, int json) {
    size_t at = 0, i = 0;
    for (; n - i >= 16; i += 16) {
        if (any_special16(p + i)) {
            at += escape_bytes(out + at, p + i, 16, json);
        } else {
            memcpy(out + at, p + i, 16);
            at += 16;
        }
    }
    if (i < n && n >= 16 && !any_special16(p + n - 16)) { /* the last sixteen once more, of which the first stand there already */
        at += n - i;
        memcpy(out + at - 16, p + n - 16, 16);
        return at;
    }
    if (i == 0 && n >= 8 && !any_special8(p) && !any_special8(p + n - 8)) {
        memcpy(out, p, 8);
        memcpy(out + n - 8, p + n - 8, 8);
        return n;
    }
    return at + escape_bytes(out + at, p + i, n - i, json);
}
