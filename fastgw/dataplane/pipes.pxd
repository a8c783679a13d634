"""Kernel pipes through which bytes go from socket to socket without a copy."""
from libc.stdint cimport uint32_t

cdef enum:
    SPLICE_BYTES = 262144     # of one pipe, and so of one direction of a connection, at the most


cdef class Pipe:
    cdef int reader
    cdef int writer
    cdef size_t held           # bytes in it

    cdef ssize_t fill(self, int fd) noexcept
    cdef ssize_t drain(self, int fd) noexcept


cdef long pipes_made() noexcept
cdef Pipe take_pipe()
cdef int give_pipe(Pipe pipe) except -1
cdef int drop_spare_pipes() except -1
