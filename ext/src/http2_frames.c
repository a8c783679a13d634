/* Frame heads in a byte stream, whatever else reads it. */
#include "fgw/http2.h"
#include <string.h>

enum { HEAD_BYTES = 9 };

int fgw_h2_next_frame(fgw_h2_frames *st, const char *p, size_t n, size_t *used, fgw_h2_frame *out) {
    size_t at = st->left < n ? st->left : n;
    st->left -= (uint32_t)at;
    size_t take = HEAD_BYTES - (size_t)st->got < n - at ? HEAD_BYTES - (size_t)st->got : n - at;
    if (st->left != 0)
        take = 0;
    memcpy(st->head + st->got, p + at, take);
    st->got = (uint8_t)(st->got + take);
    *used = at + take;
    if (st->got < HEAD_BYTES)
        return 0;
    const uint8_t *h = st->head;
    out->length = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
    out->type = h[3];
    out->flags = h[4];
    out->stream = ((uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8]) & 0x7fffffffu;
    st->left = out->length;
    st->got = 0;
    return 1;
}
