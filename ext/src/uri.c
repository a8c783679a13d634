/* Path normalisation (requirement B12) and the host:port split (requirement B5). */
#include "fgw/uri.h"
#include "bytes.h"
#include "chars.h"

/* ---- paths ---- */

typedef struct path_out {
    char *start;
    size_t len;
    int merge; /* "//" becomes "/" */
} path_out;

/* "%XX" at p: its value, or -1 when it is cut, not hexadecimal, or %00. */
static int escape_value(const char *p, size_t room) {
    if (room < 3)
        return -1;
    unsigned high = fgw_hex(p[1]), low = fgw_hex(p[2]);
    if (high > 15 || low > 15)
        return -1;
    int value = (int)(high * 16 + low);
    return value == 0 ? -1 : value;
}

/* Ends the segment written last, which may be "." or "..": 0, or -1 when ".." leaves the root. The output always begins
 * with '/', and every segment begins after one. */
static int close_segment(path_out *o) {
    size_t n = o->len;
    const char *s = o->start;
    if (s[n - 1] != '.')
        return 0;
    if (s[n - 2] == '/') {
        o->len = n - 1;
        return 0;
    }
    if (s[n - 2] != '.' || s[n - 3] != '/')
        return 0;
    if (n == 3)
        return -1;
    for (n -= 3; n > 0 && s[n - 1] != '/';)
        n--;
    if (n == 0)
        return -1;
    o->len = n;
    return 0;
}

/* A '/' after a segment. A dot segment has taken itself away together with its name, so the '/' before it serves. */
static int put_slash(path_out *o) {
    if (o->len == 0) {
        o->start[o->len++] = '/';
        return 0;
    }
    size_t before = o->len;
    if (close_segment(o) != 0)
        return -1;
    if (o->len != before || (o->merge && o->start[o->len - 1] == '/'))
        return 0;
    o->start[o->len++] = '/';
    return 0;
}

/* What the escape becomes: 1 written decoded as *c, 0 stays an escape. */
static int decodes(int value, int mode, char *c) {
    *c = (char)value;
    if (mode == FGW_PATH_DECODE_AND_MERGE && (value == '/' || value == '\\'))
        return 1;
    return fgw_is(*c, FGW_C_UNRESERVED);
}

static long copy_checked(const char *path, size_t n, char *out) {
    for (size_t i = 0; i < n; i++)
        if (path[i] == '%' && escape_value(path + i, n - i) < 0)
            return -FGW_R_BAD_ESCAPE;
    memcpy(out, path, n);
    return (long)n;
}

static long normalize(const char *path, size_t n, int mode, path_out *o) {
    for (size_t i = 0; i < n; i++) {
        char c = path[i];
        if (c == '%') {
            int value = escape_value(path + i, n - i);
            if (value < 0)
                return -FGW_R_BAD_ESCAPE;
            if (!decodes(value, mode, &c)) {
                memcpy(o->start + o->len, path + i, 3);
                o->len += 3;
                i += 2;
                continue;
            }
            i += 2;
        }
        if (c != '/' && c != '\\')
            o->start[o->len++] = c;
        else if (put_slash(o) != 0)
            return -FGW_R_PATH_ABOVE_ROOT;
    }
    return close_segment(o) != 0 ? -FGW_R_PATH_ABOVE_ROOT : (long)o->len;
}

long fgw_path_normalize(const char *path, size_t n, int mode, char *out, size_t cap) {
    if (cap < n + 1)
        return -FGW_R_TARGET_TOO_LONG;
    if (n == 0) {
        *out = '/';
        return 1;
    }
    if (path[0] != '/' && (path[0] != '\\' || mode == FGW_PATH_NONE))
        return -FGW_R_BAD_TARGET;
    if (mode == FGW_PATH_NONE)
        return copy_checked(path, n, out);
    path_out o = {out, 0, mode >= FGW_PATH_MERGE_SLASHES};
    return normalize(path, n, mode, &o);
}

/* A segment "." or ".." begins at path[i]. */
static int is_dot_segment(const char *path, size_t n, size_t i) {
    if (i < n && path[i] == '.')
        i++;
    else
        return 0;
    if (i < n && path[i] == '.')
        i++;
    return i == n || path[i] == '/' || path[i] == '\\';
}

int fgw_path_is_normal(const char *path, size_t n) {
    if (n == 0 || path[0] != '/')
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (path[i] == '\\' || (path[i] == '/' && is_dot_segment(path, n, i + 1)))
            return 0;
        if (path[i] == '%') {
            int value = escape_value(path + i, n - i);
            if (value < 0 || fgw_is((char)value, FGW_C_UNRESERVED))
                return 0;
        }
    }
    return 1;
}

/* ---- authorities ---- */

static int is_ipv4(const char *p, size_t n) {
    int parts = 0;
    for (size_t i = 0; i < n; parts++) {
        unsigned value = 0;
        size_t start = i;
        for (; i < n && fgw_is(p[i], FGW_C_DIGIT) && i - start < 3; i++)
            value = value * 10 + (unsigned)(p[i] - '0');
        if (i == start || value > 255 || (i - start > 1 && p[start] == '0'))
            return 0;
        if (i == n)
            return parts == 3;
        if (p[i++] != '.')
            return 0;
    }
    return 0;
}

static size_t hex_digits(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && fgw_hex(p[i]) < 16)
        i++;
    return i;
}

/* RFC 3986 section 3.2.2 without zones: groups of 1-4 digits, "::" once, an IPv4 tail for the last two groups. */
static int is_ipv6(const char *p, size_t n) {
    int groups = 0, gap = 0;
    size_t i = 0;
    if (n >= 2 && p[0] == ':' && p[1] == ':') {
        gap = 1;
        i = 2;
    }
    while (i < n) {
        size_t digits = hex_digits(p + i, n - i);
        if (i + digits < n && p[i + digits] == '.')
            return is_ipv4(p + i, n - i) && (gap ? groups + 2 < 8 : groups + 2 == 8);
        if (digits == 0 || digits > 4 || ++groups > 8)
            return 0;
        i += digits;
        if (i == n)
            break;
        if (p[i++] != ':' || i == n)
            return 0;
        if (p[i] == ':') {
            if (gap++)
                return 0;
            i++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

/* Length of the host at p: up to and with ']', or all host characters; 0 when there is no valid one. */
static size_t host_len(const char *p, size_t n) {
    size_t i = 0;
    if (n != 0 && p[0] == '[') {
        const char *close = memchr(p, ']', n);
        if (close == NULL || !is_ipv6(p + 1, (size_t)(close - p) - 1))
            return 0;
        return (size_t)(close - p) + 1;
    }
    while (i < n && fgw_is(p[i], FGW_C_HOST))
        i++;
    return i;
}

static int parse_port(const char *p, size_t n, uint32_t *port) {
    uint32_t value = 0;
    if (n == 0 || n > 5)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!fgw_is(p[i], FGW_C_DIGIT))
            return -1;
        value = value * 10 + (uint32_t)(p[i] - '0');
    }
    *port = value;
    return value > 65535 ? -1 : 0;
}

long fgw_authority_split(const char *p, size_t n, fgw_span *host, uint32_t *port) {
    size_t len = n <= 255 ? host_len(p, n) : 0;
    *port = 0;
    if (len == 0)
        return -FGW_R_BAD_HOST;
    if (len < n && (p[len] != ':' || parse_port(p + len + 1, n - len - 1, port) != 0))
        return -FGW_R_BAD_HOST;
    *host = (fgw_span){0, (uint32_t)len};
    return (long)n;
}
