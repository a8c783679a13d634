/* Character classes of HTTP/1 and URIs: one table of bits, looked up by byte. Private to ext/. */
#ifndef FGW_SRC_CHARS_H
#define FGW_SRC_CHARS_H
#include <stdint.h>

enum {
    FGW_C_TOKEN = 1,       /* tchar (RFC 9110 section 5.6.2) */
    FGW_C_VALUE = 2,       /* HTAB, SP, VCHAR, obs-text: what a field value may hold (RFC 9110 section 5.5) */
    FGW_C_TARGET = 4,      /* 0x21-0x7E: what a request target may hold */
    FGW_C_HOST = 8,        /* letters, digits, '-', '.', '_' */
    FGW_C_UNRESERVED = 16, /* RFC 3986 section 2.3 */
    FGW_C_DIGIT = 32,
    FGW_C_UNDERSCORE = 64,
    FGW_C_ALPHA = 128,
};

extern const uint8_t fgw_char_class[256];
/* Value of a hexadecimal digit, 0xFF for every other byte. */
extern const uint8_t fgw_hex_value[256];
/* Row c is 32 times c: an operand for vector compares. */
extern const char fgw_filled[256][32];

static inline int fgw_is(char c, unsigned classes) { return (fgw_char_class[(uint8_t)c] & classes) != 0; }
static inline unsigned fgw_hex(char c) { return fgw_hex_value[(uint8_t)c]; }
static inline int fgw_is_ows(char c) { return c == ' ' || c == '\t'; }
/* ASCII lower case; every other byte as it is. */
static inline char fgw_lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c); }

#endif
