/* The head scanner with NEON blocks, on AArch64, where NEON is always there. */
#if defined(__aarch64__)
#define FGW_ISA_NEON
#define FGW_NAME(x) x##_neon
#include "http1_scan.h"
#else
typedef int fgw_no_neon; /* a translation unit may not be empty */
#endif
