"""Byte buffers: the only place of the data plane that does pointer arithmetic on memory it owns."""
from libc.string cimport memcpy

cdef enum:
    SPARE = 256            # bytes that a Pen has room for without asking


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


cdef class Pen:
    """Appends many small things to a buffer: between down() and lift() it alone writes there, and asks for room only where a thing
    may be longer than SPARE bytes. Whoever writes at `at` moves it."""
    cdef Buffer out
    cdef char *at          # where the next byte goes; SPARE bytes are free from here on before each thing
    cdef char *stop        # SPARE bytes before the end of the block

    cdef int down(self) except -1
    cdef int lift(self) noexcept
    cdef int grow(self, size_t n) except -1

    cdef inline int room(self, size_t n) except -1:
        """For n bytes, and SPARE more. OverflowError as of Buffer.reserve()."""
        return 0 if self.stop - self.at >= <Py_ssize_t>n else self.grow(n)

    cdef inline int put(self, const char *p, size_t n) except -1:
        self.room(n)
        memcpy(self.at, p, n)
        self.at += n
        return 0


cdef size_t live_bytes() noexcept
cdef int drop_pool() noexcept
