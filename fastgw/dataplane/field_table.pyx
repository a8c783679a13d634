"""A table of header fields over one block of bytes: what was parsed, and fields that are added behind it.

Everything is described by offsets from the block's begin, so that the block may move when it has to grow; whoever keeps pointers
into it learns of that by moved().
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from fastgw.dataplane.buffers cimport Buffer
from fastgw.native.base cimport fgw_field
from fastgw.native.fields cimport fgw_find_field, fgw_hide_fields


cdef class FieldTable:
    def __cinit__(self):
        self.arena = Buffer()

    cdef int load(self, const char *p, size_t n, const fgw_field *fields, uint32_t count, size_t extra, uint32_t more) except -1:
        """Copy a message's head and its fields. ``extra`` and ``more``: bytes and fields that are sure to be added."""
        cdef size_t table = (count + more) * sizeof(fgw_field)
        cdef char *to = self.arena.reserve(n + extra + table + 8)
        self.base = to
        memcpy(to, p, n)
        self.extra_at = n
        self.extra_end = (self.arena.cap - table) & ~<size_t>7  # what is left of the block is room, too
        self.fields = <fgw_field *>(to + self.extra_end)
        self.field_cap = count + more
        self.field_count = count
        memcpy(self.fields, fields, count * sizeof(fgw_field))
        return 0

    cdef int release(self) except -1:
        return self.arena.release()

    cdef int make_room(self, size_t n) except -1:
        """For one more field of n bytes. OverflowError when the block would become too large."""
        cdef Buffer larger
        cdef Buffer old = self.arena
        cdef const char *base = self.base
        cdef const fgw_field *fields = self.fields
        cdef size_t used = self.extra_at
        cdef uint32_t count = self.field_count
        if count < self.field_cap and used + n <= self.extra_end:
            return 0
        larger = Buffer()
        self.arena = larger
        self.load(base, used, fields, count, n + used // 2, count + 16)
        self.moved(base)
        return old.release()

    cdef int moved(self, const char *old) except -1:
        """The block that began at ``old`` begins at base now."""
        return 0

    cdef int add_field(self, int header_id, const char *name, size_t name_len, const char *value, size_t value_len) except -1:
        """Append a field; its value is copied into the arena unless it lies there already."""
        cdef fgw_field *f
        cdef bint inside = self.base <= value < self.base + self.extra_end
        cdef size_t at = value - self.base if inside else 0
        if self.field_count >= self.field_cap or self.extra_at + name_len + value_len > self.extra_end:
            self.make_room(name_len + (0 if inside else value_len))
        f = &self.fields[self.field_count]
        f.name_off = <uint32_t>self.extra_at
        f.name_len = <unsigned short>name_len
        f.id = <uint8_t>header_id
        f.flags = 0
        f.value_len = <uint32_t>value_len
        memcpy(self.base + self.extra_at, name, name_len)
        self.extra_at += name_len
        if inside:
            f.value_off = <uint32_t>at
        else:
            f.value_off = <uint32_t>self.extra_at
            memcpy(self.base + self.extra_at, value, value_len)
            self.extra_at += value_len
        self.field_count += 1
        return 0

    cdef int remove(self, int header_id, const char *name, size_t n) noexcept:
        """Nobody sees fields of this name any more."""
        fgw_hide_fields(self.base, self.fields, self.field_count, header_id, name, n)
        return 0

    cdef const fgw_field *find(self, int header_id, const char *name, size_t n) noexcept:
        return fgw_find_field(self.base, self.fields, self.field_count, header_id, name, n)


cdef bint same_name(const char *a, const char *b, size_t n) noexcept:
    """a, in any case, against lower-case b."""
    cdef size_t i
    cdef char c
    for i in range(n):
        c = a[i]
        if 65 <= c <= 90:
            c += 32
        if c != b[i]:
            return False
    return True
