/* Token buckets: one process, then several at once on shared memory. */
#define _DEFAULT_SOURCE
#include "fgw/rate.h"
#include "support.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, KEYS = 400, MS = 1000000 };

static const uint64_t T0 = 1000000000000u;

typedef struct shared {
    uint64_t allowed[KEYS];
    uint64_t now;
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

static void renew(uint64_t slots) {
    if (state != NULL)
        munmap(state, sizeof *state);
    state = share(sizeof *state);
    fgw_state_init(state, 0);
    fgw_rate_shape(state, slots, 1, 2);
    memset(sums, 0, sizeof *sums);
    sums->now = T0;
}

static void test_siphash(void) {
    /* the reference's own example: key 00 01 .. 0f, input 00 01 .. 0e */
    const uint64_t seed[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    uint8_t input[15];
    for (uint8_t i = 0; i < sizeof input; i++)
        input[i] = i;
    CHECK(fgw_siphash(seed, input, sizeof input) == 0xa129ca6149be45e5u);
}

static void test_a_bucket(void) {
    const fgw_rate rate = {100 * MS, 3};
    fgw_rate_answer answer;
    renew(64);
    for (uint64_t left = 3; left-- > 0;) {
        CHECK_EQ(fgw_rate_take(state, 7, &rate, T0, &answer), FGW_RATE_ALLOWED);
        CHECK_EQ(answer.remaining, left);
        CHECK_EQ(answer.full_ns, (3 - left) * 100 * MS);
    }
    CHECK_EQ(fgw_rate_take(state, 7, &rate, T0 + 40 * MS, &answer), FGW_RATE_REFUSED);
    CHECK_EQ(answer.retry_ns, 60 * MS);
    CHECK_EQ(answer.remaining, 0);
    CHECK_EQ(fgw_rate_take(state, 7, &rate, T0 + 100 * MS, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(fgw_rate_take(state, 7, &rate, T0 + 199 * MS, &answer), FGW_RATE_REFUSED);
    /* another one is its own, and what is put back can be taken again */
    CHECK_EQ(fgw_rate_take(state, 8, &rate, T0, &answer), FGW_RATE_ALLOWED);
    fgw_rate_give_back(state, 7, &rate);
    CHECK_EQ(fgw_rate_take(state, 7, &rate, T0 + 199 * MS, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(fgw_rate_take(state, 7, &rate, T0 + 1000000ull * MS, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(answer.remaining, 2);
}

static void test_a_key_of_zero(void) {
    const fgw_rate rate = {100 * MS, 1};
    fgw_rate_answer answer;
    renew(64);
    CHECK_EQ(fgw_rate_take(state, 0, &rate, T0, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(fgw_rate_take(state, 0, &rate, T0, &answer), FGW_RATE_REFUSED);
}

/* Full groups let requests through and say so; slots whose time is past are used again. */
static void test_a_full_table(void) {
    const fgw_rate rate = {100 * MS, 1};
    fgw_rate_answer answer;
    renew(64);
    for (uint64_t key = 1; key <= 64; key++)
        CHECK_EQ(fgw_rate_take(state, key, &rate, T0, &answer), FGW_RATE_ALLOWED);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(fgw_rate_take(state, 99, &rate, T0, &answer), FGW_RATE_NO_SLOT);
    CHECK_EQ(state->rate_unlimited, 3);
    CHECK_EQ(fgw_rate_take(state, 5, &rate, T0 + 99 * MS, &answer), FGW_RATE_REFUSED);
    CHECK_EQ(fgw_rate_take(state, 99, &rate, T0 + 100 * MS, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(fgw_rate_take(state, 99, &rate, T0 + 100 * MS, &answer), FGW_RATE_REFUSED);
}

static void test_shapes(void) {
    renew(1);
    CHECK_EQ(state->rate_slots, 64);
    renew(65536);
    CHECK_EQ(state->rate_slots, 65536);
    renew(65537);
    CHECK_EQ(state->rate_slots, 131072);
    renew(UINT64_MAX);
    CHECK_EQ(state->rate_slots, FGW_STATE_RATE_SLOTS);
}

/* What a worker that died has left is taken over: its lock, and the slot that it was making. */
static void test_what_the_dead_leave(void) {
    const fgw_rate rate = {100 * MS, 1};
    fgw_rate_answer answer;
    renew(64);
    state->rate_locks[0] = 1;
    state->rate[5].until_ns = UINT64_MAX;
    state->rate[5].key = 5;
    CHECK_EQ(fgw_rate_take(state, 5, &rate, T0, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(fgw_rate_take(state, 5, &rate, T0, &answer), FGW_RATE_REFUSED);
    CHECK_EQ(state->rate_locks[0] % 2, 0);
}

/* Runs work(number) in several processes that begin together. */
static void at_once(void (*work)(uint64_t number)) {
    pid_t children[PROCESSES];
    for (uint64_t i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            __atomic_fetch_add(&sums->begun, 1, __ATOMIC_ACQ_REL);
            while (__atomic_load_n(&sums->begun, __ATOMIC_ACQUIRE) < PROCESSES)
                usleep(10);
            work(i);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = 1;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
}

static void take_much(uint64_t number) {
    const fgw_rate rate = {3600ull * 1000 * MS, 10000};
    fgw_rate_answer answer;
    (void)number;
    for (int i = 0; i < 20000; i++)
        for (uint64_t key = 0; key < 2; key++)
            if (fgw_rate_take(state, key * 64, &rate, T0, &answer) == FGW_RATE_ALLOWED)
                __atomic_fetch_add(&sums->allowed[key], 1, __ATOMIC_RELAXED);
}

static void test_exact_between_processes(void) {
    renew(64);
    at_once(take_much);
    CHECK_EQ(sums->allowed[0], 10000);
    CHECK_EQ(sums->allowed[1], 10000);
}

static void make_buckets(uint64_t number) {
    const fgw_rate rate = {3600ull * 1000 * MS, 1};
    fgw_rate_answer answer;
    (void)number;
    for (uint64_t key = 0; key < KEYS; key++)
        if (fgw_rate_take(state, key * 0x9e3779b97f4a7c15u, &rate, T0, &answer) == FGW_RATE_ALLOWED)
            __atomic_fetch_add(&sums->allowed[key], 1, __ATOMIC_RELAXED);
}

/* Every process wants to make every bucket, in the same order: each is made once. */
static void test_a_bucket_is_made_once(void) {
    for (int round = 0; round < 50; round++) {
        renew(1024);
        at_once(make_buckets);
        for (int key = 0; key < KEYS; key++)
            CHECK_EQ(sums->allowed[key], 1);
        CHECK_EQ(state->rate_unlimited, 0);
    }
}

/* A flood of new keys that another limit refuses takes no slot from anybody. */
static void test_what_is_given_back_takes_no_slot(void) {
    const fgw_rate rate = {3600ull * 1000 * MS, 1}, other = {100 * MS, 2};
    fgw_rate_answer answer;
    renew(64);
    for (uint64_t key = 1; key < 64; key++)
        CHECK_EQ(fgw_rate_take(state, key, &rate, T0, &answer), FGW_RATE_ALLOWED);
    for (uint64_t key = 1000; key < 9000; key++) {
        CHECK_EQ(fgw_rate_take(state, key, &rate, T0, &answer), FGW_RATE_ALLOWED);
        fgw_rate_give_back(state, key, &rate);
    }
    CHECK_EQ(fgw_rate_take(state, 9999, &other, T0, &answer), FGW_RATE_ALLOWED);
    CHECK_EQ(answer.remaining, 1);
    for (uint64_t key = 1; key < 64; key++)
        CHECK_EQ(fgw_rate_take(state, key, &rate, T0, &answer), FGW_RATE_REFUSED);
    CHECK_EQ(state->rate_unlimited, 0);
}

static void come_and_go(uint64_t number) {
    const fgw_rate rate = {10 * MS, 3};
    uint64_t chance = number;
    fgw_rate_answer answer;
    for (int i = 0; i < 60000; i++) {
        const uint64_t key = next_random(&chance) % 100, now = __atomic_add_fetch(&sums->now, 4000, __ATOMIC_ACQ_REL);
        const int verdict = fgw_rate_take(state, key + 1, &rate, now, &answer);
        if (verdict == FGW_RATE_ALLOWED && next_random(&chance) % 8 == 0)
            fgw_rate_give_back(state, key + 1, &rate);
        else if (verdict == FGW_RATE_ALLOWED)
            __atomic_fetch_add(&sums->allowed[key], 1, __ATOMIC_RELAXED);
    }
}

/* A hundred buckets in 64 slots, which change hands all the time: nobody ever gets more than their due. */
static void test_slots_that_change_hands(void) {
    renew(64);
    at_once(come_and_go);
    const uint64_t due = 3 + (sums->now - T0) / (10 * MS);
    uint64_t all = 0;
    for (int key = 0; key < 100; key++) {
        CHECK(sums->allowed[key] <= due);
        all += sums->allowed[key];
    }
    CHECK(all > 50 * due / 2);
}

int main(void) {
    sums = share(sizeof *sums);
    test_siphash();
    test_a_bucket();
    test_a_key_of_zero();
    test_a_full_table();
    test_shapes();
    test_what_the_dead_leave();
    test_exact_between_processes();
    test_a_bucket_is_made_once();
    test_what_is_given_back_takes_no_slot();
    test_slots_that_change_hands();
    return test_result("rate");
}
