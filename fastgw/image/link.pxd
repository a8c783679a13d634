"""What the builders of pieces need of the linker."""
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    TABLES_MAX = 40
    FIELDS_MAX = 12

cdef struct Field:
    uint32_t offset  # bytes from the record's begin
    uint32_t kind
    uint32_t target  # table

cdef struct Layout:
    uint32_t record_bytes
    uint32_t field_count
    Field fields[FIELDS_MAX]

# Bytes that grow: the records of one table while its piece is being written.
cdef struct Buffer:
    char *data
    size_t used
    size_t room


cdef class Format:
    cdef Layout layouts[TABLES_MAX]
    cdef readonly uint32_t count
    cdef uint32_t rules, nodes, lists, vhosts, slots, strings, regexes


cdef class Symbol:
    cdef uint32_t kind
    cdef uint32_t value
    cdef uint64_t link  # of which ``value`` is
    cdef readonly bytes text
    cdef readonly bytes more
    cdef object __weakref__


cdef class Piece:
    cdef char *data
    cdef uint32_t counts[TABLES_MAX]
    cdef uint32_t bases[TABLES_MAX]
    cdef uint64_t link  # of which ``bases`` are
    cdef uint32_t tables, defined
    cdef bint rooted
    cdef tuple symbols
    cdef Piece goes_with
    cdef Symbol defines


cdef Piece make_piece(Format form, const Buffer *buffers, tuple symbols, bint rooted, Piece goes_with, Symbol defines,
                      uint32_t defined)
