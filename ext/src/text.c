/* Numbers, addresses and escaped bytes. */
#include "fgw/text.h"

#include "escape.h"

static const char PAIRS[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
                            "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
static const char HEX[] = "0123456789abcdef";

static inline void put_pair(char *out, unsigned n) { memcpy(out, PAIRS + 2 * n, 2); }

static inline size_t write_short(char *out, unsigned n) {
    const unsigned hundreds = n / 100;
    if (n < 10) {
        out[0] = (char)('0' + n);
        return 1;
    }
    if (hundreds >= 10) {
        put_pair(out, hundreds);
        put_pair(out + 2, n % 100);
        return 4;
    }
    out[0] = (char)('0' + hundreds);
    put_pair(out + (hundreds > 0), n % 100);
    return 2 + (hundreds > 0);
}

size_t fgw_write_decimal(char *out, uint64_t n) {
    if (n < 10000)
        return write_short(out, (unsigned)n);
    const size_t at = n < 100000000 ? write_short(out, (unsigned)(n / 10000)) : fgw_write_decimal(out, n / 10000);
    const unsigned rest = (unsigned)(n % 10000);
    put_pair(out + at, rest / 100);
    put_pair(out + at + 2, rest % 100);
    return at + 4;
}

size_t fgw_write_fraction(char *out, uint32_t ns, unsigned count) {
    static const uint32_t TENS[] = {1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    if (count == 3) { /* nearly always, and without a division */
        ns /= 1000000;
        out[0] = (char)('0' + ns / 100);
        put_pair(out + 1, ns % 100);
        return count;
    }
    ns /= TENS[count];
    for (unsigned i = count; i > 0; i--, ns /= 10)
        out[i - 1] = (char)('0' + ns % 10);
    return count;
}

size_t fgw_write_ipv4_port(char *out, const uint8_t ip[4], uint16_t port) {
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        at += write_short(out + at, ip[i]);
        out[at++] = i < 3 ? '.' : ':';
    }
    return at + fgw_write_decimal(out + at, port);
}

/* --- escaping --- */

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
__attribute__((noinline)) size_t fgw_escape_bytes(char *out, const char *p, size_t n, int json) {
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

size_t fgw_escape(char *out, const char *p, size_t n, int json) { return fgw_escape_inline(out, p, n, json); }
