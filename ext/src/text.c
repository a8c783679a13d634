/* Numbers, addresses and escaped bytes. Eight bytes at a time where nothing has to be escaped, which is nearly always. */
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

#define ONES 0x0101010101010101u
#define HIGH (0x80 * ONES)

/* Is one of eight bytes to be escaped? Where a byte is, those above it may count as well, which does not matter here. */
static inline int any_special(uint64_t w) {
    const uint64_t quote = w ^ ('"' * ONES), backslash = w ^ ('\\' * ONES), del = w ^ (0x7f * ONES);
    const uint64_t low = (w - 0x20 * ONES) & ~w;
    return ((w | low | ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) | ((del - ONES) & ~del)) & HIGH) != 0;
}

static inline int is_special(uint8_t c) { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\'; }

typedef size_t escape_one(char *out, uint8_t c);

static inline size_t log_byte(char *out, uint8_t c) {
    memcpy(out, "\\x", 2);
    out[2] = HEX[c >> 4];
    out[3] = HEX[c & 15];
    return 4;
}

static inline size_t json_byte(char *out, uint8_t c) {
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    memcpy(out, "\\u00", 4);
    out[4] = HEX[c >> 4];
    out[5] = HEX[c & 15];
    return 6;
}

static inline size_t escape_bytes(char *out, const char *p, size_t n, escape_one *one) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t c = (uint8_t)p[i];
        if (is_special(c))
            at += one(out + at, c);
        else
            out[at++] = p[i];
    }
    return at;
}

static inline size_t escape(char *out, const char *p, size_t n, escape_one *one) {
    size_t at = 0, i = 0;
    for (; n - i >= 8; i += 8) {
        const uint64_t w = fgw_load8(p + i);
        if (any_special(w)) {
            at += escape_bytes(out + at, p + i, 8, one);
        } else {
            memcpy(out + at, &w, 8);
            at += 8;
        }
    }
    if (i == n)
        return at;
    if (n >= 8 && !any_special(fgw_load8(p + n - 8))) { /* the last eight once more, of which the first stand there already */
        const uint64_t w = fgw_load8(p + n - 8);
        at += n - i;
        memcpy(out + at - 8, &w, 8);
        return at;
    }
    return at + escape_bytes(out + at, p + i, n - i, one);
}

size_t fgw_escape_log(char *out, const char *p, size_t n) { return escape(out, p, n, log_byte); }

size_t fgw_escape_json(char *out, const char *p, size_t n) { return escape(out, p, n, json_byte); }
