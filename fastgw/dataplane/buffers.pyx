"""Buffers over pooled blocks of 4, 16, 32, 64, 128 and 256 KiB.

A Buffer holds a block only while it has bytes in it: release() gives it back, so that idle connections hold none. Freed
blocks are kept for reuse up to POOL_LIMIT_BYTES, last in first out (cache-warm).
"""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.string cimport memcpy, memmove


cdef enum:
    CLASSES = 6
    KEEP = 1024

cdef size_t[6] SIZES = [4096, 16384, 32768, 65536, 131072, 262144]
cdef size_t POOL_LIMIT_BYTES = 8 << 20
cdef void *pool_blocks[6][1024]
cdef int[6] pool_count = [0, 0, 0, 0, 0, 0]
cdef size_t pool_bytes = 0
cdef size_t taken_bytes = 0


cdef size_t live_bytes() noexcept:
    """Bytes of all blocks that buffers hold now."""
    return taken_bytes


def live_buffer_bytes():
    """For leak checks: bytes held by buffers."""
    return taken_bytes


cdef int class_of(size_t n) noexcept:
    cdef int i
    for i in range(CLASSES):
        if n <= SIZES[i]:
            return i
    return -1


cdef char *block_take(int cls) except NULL:
    global pool_bytes, taken_bytes
    cdef char *block
    if pool_count[cls]:
        pool_count[cls] -= 1
        pool_bytes -= SIZES[cls]
        block = <char *>pool_blocks[cls][pool_count[cls]]
    else:
        block = <char *>PyMem_RawMalloc(SIZES[cls])  # plain malloc, and within reach of the tests that let it fail
        if block == NULL:
            raise MemoryError("buffer block")
    taken_bytes += SIZES[cls]
    return block


cdef void block_give(char *block, int cls) noexcept:
    global pool_bytes, taken_bytes
    taken_bytes -= SIZES[cls]
    if pool_count[cls] < KEEP and pool_bytes + SIZES[cls] <= POOL_LIMIT_BYTES:
        pool_blocks[cls][pool_count[cls]] = block
        pool_count[cls] += 1
        pool_bytes += SIZES[cls]
    else:
        PyMem_RawFree(block)


cdef int drop_pool() noexcept:
    """Free what is kept for reuse."""
    global pool_bytes
    cdef int cls
    for cls in range(CLASSES):
        while pool_count[cls]:
            pool_count[cls] -= 1
            PyMem_RawFree(pool_blocks[cls][pool_count[cls]])
    pool_bytes = 0
    return 0


def give_back_spare():
    """For tests: the same."""
    drop_pool()


cdef class Buffer:
    """A queue of bytes: append at the end, consume at the start."""

    def __dealloc__(self):
        if self.data != NULL:
            block_give(self.data, class_of(self.cap))
            self.data = NULL

    cdef char *reserve(self, size_t n) except NULL:
        """Room for n more bytes at the end; the caller writes them and moves `end`. OverflowError over 256 KiB."""
        cdef size_t used = self.end - self.start
        cdef char *block
        cdef int cls
        if self.data != NULL and self.cap - self.end >= n:
            return self.data + self.end
        if self.data != NULL and self.cap - used >= n and self.start:
            memmove(self.data, self.data + self.start, used)
        else:
            cls = class_of(used + n)
            if cls < 0:
                raise OverflowError("buffer over its limit")
            block = block_take(cls)
            if self.data != NULL:
                memcpy(block, self.data + self.start, used)
                block_give(self.data, class_of(self.cap))
            self.data = block
            self.cap = SIZES[cls]
        self.start = 0
        self.end = used
        return self.data + self.end

    cdef int append(self, const char *p, size_t n) except -1:
        cdef char *to
        if n == 0:
            return 0
        to = self.reserve(n)
        memcpy(to, p, n)
        self.end += n
        return 0

    cdef int consume(self, size_t n) except -1:
        """Drop n bytes from the front; an emptied buffer gives its block back."""
        if n > self.end - self.start:
            raise ValueError("consumed more than there is")
        self.start += n
        if self.start == self.end:
            self.release()
        return 0

    cdef int release(self) except -1:
        if self.data != NULL:
            block_give(self.data, class_of(self.cap))
            self.data = NULL
        self.cap = self.start = self.end = 0
        return 0

    # for tests
    def put(self, bytes data):
        self.append(data, len(data))

    def drop(self, size_t n):
        self.consume(n)

    def peek(self):
        return self.data[self.start:self.end] if self.data != NULL else b""


cdef class Pen:
    def __cinit__(self, Buffer out, *args):
        self.out = out

    cdef int down(self) except -1:
        """Write behind what the buffer holds."""
        self.at = NULL
        return self.grow(0)

    cdef int grow(self, size_t n) except -1:
        if self.at != NULL:
            self.lift()
        self.at = self.out.reserve(n + SPARE)
        self.stop = self.out.data + self.out.cap - SPARE
        return 0

    cdef int lift(self) noexcept:
        """The buffer has what was written."""
        self.out.end = <size_t>(self.at - self.out.data)
        self.at = self.stop = NULL
        return 0
