/* Judging a scanned response head, as strictly as a request (requirement H1), and the framing of its body. */
#include "http1_internal.h"

static int note_field(const char *p, const fgw_scan *scan, const fgw_field *f, fgw_framing_facts *facts) {
    uint32_t used = 0; /* responses do not report leniencies */
    if (f->id == FGW_HDR_CONTENT_LENGTH)
        return fgw_note_content_length(facts, p + f->value_off, f->value_len, scan->limits->leniency, &used);
    if (f->id == FGW_HDR_TRANSFER_ENCODING)
        return facts->codings++ != 0 ? FGW_R_BAD_TRANSFER_ENCODING : fgw_check_transfer_encoding(p + f->value_off, f->value_len);
    return FGW_OK;
}

static int judge_framing(const fgw_framing_facts *facts, fgw_response *r) {
    r->framing = facts->codings != 0 ? FGW_FRAMING_CHUNKED : facts->lengths != 0 ? FGW_FRAMING_LENGTH : FGW_FRAMING_CLOSE;
    r->content_length = facts->length;
    if (facts->codings == 0)
        return FGW_OK;
    if (r->minor == 0)
        return FGW_R_TRANSFER_ENCODING_IN_HTTP10;
    return facts->lengths != 0 ? FGW_R_CONTENT_LENGTH_AND_TRANSFER_ENCODING : FGW_OK;
}

int fgw_judge_response(const char *p, const fgw_scan *scan, fgw_response *r) {
    fgw_framing_facts facts = {0};
    for (uint32_t i = 0; i < scan->count; i++) {
        int reason = note_field(p, scan, &scan->fields[i], &facts);
        if (reason != FGW_OK)
            return reason;
    }
    int reason = judge_framing(&facts, r);
    if (reason == FGW_OK && scan->ids & FGW_BIT(FGW_HDR_CONNECTION))
        reason = fgw_apply_connection(p, scan, &r->flags);
    if (r->minor == 0 && !(r->flags & FGW_MSG_KEEP_ALIVE))
        r->flags |= FGW_MSG_CLOSE;
    return reason;
}

int fgw_response_framing(const fgw_response *r, int method_id) {
    int tunnel = method_id == FGW_METHOD_CONNECT && r->status >= 200 && r->status <= 299;
    if (method_id == FGW_METHOD_HEAD || r->status < 200 || r->status == 204 || r->status == 304 || tunnel)
        return FGW_FRAMING_NONE;
    return r->framing;
}
