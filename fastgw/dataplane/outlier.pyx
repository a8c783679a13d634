"""Outlier detection as a worker does it: it says what became of a request, and ejects the endpoint after one error too many.

The rules are in ext/src/outlier.c. A cluster without outlierDetection costs a look at its policy.
"""
from libc.stdint cimport uint64_t

from fastgw.dataplane.served cimport Served
from fastgw.native.balance cimport fgw_outlier_answer, fgw_outlier_connected, fgw_outlier_eject, fgw_outlier_local
from fastgw.native.route cimport FGW_POLICY_OUTLIER, fgw_img_policy
from fastgw.native.state cimport FGW_C_EJECTIONS, FGW_C_EJECTIONS_REFUSED


cdef const fgw_img_policy *policy_of(Served s) noexcept:
    """NULL: nothing is detected there."""
    cdef const fgw_img_policy *policy = s.image.policy_of(s.cluster)
    return policy if policy != NULL and policy.flags & FGW_POLICY_OUTLIER else NULL


cdef int eject(Served s) except -1:
    cdef int ejected = fgw_outlier_eject(
        s.image.base, s.ctx.state, s.cluster, s.address.cell, <uint64_t>s.ctx.loop.now_ms)
    if ejected > 0:
        s.ctx.loop.count(FGW_C_EJECTIONS)
    elif ejected < 0:
        s.ctx.loop.count(FGW_C_EJECTIONS_REFUSED)
    return 0


cdef int note_answer(Served s, int status) except -1:
    """The endpoint answered a request."""
    cdef const fgw_img_policy *policy = policy_of(s)
    if policy != NULL and fgw_outlier_answer(policy, &s.ctx.state.cells[s.address.cell], status):
        return eject(s)
    return 0


cdef int note_local(Served s) except -1:
    """No connection could be made, it was lost, or no answer came in time."""
    cdef const fgw_img_policy *policy = policy_of(s)
    if policy != NULL and fgw_outlier_local(policy, &s.ctx.state.cells[s.address.cell]):
        return eject(s)
    return 0


cdef int note_connected(Served s, bint whole) except -1:
    """There is a connection, a new one or one that was open; ``whole``: which is all that will be seen of it (Q10)."""
    cdef const fgw_img_policy *policy = policy_of(s)
    if policy != NULL:
        fgw_outlier_connected(policy, &s.ctx.state.cells[s.address.cell], whole)
    return 0
