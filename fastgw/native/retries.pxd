"""ext/include/fgw/retries.h for Cython."""
from libc.stdint cimport uint32_t

from fastgw.native.state cimport fgw_state


cdef extern from "fgw/retries.h" nogil:
    int fgw_retry_begin(const void *image, fgw_state *state, uint32_t worker, uint32_t cluster, uint32_t percent)
    void fgw_retry_end(const void *image, fgw_state *state, uint32_t worker, uint32_t cluster)
