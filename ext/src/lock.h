/* Locks in memory that processes share, for work of some hundred nanoseconds. A word is odd while somebody has the lock, and never the
 * same again. A worker that dies under one leaves it behind: whoever waits for one and the same owner for too long takes it over. */
#ifndef FGW_LOCK_H
#define FGW_LOCK_H
#include <stdint.h>

enum { FGW_LOCK_SPINS = 1 << 19 }; /* some ten milliseconds: nothing that is done under a lock takes so long */

static inline void fgw_breathe(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The owner's number, for fgw_unlock(). */
static inline uint64_t fgw_lock(uint64_t *word) {
    uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    for (uint32_t spins = 0;;) {
        const int over = spins == FGW_LOCK_SPINS;
        const uint64_t own = seen + 1 + (seen & 1);
        uint64_t expected = seen;
        if (((seen & 1) == 0 || over) &&
            __atomic_compare_exchange_n(word, &expected, own, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return own;
        fgw_breathe();
        const uint64_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        spins = now == seen ? spins + !over : 0;
        seen = now;
    }
}

static inline void fgw_unlock(uint64_t *word, uint64_t own) {
    __atomic_compare_exchange_n(word, &own, own + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

#endif
