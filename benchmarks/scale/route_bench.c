/* The measured loops of match_cost.py: requests against an image, and a baseline, with nothing of Python in between. */
#include <stdlib.h>
#include <time.h>

#include "fgw/route.h"

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Match every request `rounds` times, in order. Nanoseconds for all; *sum collects the answers so that none is left out. */
__attribute__((visibility("default"))) uint64_t fgw_route_bench(const void *image, const fgw_route_request *reqs, size_t n,
                                                                size_t rounds, fgw_regexes *regexes, const fgw_regex_calls *calls,
                                                                uint64_t *sum) {
    fgw_route_result result;
    const uint64_t start = now_ns();
    for (size_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < n; i++) {
            fgw_route_match(image, 0, &reqs[i], 1, regexes, calls, &result);
            *sum += result.rule;
        }
    return now_ns() - start;
}

/* What one cache miss costs here: a walk in random order over `bytes` of memory, a line a step, each step's address read from the
 * line before. Nanoseconds for `steps` steps; 0 when memory is short. */
__attribute__((visibility("default"))) uint64_t fgw_chase_bench(size_t bytes, size_t steps, uint64_t *sum) {
    enum { LINE = 64 };
    const size_t lines = bytes / LINE + 2;
    size_t *order = malloc(lines * sizeof *order);
    char *block = aligned_alloc(LINE, lines * LINE);
    uint64_t taken = 0, seed = 1;
    if (order != NULL && block != NULL) {
        for (size_t i = 0; i < lines; i++)
            order[i] = i;
        for (size_t i = lines - 1; i > 0; i--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const size_t j = (size_t)(seed >> 33) % (i + 1), kept = order[i];
            order[i] = order[j];
            order[j] = kept;
        }
        for (size_t i = 0; i < lines; i++)
            *(void **)(void *)(block + order[i] * LINE) = block + order[(i + 1) % lines] * LINE;
        void *at = block;
        for (size_t i = 0; i < lines; i++)
            at = *(void **)at;
        const uint64_t start = now_ns();
        for (size_t i = 0; i < steps; i++)
            at = *(void **)at;
        taken = now_ns() - start;
        *sum += (uint64_t)(uintptr_t)at;
    }
    free(order);
    free(block);
    return taken;
}
