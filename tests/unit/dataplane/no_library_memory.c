/* Fails allocations of OpenSSL and of libnghttp2: the n-th while it is armed, and no other. Loaded by library_memory.py. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

static long wanted, seen;
static int armed;
static char place[256];

static int fails(const char *file, int line) {
    if (!armed || ++seen != wanted)
        return 0;
    snprintf(place, sizeof place, "%s:%d", file, line);
    return 1;
}

static void *crypto_take(size_t n, const char *file, int line) { return n == 0 || fails(file, line) ? NULL : malloc(n); }

static void *crypto_change(void *p, size_t n, const char *file, int line) {
    if (n == 0) {
        free(p);
        return NULL;
    }
    return fails(file, line) ? NULL : realloc(p, n);
}

static void crypto_give(void *p, const char *file, int line) {
    (void)file;
    (void)line;
    free(p);
}

/* To be called before OpenSSL has allocated anything. */
int install_crypto(void) { return CRYPTO_set_mem_functions(crypto_take, crypto_change, crypto_give); }

/* For fastgw.dataplane.http2_memory.deny(). */
int frames_denied(size_t n) { return fails("nghttp2", (int)n); }

/* The n-th allocation from now on is to fail; 0: none. */
void want(long n) {
    wanted = n;
    seen = 0;
    place[0] = 0;
}

/* Only what is asked for meanwhile counts. */
void arm(int on) { armed = on; }

/* Where it failed, "" when there were fewer. */
const char *failed_at(void) { return place; }

long count(void) { return seen; }
