/* Lines of the log against lines that are put together slowly, for random formats and values, with little room and much. */
#include "fgw/log_line.h"

#include "fgw/text.h"
#include "support.h"
#include <stdlib.h>

enum { OPS = 30, LINE_MAX = 65536 };

static uint64_t chance = 11;

static uint32_t below(uint32_t n) { return (uint32_t)(next_random(&chance) >> 33) % n; }

static fgw_log_op random_op(void) {
    fgw_log_op op = {.lead_len = (uint8_t)below(FGW_LOG_LEAD + 1), .kind = (uint8_t)below(4), .json = (uint8_t)below(2)};
    for (int i = 0; i < op.lead_len; i++)
        op.lead[i] = (char)('A' + below(26));
    op.slot = (uint8_t)below(op.kind == FGW_LOG_NUMBER ? FGW_LOG_NUMBERS : FGW_LOG_TEXTS);
    op.most = (uint16_t)(below(3) ? 8192 : 1 + below(40));
    return op;
}

static void random_values(fgw_log_values *v, char *bytes) {
    static const uint64_t numbers[] = {0, 7, 10, 200, 99999, 1234567890123u, FGW_LOG_MISSING, FGW_LOG_MISSING};
    for (int i = 0; i < FGW_LOG_TEXTS; i++) {
        char *p = bytes + 128 * i;
        const size_t n = below(4) ? below(50) : 0;
        for (size_t k = 0; k < n; k++)
            p[k] = (char)(below(60) ? 'a' + below(26) : below(256));
        v->texts[i] = (fgw_log_text){p, n};
    }
    for (int i = 0; i < FGW_LOG_NUMBERS; i++)
        v->numbers[i] = numbers[below(8)];
}

/* What the operation writes; an operation of the caller writes "?". */
static size_t written(char *out, const fgw_log_op *op, const fgw_log_values *v) {
    size_t at = op->lead_len;
    memcpy(out, op->lead, at);
    if (op->kind == FGW_LOG_OTHER) {
        out[at++] = '?';
    } else if (op->kind == FGW_LOG_TEXT && v->texts[op->slot].n > 0) {
        const fgw_log_text *t = &v->texts[op->slot];
        at += fgw_escape(out + at, t->p, t->n < op->most ? t->n : op->most, op->json);
    } else if (op->kind == FGW_LOG_NUMBER && v->numbers[op->slot] != FGW_LOG_MISSING) {
        at += (size_t)sprintf(out + at, "%llu", (unsigned long long)v->numbers[op->slot]);
    } else if (op->kind != FGW_LOG_NOTHING) {
        out[at++] = '-';
    }
    return at;
}

static void test_lines(void) {
    static char bytes[128 * FGW_LOG_TEXTS], wanted[LINE_MAX];
    fgw_log_op ops[OPS];
    fgw_log_values values;
    for (int round = 0; round < 5000; round++) {
        size_t length = 0, room = below(3) ? 4096 : FGW_LOG_SPARE + below(300);
        const size_t count = 1 + below(OPS);
        random_values(&values, bytes);
        for (size_t i = 0; i < count; i++) {
            ops[i] = random_op();
            length += written(wanted + length, &ops[i], &values);
        }
        char *out = malloc(LINE_MAX), *at = out, *line = malloc(LINE_MAX);
        size_t done = 0;
        const fgw_log_op *op = ops, *end = ops + count;
        while (op < end) { /* a new buffer whenever it stops, as if the old one had been emptied */
            free(out);
            out = at = malloc(room);
            const fgw_log_op *next = fgw_log_write(op, end, &values, &at, out + room - FGW_LOG_SPARE);
            CHECK(next >= op && next <= end && (size_t)(at - out) <= room);
            memcpy(line + done, out, (size_t)(at - out));
            done += (size_t)(at - out);
            if (next < end) /* the caller writes this one */
                done += written(line + done, next++, &values);
            op = next;
        }
        CHECK_EQ(done, length);
        CHECK(memcmp(line, wanted, length) == 0);
        free(out);
        free(line);
    }
}

int main(void) {
    test_lines();
    return test_result("log_line");
}
