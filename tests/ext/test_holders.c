/* Connections of a source address: processes that come at once for the last place. */
#define _DEFAULT_SOURCE
#include "fgw/holders.h"
#include "support.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, ADDRESSES = 400, ROUNDS = 50 };

typedef struct shared {
    uint32_t let_in[ADDRESSES];
    uint32_t begun;
} shared;

static fgw_state *state;
static shared *sums;

static void *share(size_t n) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

/* Every process wants a connection of every address, in the same order. */
static void come(uint32_t number, uint32_t limit) {
    __atomic_fetch_add(&sums->begun, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&sums->begun, __ATOMIC_ACQUIRE) < PROCESSES) {
    }
    for (uint32_t i = 0; i < ADDRESSES; i++)
        if (fgw_holder_enter(state, &state->workers[number], 1 + i, limit) == 1)
            __atomic_fetch_add(&sums->let_in[i], 1, __ATOMIC_RELAXED);
}

static void at_once(uint32_t limit) {
    for (uint32_t number = 0; number < PROCESSES; number++) {
        const pid_t child = fork();
        if (child == 0) {
            come(number, limit);
            _exit(0);
        }
        CHECK(child > 0);
    }
    for (int left = PROCESSES, status = 0; left > 0; left--)
        CHECK(wait(&status) > 0 && status == 0);
}

static void test_as_many_get_in_as_there_are_places(void) {
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const size_t size = fgw_state_bytes(PROCESSES);
        const uint32_t limit = 1 + round % (PROCESSES - 1);
        state = share(size);
        fgw_state_init(state, PROCESSES);
        memset(sums, 0, sizeof *sums);
        at_once(limit);
        for (uint32_t i = 0; i < ADDRESSES; i++)
            CHECK_EQ(sums->let_in[i], limit);
        munmap(state, size);
    }
}

/* A worker that died while it asked for the last one. */
static void test_what_the_dead_leave(void) {
    const size_t size = fgw_state_bytes(PROCESSES);
    state = share(size);
    fgw_state_init(state, PROCESSES);
    state->holder_lock = 7;
    CHECK_EQ(fgw_holder_enter(state, &state->workers[0], 5, 1), 1);
    CHECK_EQ(fgw_holder_enter(state, &state->workers[1], 5, 1), 0);
    CHECK_EQ(state->holder_lock & 1, 0);
    munmap(state, size);
}

int main(void) {
    sums = share(sizeof *sums);
    test_as_many_get_in_as_there_are_places();
    test_what_the_dead_leave();
    return test_result("holders");
}
