/* PROXY protocol, versions 1 and 2 (sections 2.1 and 2.2 of the specification by its authors at HAProxy).
 *
 * Stricter than the specification where it leaves room: single spaces, decimal ports without leading zeros, a bound on what a
 * version 2 header carries along, entries of it that end where the header ends. */
#include "fgw/proxy_proto.h"

#include <string.h>

enum {
    SIGNATURE_BYTES = 12,
    FIXED_BYTES = 16, /* signature, version and command, family and protocol, length */
    INET_BYTES = 12,
    INET6_BYTES = 36,
    UNIX_BYTES = 216,
    ENTRY_HEADER = 3, /* type, length */
    TYPE_CRC32C = 0x03,
    CRC_BYTES = 4,
};

static const char LINE_START[] = "PROXY ";
static const uint8_t SIGNATURE[SIGNATURE_BYTES] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* ---- version 1 ---- */

/* The words of a line, read from the front. */
typedef struct words {
    const char *p;
    size_t left;
} words;

/* The next word and its length; it ends at a single space, the last one with the line. 0 without one. */
static size_t take_word(words *w, const char **word, int last) {
    const char *space = memchr(w->p, ' ', w->left);
    if ((space == NULL) != last)
        return 0;
    const size_t n = last ? w->left : (size_t)(space - w->p);
    *word = w->p;
    w->p += n + !last;
    w->left -= n + !last;
    return n;
}

static int take_address(words *w, int six, fgw_ip *out) {
    const char *word;
    const size_t n = take_word(w, &word, 0);
    return n != 0 && (memchr(word, ':', n) != NULL) == six && fgw_ip_parse(word, n, out);
}

static int take_port(words *w, uint16_t *out, int last) {
    const char *word;
    const size_t n = take_word(w, &word, last);
    uint32_t port = 0;
    if (n == 0 || n > 5 || (n > 1 && word[0] == '0'))
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (word[i] < '0' || word[i] > '9')
            return 0;
        port = port * 10 + (uint32_t)(word[i] - '0');
    }
    *out = (uint16_t)port;
    return port <= 65535;
}

/* What stands between "PROXY " and the line end. */
static int read_line(words w, fgw_proxy_header *out) {
    const char *family;
    if (w.left >= 7 && memcmp(w.p, "UNKNOWN", 7) == 0)
        return w.left == 7 || w.p[7] == ' '; /* the rest means nothing */
    if (take_word(&w, &family, 0) != 4 || memcmp(family, "TCP", 3) != 0 || (family[3] != '4' && family[3] != '6'))
        return 0;
    const int six = family[3] == '6';
    out->tells = take_address(&w, six, &out->source) && take_address(&w, six, &out->destination) &&
                 take_port(&w, &out->source_port, 0) && take_port(&w, &out->destination_port, 1);
    return out->tells;
}

static long parse_line(const char *p, size_t n, fgw_proxy_header *out) {
    const size_t start = sizeof LINE_START - 1;
    const size_t seen = n < FGW_PROXY_LINE_MAX ? n : FGW_PROXY_LINE_MAX;
    const char *end = memchr(p + start, '\n', seen - start);
    if (end == NULL)
        return n >= FGW_PROXY_LINE_MAX ? -FGW_R_PROXY_TOO_LONG : 0;
    if (end == p + start || end[-1] != '\r')
        return -FGW_R_PROXY_MALFORMED;
    out->version = 1;
    const words line = {p + start, (size_t)(end - 1 - (p + start))};
    return read_line(line, out) ? (long)(end + 1 - p) : -FGW_R_PROXY_MALFORMED;
}

/* ---- version 2 ---- */

static uint32_t crc_step(uint32_t crc, uint8_t byte) {
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    crc ^= byte;
    crc = crc >> 4 ^ table[crc & 15];
    return crc >> 4 ^ table[crc & 15];
}

uint32_t fgw_crc32c(const void *p, size_t n) {
    const uint8_t *bytes = p;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++)
        crc = crc_step(crc, bytes[i]);
    return ~crc;
}

/* The checksum whose place is at `at` covers the whole header with zeros in that place (section 2.2.3). */
static int checksum_ok(const uint8_t *p, size_t n, size_t at) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++)
        crc = crc_step(crc, i >= at && i < at + CRC_BYTES ? 0 : p[i]);
    const uint32_t told = (uint32_t)p[at] << 24 | (uint32_t)p[at + 1] << 16 | (uint32_t)p[at + 2] << 8 | p[at + 3];
    return ~crc == told;
}

/* The entries from `at` to the end of the header: each ends within it. 0, or minus a reason. A second checksum is refused: each
 * costs a pass over the whole, and a header has room for hundreds. */
static long check_entries(const uint8_t *p, size_t n, size_t at) {
    int sums = 0;
    while (at < n) {
        if (n - at < ENTRY_HEADER)
            return -FGW_R_PROXY_MALFORMED;
        const size_t length = (size_t)p[at + 1] << 8 | p[at + 2];
        if (length > n - at - ENTRY_HEADER || (p[at] == TYPE_CRC32C && (length != CRC_BYTES || sums++)))
            return -FGW_R_PROXY_MALFORMED;
        if (p[at] == TYPE_CRC32C && !checksum_ok(p, n, at + ENTRY_HEADER))
            return -FGW_R_PROXY_CHECKSUM;
        at += ENTRY_HEADER + length;
    }
    return 0;
}

static uint16_t read_port(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

/* Bytes of the addresses of each family that the specification names, in the upper half of its byte; -1 for others. */
static int address_bytes(uint8_t family) {
    static const int bytes[4] = {0, INET_BYTES, INET6_BYTES, UNIX_BYTES};
    return family >> 4 < 4 ? bytes[family >> 4] : -1;
}

/* A whole header of command PROXY. 0, or minus a reason. */
static long read_block(const uint8_t *p, size_t n, fgw_proxy_header *out) {
    const uint8_t family = p[13], *addresses = p + FIXED_BYTES;
    const int bytes = address_bytes(family);
    if (bytes < 0 || (family & 15) > 2 || (size_t)bytes > n - FIXED_BYTES)
        return -FGW_R_PROXY_MALFORMED;
    if (family == 0x11 || family == 0x21) { /* TCP; others are as good as untold (section 2.2) */
        const size_t size = family == 0x11 ? 4 : 16;
        out->source = size == 4 ? fgw_ip_of_v4(addresses) : fgw_ip_of_v6(addresses);
        out->destination = size == 4 ? fgw_ip_of_v4(addresses + 4) : fgw_ip_of_v6(addresses + 16);
        out->source_port = read_port(addresses + 2 * size);
        out->destination_port = read_port(addresses + 2 * size + 2);
        out->tells = 1;
    }
    return check_entries(p, n, FIXED_BYTES + (size_t)bytes);
}

static long parse_block(const uint8_t *p, size_t n, fgw_proxy_header *out) {
    if (n > SIGNATURE_BYTES && (p[12] >> 4 != 2 || (p[12] & 15) > 1))
        return -FGW_R_PROXY_MALFORMED;
    if (n < FIXED_BYTES)
        return 0;
    const size_t whole = FIXED_BYTES + ((size_t)p[14] << 8 | p[15]);
    if (whole > FGW_PROXY_HEADER_MAX)
        return -FGW_R_PROXY_TOO_LONG;
    if (n < whole)
        return 0;
    out->version = 2;
    const long wrong = (p[12] & 15) == 0 ? 0 : read_block(p, whole, out); /* LOCAL: nothing of it counts */
    return wrong < 0 ? wrong : (long)whole;
}

/* ---- */

/* How the first bytes begin: 1 as `start` does, 0 they are the beginning of it, -1 otherwise. */
static int begins(const char *p, size_t n, const void *start, size_t length) {
    if (memcmp(p, start, n < length ? n : length) != 0)
        return -1;
    return n >= length;
}

long fgw_proxy_header_parse(const char *p, size_t n, fgw_proxy_header *out) {
    memset(out, 0, sizeof *out);
    if (n == 0)
        return 0;
    const int line = begins(p, n, LINE_START, sizeof LINE_START - 1);
    if (line > 0)
        return parse_line(p, n, out);
    const int block = begins(p, n, SIGNATURE, SIGNATURE_BYTES);
    if (block > 0)
        return parse_block((const uint8_t *)p, n, out);
    return line < 0 && block < 0 ? -FGW_R_PROXY_MISSING : 0;
}
