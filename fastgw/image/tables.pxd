"""The growing tables of one piece of an image."""
from libc.stdint cimport uint32_t

from fastgw.image.link cimport TABLES_MAX, Buffer, Piece, Symbol
from fastgw.native.base cimport fgw_span


cdef void *add_bytes(Buffer *buffer, size_t size) except NULL
cdef bytes raw_of(str text)


cdef class Tables:
    cdef Buffer buffers[TABLES_MAX]
    cdef object symbols
    cdef dict offsets, numbers, strings, clusters, origins

    cdef void *add(self, uint32_t table, uint32_t count) except NULL
    cdef uint32_t count_of(self, uint32_t table) noexcept
    cdef fgw_span place(self, bytes raw) except *
    cdef fgw_span place_text(self, str text) except *
    cdef fgw_span place_shared(self, str text) except *
    cdef uint32_t number_of(self, Symbol symbol) except? 0xffffffff
    cpdef uint32_t cluster(self, str name) except? 0xffffffff
    cpdef uint32_t origin(self, str kind, str name, origin) except? 0xffffffff
    cpdef Piece take(self, bint rooted=*, Piece goes_with=*, str defines=*)


cdef class Table:
    cdef Tables owner
    cdef uint32_t number
    cdef object pack
