"""ext/include/fgw/holders.h for Cython."""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.native.cidr cimport fgw_ip
from fastgw.native.state cimport fgw_state, fgw_worker_state


cdef extern from "fgw/holders.h" nogil:
    uint32_t fgw_listener_place(fgw_state *s, const char *name, size_t n)
    int fgw_listener_enter(fgw_state *s, fgw_worker_state *w, uint32_t place, uint32_t limit)
    void fgw_listener_leave(fgw_state *s, fgw_worker_state *w, uint32_t place)
    uint32_t fgw_listener_total(const fgw_state *s, uint32_t place)
    void fgw_holder_seed(fgw_state *s, uint64_t seed)
    uint64_t fgw_holder_key(const fgw_state *s, uint32_t place, fgw_ip ip)
    int fgw_holder_enter(fgw_state *s, fgw_worker_state *w, uint64_t key, uint32_t limit)
    void fgw_holder_leave(fgw_worker_state *w, uint64_t key)
