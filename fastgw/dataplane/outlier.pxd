"""What workers tell outlier detection of their endpoints."""
from fastgw.dataplane.served cimport Served

cdef int note_answer(Served s, int status) except -1
cdef int note_local(Served s) except -1
cdef int note_connected(Served s, bint whole) except -1
