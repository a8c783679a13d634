/* Chunked bodies: the same answer and the same body, however the input is cut. */
#include "fgw/chunked.h"
#include "fgw/http1.h"
#include "fuzz.h"

typedef struct decoded {
    int answer;
    size_t used, len, trailers_len;
    char *body; /* room for the whole input */
    char *trailers;
} decoded;

static void feed(fgw_chunked *st, decoded *d, const char *p, size_t n) {
    size_t at = 0;
    do {
        size_t used, off, len;
        d->answer = fgw_chunked_decode(st, p + at, n - at, &used, &off, &len);
        PROMISE(used <= n - at && off + len <= used && (d->answer != FGW_CHUNK_DATA || len != 0));
        if (d->answer == FGW_CHUNK_DATA) {
            memcpy(d->body + d->len, p + at + off, len);
            d->len += len;
        } else {
            memcpy(d->trailers + d->trailers_len, p + at + off, len);
            d->trailers_len += len;
        }
        at += used;
    } while (d->answer == FGW_CHUNK_DATA);
    d->used += at;
}

static decoded decode(const uint8_t *data, size_t n, size_t piece) {
    fgw_chunked st = {0};
    decoded d = {FGW_CHUNK_MORE, 0, 0, 0, malloc(n + 1), malloc(n + 1)};
    PROMISE(d.body != NULL && d.trailers != NULL);
    for (size_t at = 0; at < n && d.answer == FGW_CHUNK_MORE; at += piece) {
        size_t len = n - at < piece ? n - at : piece;
        char *part = exact_copy(data + at, len);
        feed(&st, &d, part, len);
        free(part);
    }
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    decoded whole = decode(data, n, n + 1);
    decoded pieces = decode(data, n, n == 0 ? 1 : 1u + data[n - 1] % 8u);
    PROMISE(whole.answer == pieces.answer && whole.used == pieces.used && whole.len == pieces.len);
    PROMISE(memcmp(whole.body, pieces.body, whole.len) == 0 && whole.used <= n);
    if (whole.answer == FGW_CHUNK_END && whole.trailers_len != 0) {
        static fgw_field fields[102];
        const fgw_limits limits = {.fields = 100};
        uint32_t count;
        PROMISE(whole.trailers_len == pieces.trailers_len && memcmp(whole.trailers, pieces.trailers, whole.trailers_len) == 0);
        PROMISE(fgw_parse_trailers(whole.trailers, whole.trailers_len, &limits, fields, 102, &count) == (long)whole.trailers_len);
        PROMISE(count != 0);
    }
    free(whole.body);
    free(pieces.body);
    free(whole.trailers);
    free(pieces.trailers);
    return 0;
}
