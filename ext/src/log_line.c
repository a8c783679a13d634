/* The loop over a log format's operations. A line has two dozen values, so what is done for each of them is all that counts here. */
#include "fgw/log_line.h"

#include "escape.h"
#include "fgw/text.h"

/* Most numbers of a line have one digit. */
static inline char *put_number(char *to, uint64_t n) {
    if (n < 10) {
        *to = (char)('0' + n);
        return to + 1;
    }
    return to + fgw_write_decimal(to, n);
}

const fgw_log_op *fgw_log_write(const fgw_log_op *op, const fgw_log_op *end, const fgw_log_values *values, char **at,
                                const char *stop) {
    char *to = *at;
    for (; op < end && to <= stop; op++) {
        const fgw_log_text *text = &values->texts[op->slot];
        size_t n = 0;
        if (op->kind == FGW_LOG_TEXT) {
            n = text->n < op->most ? text->n : op->most;
            if (n * FGW_ESCAPED_MAX > (size_t)(stop - to))
                break;
        } else if (op->kind == FGW_LOG_OTHER) {
            break;
        }
        memcpy(to, op->lead, FGW_LOG_LEAD);
        to += op->lead_len;
        if (n > 0)
            to += fgw_escape_inline(to, text->p, n, op->json);
        else if (op->kind == FGW_LOG_NUMBER && values->numbers[op->slot] != FGW_LOG_MISSING)
            to = put_number(to, values->numbers[op->slot]);
        else if (op->kind != FGW_LOG_NOTHING)
            *to++ = '-';
    }
    *at = to;
    return op;
}
