"""splice(2) needs a pipe between two sockets. A direction holds one only while bytes are in it.

A pipe is filled only when it is empty, so that EAGAIN always speaks of the socket. One that is given back with bytes in it is
closed: nobody ever gets what is another's. Without a pipe (too many are out, or no descriptors are left) bytes are copied.
"""
from fastgw.native.system cimport (
    F_GETPIPE_SZ, F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK, SPLICE_F_MOVE, SPLICE_F_NONBLOCK, close, fcntl, pipe2, splice,
)

cdef enum:
    PIPES_OUT = 64            # of a worker; each is two descriptors
    PIPES_SPARE = 8           # kept for the next one
    PIPE_BYTES_MIN = 65536    # a kernel that gives less (its limit for one user is reached) is not asked for long

cdef list spare = []
cdef long out = 0


def pipes_taken():
    """For leak checks: pipes that a direction holds."""
    return out


def close_spare_pipes():
    """For leak checks of descriptors."""
    spare.clear()


cdef class Pipe:
    def __cinit__(self):
        self.reader = self.writer = -1

    def __dealloc__(self):
        if self.reader >= 0:
            close(self.reader)
            close(self.writer)

    cdef ssize_t fill(self, int fd) noexcept:
        """As recv(), into the pipe, which must be empty."""
        cdef ssize_t n = splice(fd, NULL, self.writer, NULL, SPLICE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if n > 0:
            self.held += <size_t>n
        return n

    cdef ssize_t drain(self, int fd) noexcept:
        """As send(), of what the pipe holds."""
        cdef ssize_t n = splice(self.reader, NULL, fd, NULL, self.held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if n > 0:
            self.held -= <size_t>n
        return n


cdef Pipe make_pipe():
    cdef Pipe pipe = Pipe()
    cdef int ends[2]
    cdef int size
    if pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0:
        return None
    pipe.reader, pipe.writer = ends[0], ends[1]
    size = fcntl(pipe.writer, F_SETPIPE_SZ, SPLICE_BYTES)
    if size < 0:
        size = fcntl(pipe.writer, F_GETPIPE_SZ)
    return pipe if size >= PIPE_BYTES_MIN else None


cdef Pipe take_pipe():
    """An empty pipe, or None."""
    global out
    cdef Pipe pipe
    if out >= PIPES_OUT:
        return None
    pipe = <Pipe>spare.pop() if spare else make_pipe()
    if pipe is not None:
        out += 1
    return pipe


cdef int give_pipe(Pipe pipe) except -1:
    """The other end of take_pipe(). What is in it is thrown away, and the pipe with it."""
    global out
    out -= 1
    if pipe.held == 0 and len(spare) < PIPES_SPARE:
        spare.append(pipe)
    return 0
