/* Fails allocations of the interpreter: the n-th from now on, and no other. Loaded by test_dp_no_memory.py through ctypes. */
#include <Python.h>

static PyMemAllocatorEx before[3];
static long wanted, seen;

static int fails(void) { return wanted && ++seen == wanted; }

static void *take(void *ctx, size_t n) {
    PyMemAllocatorEx *a = ctx;
    return fails() ? NULL : a->malloc(a->ctx, n);
}

static void *take_zeroed(void *ctx, size_t count, size_t n) {
    PyMemAllocatorEx *a = ctx;
    return fails() ? NULL : a->calloc(a->ctx, count, n);
}

static void *change(void *ctx, void *p, size_t n) {
    PyMemAllocatorEx *a = ctx;
    return fails() ? NULL : a->realloc(a->ctx, p, n);
}

static void give(void *ctx, void *p) {
    PyMemAllocatorEx *a = ctx;
    a->free(a->ctx, p);
}

void install(void) {
    const PyMemAllocatorDomain domains[3] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < 3; i++) {
        PyMem_GetAllocator(domains[i], &before[i]);
        PyMemAllocatorEx ours = {&before[i], take, take_zeroed, change, give};
        PyMem_SetAllocator(domains[i], &ours);
    }
}

void uninstall(void) {
    const PyMemAllocatorDomain domains[3] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < 3; i++) PyMem_SetAllocator(domains[i], &before[i]);
}

void arm(long n) {
    seen = 0;
    wanted = n;
}

/* Whether that allocation came and failed. */
int disarm(void) {
    const int hit = wanted && seen >= wanted;
    wanted = 0;
    return hit;
}
