/* Decoded HTTP/2 fields. Whatever is accepted and written as HTTP/1 must be read there as one request with the same meaning: that is
 * what cannot be used to smuggle. The first byte chooses kind and end; the rest is a block in the notation of the wire cases. */
#include "../ext/h2_blocks.h"
#include "fuzz.h"

static const fgw_limits strict;
static const fgw_limits wide = {.fields = BLOCK_FIELDS};

static int spans_equal(const char *a, fgw_span x, const char *b, fgw_span y) {
    return x.len == y.len && memcmp(a + x.off, b + y.off, x.len) == 0;
}

/* The request line from parsed values, the fields but host as the upstream codec writes them. */
static size_t write_request(char *to, const block *b, const fgw_request *r) {
    char *at = to;
    memcpy(at, b->bytes + r->method.off, r->method.len);
    at += r->method.len;
    *at++ = ' ';
    memcpy(at, b->bytes + r->path.off, r->path.len);
    at += r->path.len;
    if (r->has_query) {
        *at++ = '?';
        memcpy(at, b->bytes + r->query.off, r->query.len);
        at += r->query.len;
    }
    memcpy(at, " HTTP/1.1\r\nhost: ", 17);
    at += 17;
    memcpy(at, b->bytes + r->authority.off, r->authority.len);
    at += r->authority.len;
    memcpy(at, "\r\n", 2);
    at += 2;
    at += fgw_write_fields(at, b->bytes, b->fields, r->field_count);
    memcpy(at, "\r\n", 2);
    return (size_t)(at + 2 - to);
}

static void check_request(block *b, int end_stream) {
    static fgw_field fields[BLOCK_FIELDS + 1];
    fgw_request r, again;
    if (fgw_h2_request(&b->head, end_stream, &r) != FGW_OK)
        return;
    PROMISE(r.field_count <= BLOCK_FIELDS && r.head_len <= b->head.cap && r.head_len == b->head.len);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r.field_count; i++) {
        const fgw_field *f = &b->fields[i];
        PROMISE(f->name_off + f->name_len <= r.head_len && f->value_off + f->value_len <= r.head_len);
        if (f->id == FGW_HDR_HOST)
            b->fields[i].flags |= FGW_FIELD_DROP;
        else
            kept++;
    }
    char *text = malloc(2 * (size_t)r.head_len + 4 * BLOCK_FIELDS + 64);
    PROMISE(text != NULL);
    size_t n = write_request(text, b, &r);
    char *exact = exact_copy(text, n);
    PROMISE(fgw_parse_request(exact, n, 0, &wide, &again, fields, BLOCK_FIELDS + 1) == (long)n);
    PROMISE(again.method_id == r.method_id && again.field_count == kept + 1);
    PROMISE(spans_equal(exact, again.path, b->bytes, r.path) && spans_equal(exact, again.host, b->bytes, r.host));
    PROMISE(again.has_query == r.has_query && spans_equal(exact, again.query, b->bytes, r.query));
    PROMISE(again.content_length == r.content_length && !(again.flags & (FGW_MSG_CLOSE | FGW_MSG_UPGRADE | FGW_MSG_LISTED_FIELDS)));
    PROMISE(again.framing == (r.framing == FGW_FRAMING_LENGTH ? FGW_FRAMING_LENGTH : FGW_FRAMING_NONE));
    PROMISE((again.flags & FGW_MSG_PATH_SPECIAL) == (r.flags & FGW_MSG_PATH_SPECIAL));
    free(exact);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0)
        return 0;
    block b;
    int kind = data[0] == 'r' ? FGW_H2_RESPONSE : data[0] == 't' ? FGW_H2_TRAILERS : FGW_H2_REQUEST;
    fgw_response response;
    begin_block(&b, kind, data[0] == 'w' ? FGW_H2_EXTENDED_CONNECT : 0, &strict);
    char *copy = exact_copy(data + 1, n - 1);
    add_text(&b, copy, n - 1);
    free(copy);
    if (kind == FGW_H2_RESPONSE)
        PROMISE(fgw_h2_response(&b.head, 0, &response) == b.head.reason && response.head_len <= b.head.cap);
    else if (kind == FGW_H2_TRAILERS)
        PROMISE(fgw_h2_trailers(&b.head, 1) == b.head.reason);
    else if (data[0] == 'w')
        fgw_h2_request(&b.head, 0, &(fgw_request){0});
    else
        check_request(&b, data[0] == '.');
    end_block(&b);
    return 0;
}
