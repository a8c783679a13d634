"""splice(2) needs a pipe between two sockets. A direction holds one only while bytes are in it.

A pipe is filled only when it is empty, so that EAGAIN always speaks of the socket. One that is given back with bytes in it is
closed: nobody ever gets what is another's. Without a pipe (there are too many, or no descriptors are left) bytes are copied.
"""
import resource

from fastgw.native.system cimport (
    F_GETPIPE_SZ, F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK, SPLICE_F_MOVE, SPLICE_F_NONBLOCK, close, fcntl, pipe2, splice,
)

cdef enum:
    PIPES_MAX = 64            # of a worker; each is two descriptors
    PIPES_SPARE = 8           # kept for the next one
    PIPE_SHARE = 32           # one pipe for so many descriptors that the process may have
    PIPE_BYTES_MIN = 65536    # a kernel that gives less (its limit for one user is reached) is not asked for long

cdef list spare = []
cdef long made = 0      # and not closed
cdef long taken = 0
cdef long limit = 0     # 0: not known yet


def pipe_limit():
    """How many pipes this process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return PIPES_MAX if soft == resource.RLIM_INFINITY else min(PIPES_MAX, soft // PIPE_SHARE)


def pipes_taken():
    """For leak checks: pipes that a direction holds."""
    return taken


cdef long pipes_made() noexcept:
    """Pipes that are open, two descriptors each."""
    return made


cdef class Pipe:
    def __cinit__(self):
        self.reader = self.writer = -1

    def __dealloc__(self):
        global made
        if self.reader >= 0:
            close(self.reader)
            close(self.writer)
            made -= 1

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
    global made, limit
    cdef Pipe pipe = Pipe()
    cdef int ends[2]
    cdef int size
    if limit == 0:
        limit = pipe_limit()
    if made >= limit or pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0:
        return None
    pipe.reader, pipe.writer = ends[0], ends[1]
    made += 1
    size = fcntl(pipe.writer, F_SETPIPE_SZ, SPLICE_BYTES)
    if size < 0:
        size = fcntl(pipe.writer, F_GETPIPE_SZ)
    return pipe if size >= PIPE_BYTES_MIN else None


cdef Pipe take_pipe():
    """An empty pipe, or None."""
    global taken
    cdef Pipe pipe = <Pipe>spare.pop() if spare else make_pipe()
    if pipe is not None:
        taken += 1
    return pipe


cdef int give_pipe(Pipe pipe) except -1:
    """The other end of take_pipe(). What is in it is thrown away, and the pipe with it."""
    global taken
    taken -= 1
    if pipe.held == 0 and len(spare) < PIPES_SPARE:
        spare.append(pipe)
    return 0


cdef int drop_spare_pipes() except -1:
    """Close those that are kept for the next one."""
    spare.clear()
    return 0
