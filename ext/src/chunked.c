/* The chunked decoder: a state machine over single bytes for size lines and trailers, spans for data.
 *
 * Refused where others repair (requirements A5 to A9): bare LF or CR, signs, "0x", white space before a size, anything but
 * CRLF after data, an extension outside the grammar (RFC 9112 section 7.1.1), a trailer line that no header could be. */
#include "fgw/chunked.h"
#include "chars.h"

enum {
    SIZE_CHARS_MAX = 32,     /* leading zeros included */
    SIZE_DIGITS_MAX = 16,    /* after leading zeros */
    CHUNK_EXT_MAX = 4096,    /* extension bytes of one chunk */
    MESSAGE_EXT_MAX = 16384, /* and of one message */
    TRAILER_BYTES_MAX = 61440,
    TRAILER_FIELDS_MAX = 100,
};

#define CHUNK_SIZE_MAX (UINT64_C(1) << 62)

enum state {
    SIZE = 0,     /* hexadecimal digits */
    AFTER_SIZE,   /* BWS before ';' or CRLF */
    EXT_NAME_GAP, /* BWS before an extension name */
    EXT_NAME,
    AFTER_NAME,    /* BWS before '=', ';' or CRLF */
    EXT_VALUE_GAP, /* BWS before an extension value */
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPED, /* the byte after a backslash inside quotes */
    AFTER_VALUE, /* BWS before ';' or CRLF */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    DONE,
};

static int line_fault(char c, int reason) { return c == '\n' ? -FGW_R_BARE_LF : -reason; }

static int go(fgw_chunked *st, enum state next) {
    st->state = (uint8_t)next;
    return 0;
}

/* The end of a size or of an extension part: CR, another extension, or white space before them. */
static int after_part(fgw_chunked *st, char c, enum state on_space, int reason) {
    if (c == '\r')
        return go(st, SIZE_LF);
    if (c == ';')
        return go(st, EXT_NAME_GAP);
    return fgw_is_ows(c) ? go(st, on_space) : line_fault(c, reason);
}

static int on_size(fgw_chunked *st, char c) {
    unsigned value = fgw_hex(c);
    if (value > 15)
        return st->line_bytes == 1 ? line_fault(c, FGW_R_BAD_CHUNK_SIZE) : after_part(st, c, AFTER_SIZE, FGW_R_BAD_CHUNK_SIZE);
    if (st->left != 0 || value != 0)
        st->digits++;
    if (st->line_bytes > SIZE_CHARS_MAX || st->digits > SIZE_DIGITS_MAX)
        return -FGW_R_CHUNK_SIZE_OVERFLOW;
    st->left = st->left * 16 + value;
    return st->left > CHUNK_SIZE_MAX ? -FGW_R_CHUNK_SIZE_OVERFLOW : 0;
}

static int on_quoted(fgw_chunked *st, char c) {
    if (c == '"')
        return go(st, AFTER_VALUE);
    if (c == '\\')
        return go(st, EXT_ESCAPED);
    return fgw_is(c, FGW_C_VALUE) ? 0 : line_fault(c, FGW_R_BAD_CHUNK_EXTENSION);
}

static int on_extension(fgw_chunked *st, char c) {
    const int bad = FGW_R_BAD_CHUNK_EXTENSION;
    switch (st->state) {
    case EXT_NAME_GAP:
        if (fgw_is_ows(c))
            return 0;
        return fgw_is(c, FGW_C_TOKEN) ? go(st, EXT_NAME) : line_fault(c, bad);
    case EXT_NAME:
        if (fgw_is(c, FGW_C_TOKEN))
            return 0;
        return c == '=' ? go(st, EXT_VALUE_GAP) : after_part(st, c, AFTER_NAME, bad);
    case AFTER_NAME: return c == '=' ? go(st, EXT_VALUE_GAP) : after_part(st, c, AFTER_NAME, bad);
    case EXT_VALUE_GAP:
        if (fgw_is_ows(c))
            return 0;
        if (c == '"')
            return go(st, EXT_QUOTED);
        return fgw_is(c, FGW_C_TOKEN) ? go(st, EXT_TOKEN) : line_fault(c, bad);
    case EXT_TOKEN: return fgw_is(c, FGW_C_TOKEN) ? 0 : after_part(st, c, AFTER_VALUE, bad);
    case EXT_QUOTED: return on_quoted(st, c);
    case EXT_ESCAPED: return fgw_is(c, FGW_C_VALUE) ? go(st, EXT_QUOTED) : line_fault(c, bad);
    default: return after_part(st, c, AFTER_VALUE, bad);
    }
}

static int count_extension(fgw_chunked *st) {
    st->ext_bytes++;
    return st->line_bytes > CHUNK_EXT_MAX + SIZE_CHARS_MAX || st->ext_bytes > MESSAGE_EXT_MAX ? -FGW_R_CHUNK_EXTENSION_TOO_LONG : 0;
}

static int on_size_lf(fgw_chunked *st, char c) {
    if (c != '\n')
        return -FGW_R_BARE_CR;
    st->line_bytes = 0;
    st->digits = 0;
    return go(st, st->left != 0 ? DATA : TRAILER_START);
}

static int on_trailer(fgw_chunked *st, char c) {
    switch (st->state) {
    case TRAILER_START:
        if (c == '\r')
            return go(st, END_LF);
        if (++st->trailer_fields > TRAILER_FIELDS_MAX)
            return -FGW_R_TRAILER_TOO_LARGE;
        return fgw_is(c, FGW_C_TOKEN) ? go(st, TRAILER_NAME) : line_fault(c, FGW_R_BAD_TRAILER);
    case TRAILER_NAME:
        if (fgw_is(c, FGW_C_TOKEN))
            return 0;
        return c == ':' ? go(st, TRAILER_VALUE) : line_fault(c, FGW_R_BAD_TRAILER);
    case TRAILER_VALUE:
        if (c == '\r')
            return go(st, TRAILER_LF);
        return fgw_is(c, FGW_C_VALUE) ? 0 : line_fault(c, FGW_R_BAD_TRAILER);
    case TRAILER_LF: return c == '\n' ? go(st, TRAILER_START) : -FGW_R_BARE_CR;
    default: /* END_LF */ return c == '\n' ? go(st, DONE) : -FGW_R_BARE_CR;
    }
}

static int on_data_end(fgw_chunked *st, char c) {
    if (st->state == DATA_CR)
        return c == '\r' ? go(st, DATA_LF) : -FGW_R_BAD_CHUNK_END;
    return c == '\n' ? go(st, SIZE) : -FGW_R_BAD_CHUNK_END;
}

/* One byte outside of data: 0 or minus a reason. */
static int on_byte(fgw_chunked *st, char c) {
    if (st->state <= AFTER_VALUE) {
        st->line_bytes++;
        if (st->state == SIZE)
            return on_size(st, c);
        int over = count_extension(st);
        if (over != 0)
            return over;
        return st->state == AFTER_SIZE ? after_part(st, c, AFTER_SIZE, FGW_R_BAD_CHUNK_SIZE) : on_extension(st, c);
    }
    if (st->state == SIZE_LF)
        return on_size_lf(st, c);
    if (st->state < TRAILER_START)
        return on_data_end(st, c);
    return ++st->trailer_bytes > TRAILER_BYTES_MAX ? -FGW_R_TRAILER_TOO_LARGE : on_trailer(st, c);
}

/* What of the input from `start` on belongs to the trailer section. */
static int after_data(const fgw_chunked *st, int event, size_t start, size_t used, size_t *data_off, size_t *data_len) {
    if (st->trailer_fields != 0 && start < used) {
        *data_off = start;
        *data_len = used - start;
    }
    return event;
}

int fgw_chunked_decode(fgw_chunked *st, const char *p, size_t n, size_t *used, size_t *data_off, size_t *data_len) {
    size_t trailers = st->state >= TRAILER_START ? 0 : SIZE_MAX;
    *data_off = *data_len = 0;
    for (*used = 0; st->state != DONE; ++*used) {
        if (*used == n)
            return after_data(st, FGW_CHUNK_MORE, trailers, n, data_off, data_len);
        if (st->state == DATA) {
            *data_off = *used;
            *data_len = st->left < n - *used ? (size_t)st->left : n - *used;
            *used += *data_len;
            st->left -= *data_len;
            if (st->left == 0)
                st->state = DATA_CR;
            return FGW_CHUNK_DATA;
        }
        int fault = on_byte(st, p[*used]);
        if (fault != 0)
            return fault;
        if (st->state == TRAILER_START && trailers == SIZE_MAX)
            trailers = *used + 1;
    }
    return after_data(st, FGW_CHUNK_END, trailers, *used, data_off, data_len);
}

size_t fgw_chunk_head(char *out, uint64_t n) {
    static const char hex[] = "0123456789abcdef";
    unsigned digits = n == 0 ? 1 : (unsigned)(67 - __builtin_clzll(n)) / 4;
    for (unsigned i = digits; i-- > 0; n >>= 4)
        out[i] = hex[n & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}
