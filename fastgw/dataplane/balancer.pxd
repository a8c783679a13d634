"""Choosing an endpoint of a cluster."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.served cimport Served

cdef enum Picked:
    PICK_NONE = 0     # no endpoint that may be used
    PICK_ONE = 1
    PICK_WAIT = 2     # the name has not been resolved yet

cdef int pick(Served s, const uint32_t *avoid, uint32_t avoid_count, uint32_t *skip_levels) except -1
