"""Whether connections are accepted: one place for every reason not to."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.loop cimport Loop, Timer, Watcher

cdef enum Hold:                    # bits; fastgw_accept_held{reason} shows them
    HOLD_FULL = 1                  # as many client connections as the worker may have
    HOLD_DESCRIPTORS = 2           # nearly all descriptors are in use
    HOLD_PAUSE = 4                 # accept() had not what it needs; goes on by itself
    HOLD_MEMORY = 8                # the worker's memory is nearly used up
    HOLD_LISTENER = 16             # of a door: its listener has all the connections that it may have


cdef class Door(Watcher):
    """A listening socket of the worker."""
    cdef Admission admission
    cdef readonly uint32_t holds   # enum Hold, of this listener alone
    cdef int hold(self, uint32_t reason) except -1
    cdef int release(self, uint32_t reason) except -1
    cdef int open_or_shut(self) except -1


cdef class Admission(Timer):
    """What holds back all doors at once."""
    cdef Loop loop
    cdef readonly list doors
    cdef readonly uint32_t holds   # enum Hold
    cdef long descriptors_shut     # in use: no more are accepted; 0: there is no limit
    cdef long descriptors_open     # and with so few they are again
    cdef long others               # descriptors that the loop does not watch
    cdef int hold(self, uint32_t reason) except -1
    cdef int release(self, uint32_t reason) except -1
    cdef int pause(self, int64_t delay_ms) except -1
    cdef int look_at_descriptors(self) except -1
    cdef long descriptors(self) noexcept
