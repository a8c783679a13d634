/* The head scanner with 16-byte blocks; called only where the processor has SSE4.2 (http1.c). */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("sse4.2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("sse4.2")
#endif
#define FGW_ISA_SSE42
#define FGW_SCANNER fgw_scanner_sse42
#define FGW_SCANNER_NAME "sse4.2"
#include "http1_vector.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int fgw_no_sse42; /* a translation unit may not be empty */
#endif
