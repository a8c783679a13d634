/* The rules of overload. */
#include "fgw/overload.h"

enum {
    SHARE_STEP = 4,                      /* the share grows by one over this of what is left */
    SHARE_MOST = FGW_SHEDDER_ALL / 32 * 31, /* so that some requests always get through, and show when it is over */
    SHARE_LEAST = FGW_SHEDDER_ALL / 32,
    HYSTERESIS_PERCENT = 3,
    SHRINK_FROM = 85,
    SHRINK_TO = 95,
    SHORTEST_IDLE_MS = 2000,
};

static const uint64_t step_percent[] = {0, 85, 92, 95, 98};

static void judge(fgw_shedder *s) {
    if (s->least_ns <= s->target_ns) {
        s->late = 0;
        s->share /= 2;
        if (s->share < SHARE_LEAST)
            s->share = 0;
        return;
    }
    if (s->late)
        s->share += (FGW_SHEDDER_ALL - s->share) / SHARE_STEP;
    if (s->share > SHARE_MOST)
        s->share = SHARE_MOST;
    s->late++;
}

static void begin(fgw_shedder *s, uint64_t now_ns) {
    s->ends_ns = now_ns + FGW_SHEDDER_INTERVAL * s->target_ns;
    s->least_ns = UINT64_MAX;
    s->turns = 0;
}

void fgw_shedder_start(fgw_shedder *s, uint64_t target_ns) {
    *s = (fgw_shedder){.target_ns = target_ns, .least_ns = UINT64_MAX, .ends_ns = target_ns ? 0 : UINT64_MAX};
}

int fgw_shedder_end(fgw_shedder *s, uint64_t now_ns) {
    if (s->ends_ns == 0) /* the first turn only begins it */
        begin(s, now_ns);
    if (now_ns < s->ends_ns || s->turns < FGW_SHEDDER_TURNS)
        return 0;
    judge(s);
    s->last_ns = s->least_ns;
    begin(s, now_ns);
    return 1;
}

int fgw_shedder_note(fgw_shedder *s, uint64_t now_ns, uint64_t delay_ns) {
    return fgw_shedder_quick(s, now_ns, delay_ns);
}

/* used >= percent of budget, without an overflow */
static int reaches(uint64_t used, uint64_t budget, uint64_t percent) {
    return used / 100 >= budget / 10000 * percent;
}

int fgw_memory_step(int step, uint64_t used, uint64_t budget) {
    if (budget == 0)
        return FGW_MEMORY_CALM;
    int now = FGW_MEMORY_CALM;
    while (now < FGW_MEMORY_RESET && reaches(used, budget, step_percent[now + 1]))
        now++;
    while (step > now && !reaches(used, budget, step_percent[step] - HYSTERESIS_PERCENT))
        step--;
    return step > now ? step : now;
}

uint64_t fgw_memory_idle_ms(uint64_t full_ms, uint64_t used, uint64_t budget) {
    if (budget == 0 || full_ms <= SHORTEST_IDLE_MS || !reaches(used, budget, SHRINK_FROM))
        return full_ms;
    if (reaches(used, budget, SHRINK_TO))
        return SHORTEST_IDLE_MS;
    const uint64_t from = budget / 100 * SHRINK_FROM, to = budget / 100 * SHRINK_TO;
    const uint64_t left = used < to ? to - used : 0;
    const uint64_t wide = to - from ? to - from : 1;
    return SHORTEST_IDLE_MS + (uint64_t)((double)(full_ms - SHORTEST_IDLE_MS) * (double)(left < wide ? left : wide) / (double)wide);
}
