"""The position table of one document: one record a value, in document order, so that a sub-tree is a slice of it."""

from libc.stdint cimport uint32_t


cdef struct Node:
    uint32_t key_hash        # hash_key of the key this value hangs on; 0 in a list and at the root
    uint32_t key_line        # where the key starts; 0 without a key
    uint32_t key_column
    uint32_t line            # where the value starts; lines and columns count from 1
    uint32_t column
    uint32_t size            # records of the sub-tree, this one included


cdef uint32_t hash_key(const unsigned char *text, size_t length) noexcept nogil


cdef class TableBuilder:
    cdef Node *nodes         # owned
    cdef uint32_t used
    cdef uint32_t room

    cdef int clear(self) except -1
    cdef long open(self, uint32_t key_hash, uint32_t key_line, uint32_t key_column, uint32_t line, uint32_t column) except -1
    cdef int close(self, uint32_t index) except -1
    cdef bytes take(self)


cdef class DocumentPlaces:
    cdef readonly str file
    cdef bytes table         # packed Node records; never empty

    cdef const Node *nodes(self) noexcept
    cdef long child(self, uint32_t parent, step) except -2
    cdef long walk(self, str path, bint nearest) except -2
