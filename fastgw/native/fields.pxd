"""ext/include/fgw/fields.h for Cython."""
from libc.stdint cimport uint32_t

from fastgw.native.base cimport fgw_field


cdef extern from "fgw/fields.h" nogil:
    const fgw_field *fgw_find_field(const char *base, const fgw_field *fields, uint32_t count, int id, const char *name, size_t n)
    void fgw_hide_fields(const char *base, fgw_field *fields, uint32_t count, int id, const char *name, size_t n)
