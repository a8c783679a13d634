/* The head scanner with 32-byte blocks; called only where the processor has AVX2 (http1.c). */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi")
#endif
#define FGW_ISA_AVX2
#define FGW_SCANNER fgw_scanner_avx2
#define FGW_SCANNER_NAME "avx2"
#include "http1_vector.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int fgw_no_avx2; /* a translation unit may not be empty */
#endif
