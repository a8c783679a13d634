"""ext/include/fgw/balance.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.native.base cimport fgw_span
from fastgw.native.route cimport fgw_img_policy, fgw_route_request
from fastgw.native.state cimport fgw_cell, fgw_state


cdef extern from "fgw/balance.h" nogil:
    enum:
        FGW_HASH_COOKIE_MAX
        FGW_PICK_NONE
        FGW_PICK_ONE
        FGW_PICK_WAIT

    ctypedef struct fgw_ask:
        uint64_t random
        uint64_t now_ms
        uint64_t key
        uint32_t has_key
        uint32_t avoid_count
        const uint32_t *avoid
        uint32_t position
        uint32_t skip_levels

    ctypedef struct fgw_target:
        uint8_t family
        uint8_t level
        uint16_t port
        uint8_t ip[16]
        uint32_t cell
        uint32_t index
        fgw_span path

    int fgw_pick(const void *image, fgw_state *state, uint32_t cluster, fgw_ask *ask, fgw_target *out)
    int fgw_hash_key(const void *image, const fgw_img_policy *policy, const fgw_route_request *req, const char *source_ip, size_t n,
                     uint64_t *key)
    size_t fgw_hash_new_cookie(const void *image, const fgw_img_policy *policy, uint64_t seed, char *to, uint64_t *key)
    int fgw_cell_usable(fgw_cell *cell, uint64_t now_ms)
    int fgw_outlier_answer(const fgw_img_policy *policy, fgw_cell *cell, uint32_t status)
    int fgw_outlier_local(const fgw_img_policy *policy, fgw_cell *cell)
    void fgw_outlier_connected(const fgw_img_policy *policy, fgw_cell *cell, int whole)
    int fgw_outlier_eject(const void *image, fgw_state *state, uint32_t cluster, uint32_t cell, uint64_t now_ms)
