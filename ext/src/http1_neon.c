/* The head scanner with NEON blocks, on AArch64, where NEON is always there. */
#if defined(__aarch64__)
#define FGW_ISA_NEON
#define FGW_SCANNER fgw_scanner_neon
#define FGW_SCANNER_NAME "neon"
#include "http1_vector.h"
#else
typedef int fgw_no_neon; /* a translation unit may not be empty */
#endif
