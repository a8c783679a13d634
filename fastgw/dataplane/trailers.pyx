"""Trailer sections are rare and small: they are kept until they are whole, then parsed like a head (requirement A9)."""
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.native.http1 cimport fgw_parse_trailers


cdef class Trailers:
    def __cinit__(self):
        self.text = Buffer()

    cdef int add(self, const char *p, size_t n) except -1:
        """A piece that the chunked decoder has checked; it bounds the whole."""
        return self.text.append(p, n)

    cdef int parse(self, Context ctx) except -1:
        """Of the whole section: the fields are in ctx.fields, over text.head(). 0 or an fgw_reason."""
        cdef long r = fgw_parse_trailers(self.text.head(), self.text.size(), &ctx.limits, ctx.fields, ctx.fields_cap, &self.count)
        return <int>-r if r < 0 else 0

    cdef int release(self) except -1:
        self.count = 0
        return self.text.release()
