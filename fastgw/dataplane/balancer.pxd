"""Choosing an endpoint of a cluster."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.served cimport Address

cdef enum Picked:
    PICK_NONE = 0     # no endpoint that may be used
    PICK_ONE = 1
    PICK_WAIT = 2     # the name has not been resolved yet

cdef int pick(Context ctx, Image image, uint32_t cluster, uint32_t avoid_cell, Address *out) except -1
