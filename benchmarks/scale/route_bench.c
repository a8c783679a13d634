/* The measured loop of match_cost.py: requests against an image, with nothing of Python in between. */
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
