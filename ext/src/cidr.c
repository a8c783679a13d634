/* Addresses and sets of networks (fgw/cidr.h). A set may begin at any byte, so everything is loaded by copies. */
#include "fgw/cidr.h"

#include "bytes.h"

enum { V4_MAPPED = 0xffff, PARTS = 8 };

/* --- addresses --- */

int fgw_ip_is_v4(fgw_ip ip) { return ip.high == 0 && ip.low >> 32 == V4_MAPPED; }

static fgw_ip of_v4_number(uint32_t number) { return (fgw_ip){0, (uint64_t)V4_MAPPED << 32 | number}; }

static uint64_t big_endian8(const uint8_t *p) {
    uint64_t w = 0;
    for (int i = 0; i < 8; i++)
        w = w << 8 | p[i];
    return w;
}

fgw_ip fgw_ip_of_v4(const uint8_t *b) {
    return of_v4_number((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
}

fgw_ip fgw_ip_of_v6(const uint8_t *b) { return (fgw_ip){big_endian8(b), big_endian8(b + 8)}; }

/* The lowest `dropped` bits gone. */
static uint64_t without(uint64_t w, uint32_t dropped) { return dropped >= 64 ? 0 : w >> dropped << dropped; }

fgw_ip fgw_ip_prefix(fgw_ip ip, uint32_t v4_bits, uint32_t v6_bits) {
    if (fgw_ip_is_v4(ip))
        return (fgw_ip){ip.high, without(ip.low, v4_bits < 32 ? 32 - v4_bits : 0)};
    if (v6_bits >= 128)
        return ip;
    return v6_bits > 64 ? (fgw_ip){ip.high, without(ip.low, 128 - v6_bits)} : (fgw_ip){without(ip.high, 64 - v6_bits), 0};
}

/* Four decimal numbers, none with a leading zero (as inet_pton(3): elsewhere that would be octal). */
static int parse_v4(const char *p, size_t n, uint32_t *out) {
    uint32_t number = 0;
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        if (part > 0 && (i == n || p[i++] != '.'))
            return 0;
        const size_t begin = i;
        uint32_t value = 0;
        while (i < n && i - begin < 3 && (uint8_t)(p[i] - '0') < 10)
            value = value * 10 + (uint32_t)(p[i++] - '0');
        if (i == begin || value > 255 || (p[begin] == '0' && i - begin > 1))
            return 0;
        number = number << 8 | value;
    }
    *out = number;
    return i == n;
}

static int hex_digit(char c) {
    if ((uint8_t)(c - '0') < 10)
        return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The parts of an IPv6 address as they are written. *gap: how many stand before "::", -1 without one. Returns the number of parts, -1
 * for what is no address. */
static int parse_parts(const char *p, size_t n, uint16_t *parts, int *gap) {
    int count = 0;
    size_t i = 0;
    *gap = -1;
    if (n >= 2 && p[0] == ':' && p[1] == ':') {
        *gap = 0;
        i = 2;
    }
    while (i < n) {
        const size_t begin = i;
        uint32_t value = 0, v4;
        if (count == PARTS)
            return -1;
        while (i < n && i - begin < 4 && hex_digit(p[i]) >= 0)
            value = value << 4 | (uint32_t)hex_digit(p[i++]);
        if (i < n && p[i] == '.') { /* the last 32 bits may be written as IPv4 */
            if (count > PARTS - 2 || !parse_v4(p + begin, n - begin, &v4))
                return -1;
            parts[count] = (uint16_t)(v4 >> 16);
            parts[count + 1] = (uint16_t)v4;
            return count + 2;
        }
        if (i == begin)
            return -1;
        parts[count++] = (uint16_t)value;
        if (i == n)
            break;
        if (p[i++] != ':' || i == n) /* a single colon ends nothing */
            return -1;
        if (p[i] == ':') {
            if (*gap >= 0)
                return -1;
            *gap = count;
            i++;
        }
    }
    return count;
}

static int parse_v6(const char *p, size_t n, fgw_ip *out) {
    uint16_t parts[PARTS] = {0}, all[PARTS] = {0};
    int gap;
    const int count = parse_parts(p, n, parts, &gap);
    if (count < 0 || (gap < 0 ? count != PARTS : count >= PARTS))
        return 0;
    for (int i = 0; i < count; i++)
        all[gap < 0 || i < gap ? i : PARTS - count + i] = parts[i];
    *out = (fgw_ip){0, 0};
    for (int i = 0; i < 4; i++) {
        out->high = out->high << 16 | all[i];
        out->low = out->low << 16 | all[i + 4];
    }
    return 1;
}

int fgw_ip_parse(const char *p, size_t n, fgw_ip *out) {
    uint32_t number;
    if (n > FGW_IP_TEXT_MAX)
        return 0;
    if (memchr(p, ':', n) != NULL)
        return parse_v6(p, n, out);
    if (!parse_v4(p, n, &number))
        return 0;
    *out = of_v4_number(number);
    return 1;
}

/* --- sets --- */

typedef struct parts {
    const char *v4, *v4_values, *v6, *v6_values;
    uint32_t v4_count, v6_count;
} parts;

static parts parts_of(const void *set) {
    const char *p = (const char *)set;
    parts s = {.v4_count = fgw_load4(p + 4), .v6_count = fgw_load4(p + 8)};
    s.v4 = p + FGW_CIDR_HEAD_BYTES;
    s.v4_values = s.v4 + 4 * (size_t)s.v4_count;
    s.v6 = s.v4_values + 4 * (size_t)s.v4_count;
    s.v6_values = s.v6 + 16 * (size_t)s.v6_count;
    return s;
}

static fgw_ip v6_at(const parts *s, uint32_t i) {
    return (fgw_ip){fgw_load8(s->v6 + 16 * (size_t)i), fgw_load8(s->v6 + 16 * (size_t)i + 8)};
}

static int not_above(fgw_ip a, fgw_ip b) { return a.high < b.high || (a.high == b.high && a.low <= b.low); }

int fgw_cidr_check(const void *set, size_t n) {
    if (n < FGW_CIDR_HEAD_BYTES || fgw_load4(set) != FGW_CIDR_MAGIC)
        return 0;
    const char *p = (const char *)set;
    if (FGW_CIDR_HEAD_BYTES + 8 * (uint64_t)fgw_load4(p + 4) + 20 * (uint64_t)fgw_load4(p + 8) != n)
        return 0;
    const parts s = parts_of(set);
    if ((s.v4_count && fgw_load4(s.v4) != 0) || (s.v6_count && (v6_at(&s, 0).high | v6_at(&s, 0).low) != 0))
        return 0;
    for (uint32_t i = 1; i < s.v4_count; i++)
        if (fgw_load4(s.v4 + 4 * (size_t)i) <= fgw_load4(s.v4 + 4 * (size_t)i - 4))
            return 0;
    for (uint32_t i = 1; i < s.v6_count; i++)
        if (not_above(v6_at(&s, i), v6_at(&s, i - 1)))
            return 0;
    return 1;
}

/* The last range that begins at the key or before it; the first one always does. */
static uint32_t find_v4(const parts *s, uint32_t key) {
    uint32_t low = 0;
    for (uint32_t left = s->v4_count; left > 1;) {
        const uint32_t half = left / 2;
        low += fgw_load4(s->v4 + 4 * ((size_t)low + half)) <= key ? half : 0;
        left -= half;
    }
    return low;
}

static uint32_t find_v6(const parts *s, fgw_ip key) {
    uint32_t low = 0;
    for (uint32_t left = s->v6_count; left > 1;) {
        const uint32_t half = left / 2;
        low += not_above(v6_at(s, low + half), key) ? half : 0;
        left -= half;
    }
    return low;
}

uint32_t fgw_cidr_find(const void *set, fgw_ip ip) {
    const parts s = parts_of(set);
    if (fgw_ip_is_v4(ip))
        return s.v4_count ? fgw_load4(s.v4_values + 4 * (size_t)find_v4(&s, (uint32_t)ip.low)) : 0;
    return s.v6_count ? fgw_load4(s.v6_values + 4 * (size_t)find_v6(&s, ip)) : 0;
}
