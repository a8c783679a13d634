/* When a worker has too much to do or too little memory: two rules on numbers, without a clock of their own. */
#ifndef FGW_OVERLOAD_H
#define FGW_OVERLOAD_H
#include "base.h"

/* cffi:begin */
enum {
    FGW_SHEDDER_ALL = 65536,   /* a share of everything */
    FGW_SHEDDER_INTERVAL = 5,  /* targets long is an interval */
    FGW_SHEDDER_TURNS = 4,     /* and it has at least so many turns: one that stood still says nothing */
};

/* How long events wait for the loop, and what follows from it, in the manner of CoDel (RFC 8289): a queue that empties now and then
 * is a good one, however long it gets at times; one whose shortest delay stays above the target for a whole interval never empties. */
typedef struct fgw_shedder {
    uint64_t target_ns;
    uint64_t ends_ns;  /* the interval under way ends with the first turn from here on; 0 before the first */
    uint64_t least_ns; /* the shortest delay in it */
    uint64_t last_ns;  /* that of the interval before */
    uint32_t turns;    /* in it */
    uint32_t late;     /* intervals in a row up to now that were too slow from end to end */
    uint32_t share;    /* of new requests to be refused, in FGW_SHEDDER_ALL */
    uint32_t reserved;
} fgw_shedder;

/* Begin anew. 0: nothing is ever too slow. */
void fgw_shedder_start(fgw_shedder *s, uint64_t target_ns);
/* A turn of the loop has ended, in which events have waited for so long. 1 when an interval ended with it: late and share may have
 * changed. One slow interval makes the worker late; from the second one on the share grows by a quarter of what is left, and it
 * halves with each that is not. */
int fgw_shedder_note(fgw_shedder *s, uint64_t now_ns, uint64_t delay_ns);
/* Its part when the interval may be over. */
int fgw_shedder_end(fgw_shedder *s, uint64_t now_ns);

/* What is done about memory (requirement I1); each step is also all those before it. */
enum fgw_memory_step {
    FGW_MEMORY_CALM = 0,
    FGW_MEMORY_SHRINK = 1, /* from 85 % of the budget: idle connections have less time */
    FGW_MEMORY_PART = 2,   /* 92 %: connections end after the answer */
    FGW_MEMORY_REFUSE = 3, /* 95 %: no new connections or requests */
    FGW_MEMORY_RESET = 4,  /* 98 %: the largest streams are reset */
};

/* The step for so many bytes of a budget (0: there is none). A step is left three hundredths below where it begins. */
int fgw_memory_step(int step, uint64_t used, uint64_t budget);
/* A time limit under memory pressure: all of it up to 85 % of the budget, two seconds from 95 % on, a line in between
 * (requirement E11). A shorter one stays as it is. */
uint64_t fgw_memory_idle_ms(uint64_t full_ms, uint64_t used, uint64_t budget);
/* cffi:end */

/* fgw_shedder_note() for whom a call a turn is too much. */
static inline int fgw_shedder_quick(fgw_shedder *s, uint64_t now_ns, uint64_t delay_ns) {
    if (delay_ns < s->least_ns)
        s->least_ns = delay_ns;
    s->turns++;
    return now_ns < s->ends_ns ? 0 : fgw_shedder_end(s, now_ns);
}

#endif
