/* A look at a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301): requirements G2 and G3.
 *
 * Two steps: join the payloads of the records that carry the handshake message, on the stack; then read it as one run. */
#include "fgw/tls_hello.h"
#include "bytes.h"
#include "chars.h"

enum {
    RECORD_HEADER = 5,
    RECORD_MAX = 16384, /* TLSPlaintext.length (RFC 8446 section 5.1) */
    HANDSHAKE_HEADER = 4,
    TYPE_HANDSHAKE = 22,
    TYPE_CLIENT_HELLO = 1,
    EXT_SERVER_NAME = 0,
    EXT_ALPN = 16,
    EXT_SUPPORTED_VERSIONS = 43,
};

/* A run of bytes that is read from the front; a read past its end sets `bad` and yields nothing. */
typedef struct reader {
    const uint8_t *p;
    size_t left;
    int bad;
} reader;

static const uint8_t *take(reader *r, size_t n) {
    if (r->bad || r->left < n) {
        r->bad = 1;
        r->left = 0;
        return NULL;
    }
    const uint8_t *at = r->p;
    r->p += n;
    r->left -= n;
    return at;
}

static unsigned take_number(reader *r, size_t bytes) {
    const uint8_t *at = take(r, bytes);
    unsigned value = 0;
    for (size_t i = 0; at != NULL && i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* A vector with a length of `bytes` bytes in front. */
static reader take_vector(reader *r, size_t bytes) {
    size_t n = take_number(r, bytes);
    const uint8_t *at = take(r, n);
    return (reader){at, at != NULL ? n : 0, at == NULL};
}

/* ---- step one: records ---- */

/* The handshake message, header included. */
typedef struct hello_bytes {
    size_t n;
    uint8_t joined[HANDSHAKE_HEADER + FGW_HELLO_MAX];
} hello_bytes;

/* The header of the record at p: its payload length in *len; 0 when it is not whole yet; < 0 minus a reason. */
static long record_header(const uint8_t *p, size_t n, size_t *len) {
    if ((n > 0 && p[0] != TYPE_HANDSHAKE) || (n > 1 && p[1] != 3))
        return -FGW_R_NOT_TLS;
    if (n < RECORD_HEADER)
        return 0;
    *len = (size_t)p[3] << 8 | p[4];
    return *len == 0 || *len > RECORD_MAX ? -FGW_R_HELLO_MALFORMED : RECORD_HEADER;
}

/* Length of the whole handshake message once its header is known, else 0. */
static long message_length(const uint8_t *joined, size_t have, size_t *total) {
    if (have > 0 && joined[0] != TYPE_CLIENT_HELLO)
        return -FGW_R_HELLO_MALFORMED;
    if (have < HANDSHAKE_HEADER)
        return 0;
    *total = HANDSHAKE_HEADER + ((size_t)joined[1] << 16 | (size_t)joined[2] << 8 | joined[3]);
    return *total > HANDSHAKE_HEADER + FGW_HELLO_MAX ? -FGW_R_HELLO_TOO_LARGE : 1;
}

/* Appends a record's payload, as far as the message goes; < 0 when the record holds more than the end of the hello. */
static long join_record(hello_bytes *h, const uint8_t *payload, size_t len, int whole_record) {
    size_t total = 0, at = 0;
    long known = message_length(h->joined, h->n, &total);
    while (known == 0 && at < len) {
        h->joined[h->n++] = payload[at++];
        known = message_length(h->joined, h->n, &total);
    }
    if (known <= 0)
        return known;
    size_t missing = total - h->n;
    size_t rest = len - at;
    if (rest > missing || (rest == missing && !whole_record))
        return -FGW_R_HELLO_MALFORMED;
    memcpy(h->joined + h->n, payload + at, rest);
    h->n += rest;
    return h->n == total;
}

/* > 0: input bytes up to the end of the record in which the message ends. */
static long find_message(const uint8_t *p, size_t n, hello_bytes *h) {
    size_t at = 0, len = 0;
    h->n = 0;
    for (;;) {
        long header = record_header(p + at, n - at, &len);
        if (header == -FGW_R_NOT_TLS && at != 0)
            return -FGW_R_HELLO_MALFORMED;
        if (header <= 0)
            return header;
        at += RECORD_HEADER;
        size_t have = len < n - at ? len : n - at;
        long done = join_record(h, p + at, have, have == len);
        if (done < 0)
            return done;
        at += have;
        if (done > 0)
            return (long)at;
        if (have < len)
            return 0;
    }
}

/* ---- step two: the message ---- */

static int is_grease(unsigned v) { return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff); }

/* One host_name, nothing else (RFC 6066: one name per type; no other type exists). */
static int read_server_name(reader ext, fgw_hello *out) {
    reader list = take_vector(&ext, 2);
    unsigned type = take_number(&list, 1);
    reader name = take_vector(&list, 2);
    if (ext.bad || list.bad || name.bad || ext.left != 0 || list.left != 0 || type != 0)
        return -1;
    if (name.left == 0 || name.left > 255)
        return -1;
    for (size_t i = 0; i < name.left; i++) {
        if (!fgw_is((char)name.p[i], FGW_C_HOST))
            return -1;
        out->sni[i] = fgw_lower((char)name.p[i]);
    }
    out->sni_len = (uint8_t)name.left;
    out->has_sni = 1;
    return 0;
}

static int read_alpn(reader ext, fgw_hello *out) {
    reader list = take_vector(&ext, 2);
    if (ext.bad || list.bad || ext.left != 0 || list.left == 0)
        return -1;
    int full = 0;
    while (list.left != 0) {
        const uint8_t *entry = list.p;
        reader name = take_vector(&list, 1);
        if (list.bad || name.bad || name.left == 0)
            return -1;
        full |= out->alpn_len + 1 + name.left > FGW_HELLO_ALPN_MAX;
        if (full)
            continue;
        memcpy(out->alpn + out->alpn_len, entry, 1 + name.left);
        out->alpn_len = (uint16_t)(out->alpn_len + 1 + name.left);
    }
    out->has_alpn = 1;
    return 0;
}

static int read_versions(reader ext, fgw_hello *out) {
    reader list = take_vector(&ext, 1);
    if (ext.bad || list.bad || ext.left != 0 || list.left == 0 || list.left % 2 != 0)
        return -1;
    unsigned highest = 0;
    while (list.left != 0) {
        unsigned v = take_number(&list, 2);
        if (!is_grease(v) && v > highest)
            highest = v;
    }
    if (highest != 0)
        out->max_version = (uint16_t)highest;
    return 0;
}

static int read_extension(unsigned type, reader body, fgw_hello *out) {
    switch (type) {
    case EXT_SERVER_NAME: return read_server_name(body, out);
    case EXT_ALPN: return read_alpn(body, out);
    case EXT_SUPPORTED_VERSIONS: return read_versions(body, out);
    default: return 0;
    }
}

/* Every type once (RFC 8446 section 4.2). */
static int read_extensions(reader list, fgw_hello *out) {
    uint64_t present[65536 / 64] = {0};
    while (list.left != 0) {
        unsigned type = take_number(&list, 2);
        reader body = take_vector(&list, 2);
        uint64_t bit = UINT64_C(1) << (type % 64);
        if (list.bad || body.bad || (present[type / 64] & bit) != 0)
            return -1;
        present[type / 64] |= bit;
        if (read_extension(type, body, out) != 0)
            return -1;
    }
    return 0;
}

static int read_hello(reader r, fgw_hello *out) {
    take(&r, HANDSHAKE_HEADER);
    out->legacy_version = out->max_version = (uint16_t)take_number(&r, 2);
    take(&r, 32); /* random */
    reader session = take_vector(&r, 1);
    reader ciphers = take_vector(&r, 2);
    reader compressions = take_vector(&r, 1);
    if (r.bad || session.left > 32 || ciphers.left == 0 || ciphers.left % 2 != 0 || compressions.left == 0)
        return -1;
    if (out->legacy_version >> 8 != 3)
        return -1;
    if (r.left == 0)
        return 0;
    reader extensions = take_vector(&r, 2);
    return r.bad || extensions.bad || r.left != 0 ? -1 : read_extensions(extensions, out);
}

long fgw_tls_hello_peek(const char *p, size_t n, fgw_hello *out) {
    hello_bytes h;
    const uint8_t *bytes = (const uint8_t *)p;
    memset(out, 0, sizeof *out);
    long used = find_message(bytes, n, &h);
    if (used <= 0)
        return used;
    out->record_version = (uint16_t)((unsigned)bytes[1] << 8 | bytes[2]);
    return read_hello((reader){h.joined, h.n, 0}, out) == 0 ? used : -FGW_R_HELLO_MALFORMED;
}
