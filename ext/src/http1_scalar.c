/* The scalar scanner: every machine, and the twin that the vector scanners are tested against. */
#define FGW_NAME(x) x##_scalar
#include "http1_scan.h"
