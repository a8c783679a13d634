"""ext/include/fgw/rate.h for Cython."""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.native.cidr cimport fgw_ip
from fastgw.native.route cimport fgw_route_request
from fastgw.native.state cimport fgw_state


cdef extern from "fgw/rate.h" nogil:
    enum:
        FGW_RATE_REFUSED
        FGW_RATE_ALLOWED
        FGW_RATE_NO_SLOT

    ctypedef struct fgw_rate:
        uint64_t interval_ns
        uint64_t burst

    ctypedef struct fgw_rate_answer:
        uint64_t remaining
        uint64_t full_ns
        uint64_t retry_ns

    uint64_t fgw_rate_key(const void *image, const fgw_state *state, uint32_t index, const fgw_route_request *req, const fgw_ip *ip)
    int fgw_rate_take(fgw_state *state, uint64_t key, const fgw_rate *rate, uint64_t now_ns, fgw_rate_answer *out)
    void fgw_rate_give_back(fgw_state *state, uint64_t key, const fgw_rate *rate)
    void fgw_rate_count(fgw_state *state, uint32_t number, int allowed)
