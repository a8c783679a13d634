/* A line of the access log: literal texts, each with a value behind it, in the order of the format.
 *
 * The caller lays out what it knows of a request in fgw_log_values, once a line; values that few formats ask for it writes itself. */
#ifndef FGW_LOG_LINE_H
#define FGW_LOG_LINE_H
#include "base.h"

enum {
    FGW_LOG_LEAD = 16,   /* bytes of text before a value; a longer one is spread over several operations */
    FGW_LOG_FIELDS = 8,  /* request fields whose values are laid out */
    FGW_LOG_SPARE = 256, /* bytes that the caller keeps free behind `stop` */
};

enum fgw_log_kind {
    FGW_LOG_NOTHING = 0, /* behind the text comes no value */
    FGW_LOG_TEXT,        /* texts[slot], escaped; an empty one is missing */
    FGW_LOG_NUMBER,      /* numbers[slot]; FGW_LOG_MISSING is */
    FGW_LOG_OTHER,       /* the caller's */
};

enum fgw_log_text_slot {
    FGW_LOG_START_TIME = 0,
    FGW_LOG_METHOD,
    FGW_LOG_PATH,
    FGW_LOG_PROTOCOL,
    FGW_LOG_AUTHORITY,
    FGW_LOG_REQUEST_ID,
    FGW_LOG_FLAGS,
    FGW_LOG_DETAILS,
    FGW_LOG_TRANSPORT_FAILURE,
    FGW_LOG_UPSTREAM_HOST,
    FGW_LOG_UPSTREAM_CLUSTER,
    FGW_LOG_UPSTREAM_LOCAL,
    FGW_LOG_DOWNSTREAM_LOCAL,
    FGW_LOG_DOWNSTREAM_REMOTE,
    FGW_LOG_CLIENT, /* its address without a port */
    FGW_LOG_SERVER_NAME,
    FGW_LOG_ROUTE_NAME,
    FGW_LOG_VIRTUAL_SERVICE,
    FGW_LOG_NEVER, /* what a request does not have */
    FGW_LOG_FIELD, /* the first of FGW_LOG_FIELDS */
    FGW_LOG_TEXTS = FGW_LOG_FIELD + FGW_LOG_FIELDS,
};

enum fgw_log_number_slot {
    FGW_LOG_CODE = 0,
    FGW_LOG_RECEIVED,
    FGW_LOG_SENT,
    FGW_LOG_DURATION,
    FGW_LOG_SERVICE_TIME,
    FGW_LOG_ATTEMPTS,
    FGW_LOG_NUMBERS,
};

#define FGW_LOG_MISSING UINT64_MAX

typedef struct fgw_log_op {
    char lead[FGW_LOG_LEAD];
    uint8_t lead_len;
    uint8_t kind; /* enum fgw_log_kind */
    uint8_t slot;
    uint8_t json;   /* escaped for a JSON string instead of a line of text */
    uint16_t most;  /* bytes of a text before escaping */
    uint16_t piece; /* the caller's own number */
} fgw_log_op;

typedef struct fgw_log_text {
    const char *p;
    size_t n;
} fgw_log_text;

typedef struct fgw_log_values {
    fgw_log_text texts[FGW_LOG_TEXTS];
    uint64_t numbers[FGW_LOG_NUMBERS];
} fgw_log_values;

/* Write from op on, missing values as "-", and move *at on. Returns `end`, or the operation before which it has stopped: one that is
 * the caller's to write, or for which there may be too little room before `stop`. */
const fgw_log_op *fgw_log_write(const fgw_log_op *op, const fgw_log_op *end, const fgw_log_values *values, char **at,
                                const char *stop);

#endif
