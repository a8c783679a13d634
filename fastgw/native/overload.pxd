"""ext/include/fgw/overload.h for Cython."""
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "fgw/overload.h" nogil:
    enum:
        FGW_SHEDDER_ALL
        FGW_MEMORY_CALM
        FGW_MEMORY_SHRINK
        FGW_MEMORY_PART
        FGW_MEMORY_REFUSE
        FGW_MEMORY_RESET

    ctypedef struct fgw_shedder:
        uint64_t target_ns
        uint64_t last_ns
        uint32_t late
        uint32_t share

    void fgw_shedder_start(fgw_shedder *s, uint64_t target_ns)
    int fgw_shedder_quick(fgw_shedder *s, uint64_t now_ns, uint64_t delay_ns)
    int fgw_memory_step(int step, uint64_t used, uint64_t budget)
    uint64_t fgw_memory_idle_ms(uint64_t full_ms, uint64_t used, uint64_t budget)
