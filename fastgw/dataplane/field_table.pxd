"""Header fields over one block of bytes, to which more can be added."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.native.base cimport fgw_field


cdef class FieldTable:
    # owned
    cdef Buffer arena              # bytes of the message, bytes of further fields, field table
    # state
    cdef char *base                # start of the arena: all offsets count from here
    cdef fgw_field *fields
    cdef uint32_t field_count
    cdef uint32_t field_cap
    cdef size_t extra_at           # where the next field's bytes go
    cdef size_t extra_end

    cdef int load(self, const char *p, size_t n, const fgw_field *fields, uint32_t count, size_t extra, uint32_t more) except -1
    cdef int release(self) except -1
    cdef int make_room(self, size_t n) except -1
    cdef int moved(self, const char *old) except -1
    cdef int add_field(self, int header_id, const char *name, size_t name_len, const char *value, size_t value_len) except -1
    cdef int remove(self, int header_id, const char *name, size_t n) noexcept
    cdef const fgw_field *find(self, int header_id, const char *name, size_t n) noexcept


cdef bint same_name(const char *a, const char *b, size_t n) noexcept
