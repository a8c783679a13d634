/* What the fuzz targets share. A broken promise is an abort, which libFuzzer reports with the input. */
#ifndef FGW_TESTS_FUZZ_H
#define FGW_TESTS_FUZZ_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define PROMISE(condition)                                                                                                         \
    do {                                                                                                                           \
        if (!(condition))                                                                                                          \
            abort();                                                                                                               \
    } while (0)

/* A heap copy of exactly n bytes, so that the sanitizer sees every read outside. */
static inline char *exact_copy(const void *p, size_t n) {
    char *copy = malloc(n != 0 ? n : 1);
    PROMISE(copy != NULL);
    if (n != 0)
        memcpy(copy, p, n);
    return copy;
}

#endif
