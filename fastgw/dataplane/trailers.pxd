"""The trailer section of a chunked message while it arrives."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context


cdef class Trailers:
    cdef Buffer text               # the section so far; offsets of parsed fields count from its begin
    cdef uint32_t count            # fields in Context.fields after parse()
    cdef int add(self, const char *p, size_t n) except -1
    cdef int parse(self, Context ctx) except -1
    cdef int release(self) except -1
