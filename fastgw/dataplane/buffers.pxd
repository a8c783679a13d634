"""Byte buffers: the only place of the data plane that does pointer arithmetic on memory it owns."""


cdef class Buffer:
    cdef char *data        # owned block of one of the pool's sizes, NULL while empty-handed
    cdef size_t cap        # bytes in the block
    cdef size_t start      # first byte not yet consumed
    cdef size_t end        # one past the last byte

    cdef char *reserve(self, size_t n) except NULL
    cdef int append(self, const char *p, size_t n) except -1
    cdef int consume(self, size_t n) except -1
    cdef int release(self) except -1

    cdef inline size_t size(self) noexcept:
        return self.end - self.start

    cdef inline char *head(self) noexcept:
        return self.data + self.start


cdef size_t live_bytes() noexcept
